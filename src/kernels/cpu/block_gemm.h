// y = x w^T for block formats by integers (AVX-512 VNNI): x as int8 (kernels/activation.h), w unpacked to a panel of 32
// rows x 256 k that stays in L1 while every row of x passes over it.
//
// Sums within a panel's blocks are integers, hence exact in any order. Per super-block, or block of 32, one f32 sum an
// output goes on in order of k: y = fma(what w makes of the integers, d_x, y). The bits of an output do not depend on
// the shape of the call.
#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/cpu/block_dot.h"
#include "kernels/cpu/block_unpack.h"
#include "kernels/cpu/block_unpack_32.h"
#include "kernels/cpu/block_unpack_grid.h"
#include "kernels/cpu/gemm.h"
#include "kernels/kernels.h"

namespace moxie::cpu {
namespace {

inline constexpr int kBlockTileRows = 6;  // x 2 vectors of outputs: 12 integer sums and 12 of the blocks: 28 registers

/// Where a panel stands in k.
struct PanelTurn {
  const float* start;  // [32] what the sums start from: the bias or zeros; after the first panel null: from y
  __mmask16 mask[2];   // outputs that exist
};

/// kRows rows of x at one panel.
struct TileRows {
  const char* x[kBlockTileRows];  // their blocks of this panel
  const float* before[kBlockTileRows];
  float* y[kBlockTileRows];
};

inline V broadcast(const void* four_bytes) {
  int32_t value;
  std::memcpy(&value, four_bytes, 4);
  return _mm512_set1_epi32(value);
}

/// sum[r][g] += the products of a run of kSteps steps; q[r]: the row's bytes. Tiles that take values apart ask for
/// later weights meanwhile, `ask` lines on and then one a vector: spread, since an ask that finds no buffer free is
/// lost.
template <class Unpack, int kPhase, int kRows, int kSteps>
[[gnu::always_inline]] inline void multiply_steps(const BlockPanel& panel, int run, const char* const (&q)[kRows],
                                                  V (&sum)[kRows][2]) {
  const auto weights = [&](int s, int g) __attribute__((always_inline)) {
    if constexpr (Unpack::kInTile) {
      const int line = 2 * (kSteps * (Unpack::kPhases * run + kPhase) + s) + g;
      _mm_prefetch(panel.next + 64 * line, _MM_HINT_T0);
    }
    return Unpack::template weights<kPhase, kSteps>(panel, run, s, g);
  };
#pragma GCC unroll 8
  for (int s = 0; s < kSteps; ++s) {
    const V w0 = weights(s, 0), w1 = weights(s, 1);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const V x = broadcast(q[r] + 4 * s);
      sum[r][0] = _mm512_dpbusd_epi32(sum[r][0], w0, x);
      sum[r][1] = _mm512_dpbusd_epi32(sum[r][1], w1, x);
    }
  }
}

inline __m512 load_before(const PanelTurn& turn, const TileRows& rows, int r, int g) {
  return _mm512_maskz_loadu_ps(turn.mask[g], rows.before[r] + 16 * g);
}

inline void store_y(const PanelTurn& turn, const TileRows& rows, int r, int g, __m512 v) {
  _mm512_mask_storeu_ps(rows.y[r] + 16 * g, turn.mask[g], v);
}

// ---- super-blocks ----

/// What the mins of a super-block take from each row: sum over sub-blocks of min * (sum of x).
template <class Unpack, int kRows>
[[gnu::always_inline]] inline void min_sums(const BlockPanel& panel, const X8Block256* const (&x)[kRows], int g,
                                            V (&mins)[kRows]) {
  constexpr int kPairs = 128 / Unpack::kSub;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) mins[r] = _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int p = 0; p < kPairs; ++p) {
    V min = _mm512_load_si512(&panel.min[p][16 * g]);
    asm("" : "+v"(min));  // read once, not for each row
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto* sums = reinterpret_cast<const char*>(Unpack::kSub == 16 ? x[r]->sums : x[r]->double_sums);
      mins[r] = _mm512_dpwssd_epi32(mins[r], min, broadcast(sums + 4 * p));
    }
  }
}

template <class Unpack, int kRows>
[[gnu::always_inline]] inline void super_block_tile(const BlockPanel& panel, const TileRows& rows,
                                                    const PanelTurn& turn) {
  static_assert(!Unpack::kMin || Unpack::kOffset == 0);  // panel.min holds the one or the other
  constexpr int kSubs = 256 / Unpack::kSub, kSteps = Unpack::kSub / 4;
  const X8Block256* x[kRows];
  V total[kRows][2];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    x[r] = reinterpret_cast<const X8Block256*>(rows.x[r]);
    total[r][0] = total[r][1] = _mm512_setzero_si512();
  }
  const auto add_sub = [&]<int kPhase>(int run) __attribute__((always_inline)) {
    const int sub = Unpack::sub(run, kPhase);
    V sum[kRows][2];
    const char* q[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      q[r] = reinterpret_cast<const char*>(x[r]->q) + Unpack::kSub * sub;
      sum[r][0] = sum[r][1] = _mm512_setzero_si512();
    }
    multiply_steps<Unpack, kPhase, kRows, kSteps>(panel, run, q, sum);
    const V scale0 = _mm512_load_si512(&panel.scale[sub][0]), scale1 = _mm512_load_si512(&panel.scale[sub][16]);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      total[r][0] = _mm512_add_epi32(total[r][0], _mm512_mullo_epi32(sum[r][0], scale0));
      total[r][1] = _mm512_add_epi32(total[r][1], _mm512_mullo_epi32(sum[r][1], scale1));
    }
  };
  for (int run = 0; run < kSubs / Unpack::kPhases; ++run) {
    add_sub.template operator()<0>(run);
    if constexpr (Unpack::kPhases > 1) add_sub.template operator()<1>(run);
    if constexpr (Unpack::kPhases > 2) {
      add_sub.template operator()<2>(run);
      add_sub.template operator()<3>(run);
    }
  }
#pragma GCC unroll 2
  for (int g = 0; g < 2; ++g) {
    V mins[kRows];
    min_sums<Unpack>(panel, x, g, mins);
    const __m512 d = _mm512_load_ps(&panel.d[0][16 * g]), m = _mm512_load_ps(&panel.m[0][16 * g]);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      __m512 sum;
      if constexpr (Unpack::kMin) {
        sum = _mm512_fmsub_ps(_mm512_cvtepi32_ps(total[r][g]), d, _mm512_mul_ps(_mm512_cvtepi32_ps(mins[r]), m));
      } else {  // kOffset, exact in integers
        sum = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(total[r][g], mins[r])), d);
      }
      const __m512 before = load_before(turn, rows, r, g);
      store_y(turn, rows, r, g, _mm512_fmadd_ps(sum, _mm512_set1_ps(x[r]->d), before));
    }
  }
}

// ---- blocks of 32 ----

template <class Unpack, int kRows>
[[gnu::always_inline]] inline void blocks_tile(const BlockPanel& panel, int count, const TileRows& rows,
                                               const PanelTurn& turn) {
  __m512 y[kRows][2];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    y[r][0] = load_before(turn, rows, r, 0);
    y[r][1] = load_before(turn, rows, r, 1);
  }
  for (int b = 0; b < count; ++b) {
    V sum[kRows][2];
    const char* q[kRows];
    const X8Block32* x[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      x[r] = reinterpret_cast<const X8Block32*>(rows.x[r]) + b;
      q[r] = reinterpret_cast<const char*>(x[r]->q);
      sum[r][0] = sum[r][1] = _mm512_mullo_epi32(broadcast(&x[r]->sum), _mm512_set1_epi32(-Unpack::kOffset));
    }
    multiply_steps<Unpack, 0, kRows, 8>(panel, b, q, sum);
    const __m512 d0 = _mm512_load_ps(&panel.d[b][0]), d1 = _mm512_load_ps(&panel.d[b][16]);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512 dx = _mm512_set1_ps(x[r]->d);
      y[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][0]), _mm512_mul_ps(d0, dx), y[r][0]);
      y[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][1]), _mm512_mul_ps(d1, dx), y[r][1]);
      if constexpr (Unpack::kMin) {
        const __m512 s = _mm512_set1_ps(x[r]->d * static_cast<float>(x[r]->sum));
        y[r][0] = _mm512_fmadd_ps(_mm512_load_ps(&panel.m[b][0]), s, y[r][0]);
        y[r][1] = _mm512_fmadd_ps(_mm512_load_ps(&panel.m[b][16]), s, y[r][1]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    store_y(turn, rows, r, 0, y[r][0]);
    store_y(turn, rows, r, 1, y[r][1]);
  }
}

// ---- the product ----

/// Rows m .. m_end of x, whole tiles of kRows, over a panel that holds columns n .. of `count` blocks from `first` on.
template <class Unpack, int kRows>
void block_tiles(const GemmArgs& args, const BlockPanel& panel, int64_t n, int64_t first, int count,
                 const PanelTurn& turn, int64_t m, int64_t m_end) {
  constexpr int64_t kXBytes = Unpack::kBlockElems == 256 ? sizeof(X8Block256) : sizeof(X8Block32);
  for (; m < m_end; m += kRows) {
    TileRows rows;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      rows.x[r] = x_row(args, m + r) + first * kXBytes;
      rows.y[r] = args.y + (m + r) * args.y_stride + n - args.n_begin;
      rows.before[r] = turn.start != nullptr ? turn.start : rows.y[r];
    }
    if constexpr (Unpack::kBlockElems == 256) {
      super_block_tile<Unpack, kRows>(panel, rows, turn);
    } else {
      blocks_tile<Unpack, kRows>(panel, count, rows, turn);
    }
  }
}

/// All rows of x over the panel.
template <class Unpack>
void block_rows(const GemmArgs& args, const BlockPanel& panel, int64_t n, int64_t first, int count,
                const PanelTurn& turn) {
  using Tiles = void (*)(const GemmArgs&, const BlockPanel&, int64_t, int64_t, int, const PanelTurn&, int64_t, int64_t);
  constexpr Tiles kTiles[] = {block_tiles<Unpack, 1>, block_tiles<Unpack, 2>, block_tiles<Unpack, 3>,
                              block_tiles<Unpack, 4>, block_tiles<Unpack, 5>, block_tiles<Unpack, 6>};
  const int64_t rest = args.num_rows % kBlockTileRows;
  // the last 7 are 4 and 3, not 6 and 1: a tile of one row waits for its own sums
  const int64_t last = rest > 0 && args.num_rows > rest ? rest + kBlockTileRows : rest;
  int64_t m = args.num_rows - last;
  const auto tiles = [&](int64_t begin, int64_t num_rows, int64_t tile_rows) {
    kTiles[tile_rows - 1](args, panel, n, first, count, turn, begin, begin + num_rows);
  };
  if (m > 0) tiles(0, m, kBlockTileRows);
  if (last > kBlockTileRows) {
    const int64_t half = (last + 1) / 2;
    tiles(m, half, half);
    tiles(m + half, last - half, last - half);
  } else if (last > 0) {
    tiles(m, last, last);
  }
}

inline constexpr int64_t kMostPanelBytes = 8 * 34;  // of one row: q8_0
inline constexpr int64_t kAheadBytes = 8192;        // how far ahead packed rows are asked for

/// From so many rows of x on, the lines that a panel asks for have come before the tiles are through.
inline constexpr int64_t kManyRows = 37;

/// Copies packed weights to L1 as one stream, at the pace of memory; returns the copy. What unpacks it waits for no
/// line, and asks once more for the lines ahead: some found no buffer free.
inline const char* bring(const char* from, int64_t bytes, char* to) {
  int64_t i = 0;
  for (; i + 64 <= bytes; i += 64) {
    _mm_prefetch(from + i + kAheadBytes, _MM_HINT_T0);
    _mm512_store_si512(to + i, _mm512_loadu_si512(from + i));
  }
  constexpr int64_t kHalfLine = 32;  // what is left of 32 blocks of an odd size
  if (i < bytes) std::memcpy(to + i, from + i, kHalfLine);
  return to;
}

/// The blocks of a panel where they lie; where w has fewer rows or blocks than a panel, a copy at `spare`.
inline PlainRows plain_rows(const GemmArgs& args, int64_t n, int64_t columns, int64_t offset, int64_t bytes, bool whole,
                            char* spare) {
  const char* first = w_row(args, n).data + offset;
  if (columns == kPanelRows && whole) return {first, args.w.row_bytes};
  for (int64_t r = 0; r < columns; ++r) {
    std::memcpy(spare + r * kMostPanelBytes, first + r * args.w.row_bytes, static_cast<size_t>(bytes));
  }
  return {spare, kMostPanelBytes};
}

/// Fills the panel with `count` blocks from block `first` on of columns n ..
template <class Unpack>
void fill_panel(const GemmArgs& args, int64_t n, int64_t columns, int64_t first, int count, char* spare,
                BlockPanel& panel) {
  constexpr int64_t kPanelBlocks = kPanelK / Unpack::kBlockElems;
  const int64_t block_bytes = format_info(args.w.format).block_bytes;
  if constexpr (Unpack::kCanPack) {
    if (args.w.packed) {
      const char* packed = w_row(args, n).data + kPanelRows * block_bytes * first;
      const int64_t panel_bytes = kPanelRows * block_bytes * count;
      if (args.num_rows >= kManyRows) {
        panel.next = packed + panel_bytes;
      } else {
        panel.next = packed + kAheadBytes;
        packed = bring(packed, panel_bytes, spare);
      }
      Unpack::group(PackedRows{packed}, count, panel, 0);
      Unpack::group(PackedRows{packed + kGroupRows * block_bytes}, count, panel, 1);
      return;
    }
  }
  const int64_t num_panels = ceil_div(args.k / Unpack::kBlockElems, kPanelBlocks);
  panel.next = w_row(args, min_of(n + kPanelRows, args.n_end - 1)).data +
               first / kPanelBlocks * (kPanelRows * args.w.row_bytes / num_panels);
  const PlainRows rows =
      plain_rows(args, n, columns, first * block_bytes, count * block_bytes, count == kPanelBlocks, spare);
  Unpack::group(rows, count, panel, 0);
  if (columns > kGroupRows) Unpack::group(PlainRows{rows.row(kGroupRows), rows.stride}, count, panel, 1);
}

template <class Unpack>
void block_gemm(const GemmArgs& args) {
  static constexpr float kZeros[kPanelRows] = {};
  BlockPanel& panel = *static_cast<BlockPanel*>(args.scratch);
  for (int g = 0; g < 2; ++g) panel.steps[g] = panel.values[g][0][0];  // the second group may be empty
  char* spare = static_cast<char*>(args.scratch) + sizeof(BlockPanel);
  std::memset(spare, 0, kPanelRows * kMostPanelBytes);  // rows and blocks that w does not have
  constexpr int64_t kPanelBlocks = kPanelK / Unpack::kBlockElems;
  const int64_t num_blocks = args.k / Unpack::kBlockElems;
  for (int64_t n = args.n_begin; n < args.n_end; n += kPanelRows) {
    const int64_t columns = min_of(kPanelRows, args.n_end - n);
    PanelTurn turn{};
    turn.mask[0] = static_cast<__mmask16>((1u << min_of(columns, 16)) - 1);
    turn.mask[1] = columns > 16 ? static_cast<__mmask16>((1u << (columns - 16)) - 1) : __mmask16{0};
    for (int64_t first = 0; first < num_blocks; first += kPanelBlocks) {
      const int count = static_cast<int>(min_of(kPanelBlocks, num_blocks - first));
      fill_panel<Unpack>(args, n, columns, first, count, spare, panel);
      turn.start = first > 0 ? nullptr : args.bias != nullptr ? args.bias + n : kZeros;
      block_rows<Unpack>(args, panel, n, first, count, turn);
    }
  }
}

/// One row of x and plain rows of w; false where a panel is better: blocks of 17 or 18 bytes lose here.
inline bool integer_dots(const GemmArgs& args) {
  using enum FormatId;
  switch (args.w.format) {
    case q4_k:
      return dot_rows<DotK4<false>>(args), true;
    case q5_k:
      return dot_rows<DotK4<true>>(args), true;
    case q6_k:
      return dot_rows<DotQ6K>(args), true;
    case q8_0:
      return dot_rows<DotQ80>(args), true;
    default:
      return false;
  }
}

/// w in whole blocks of `activation_format`'s formats, x in its x8 form.
inline void integer_gemm(const GemmArgs& args) {
  using enum FormatId;
  if (args.num_rows == 1 && !args.w.packed && integer_dots(args)) return;
  switch (args.w.format) {
    case q4_k:
      return args.num_rows < kManyRows ? block_gemm<UnpackQ4KInTile>(args) : block_gemm<UnpackQ4K>(args);
    case q5_k:
      return block_gemm<UnpackQ5K>(args);
    case q6_k:
      return args.num_rows <= 6 ? block_gemm<UnpackQ6KInTile>(args) : block_gemm<UnpackQ6K>(args);
    case q8_0:
      return block_gemm<UnpackQ80>(args);
    case q4_0:
      return block_gemm<UnpackQ45<false, false>>(args);
    case q4_1:
      return block_gemm<UnpackQ45<true, false>>(args);
    case q5_0:
      return block_gemm<UnpackQ45<false, true>>(args);
    case q5_1:
      return block_gemm<UnpackQ45<true, true>>(args);
    case q2_k:
      return block_gemm<UnpackQ2K>(args);
    case q3_k:
      return block_gemm<UnpackQ3K>(args);
    case iq2_xxs:
      return block_gemm<UnpackGrid<Iq2Xxs>>(args);
    case iq2_xs:
      return block_gemm<UnpackGrid<Iq2Xs>>(args);
    case iq2_s:
      return block_gemm<UnpackGrid<Iq2S>>(args);
    case iq3_xxs:
      return block_gemm<UnpackGrid<Iq3Xxs>>(args);
    case iq3_s:
      return block_gemm<UnpackGrid<Iq3S>>(args);
    case iq4_xs:
      return block_gemm<UnpackIq4Xs>(args);
    case iq4_nl:
      return block_gemm<UnpackTable<false>>(args);
    case mxfp4_block:
      return block_gemm<UnpackTable<true>>(args);
    default:
      return;
  }
}

/// A block of x: scale, integers (nearest, ties to even) and their sums. Numbers that are not finite make d NaN.
template <class Block, int kElems>
void encode_x8(const float* x, Block* out) {
  __m512 largest = _mm512_setzero_ps();
  __mmask16 bad = 0;
#pragma GCC unroll 16
  for (int i = 0; i < kElems; i += 16) {
    const __m512 v = _mm512_abs_ps(_mm512_loadu_ps(x + i));
    largest = _mm512_max_ps(largest, v);
    bad |= _mm512_cmp_ps_mask(v, _mm512_set1_ps(__builtin_inff()), _CMP_NLT_UQ);
  }
  const float max = _mm512_reduce_max_ps(largest);
  const float scale = max > 0 && bad == 0 ? 127.0f / max : 0.0f;
  out->d = bad != 0 ? __builtin_nanf("") : max / 127.0f;
  // below 2^-120 the inverse would overflow: such blocks are zero
  const __m512 inverse = _mm512_set1_ps(scale <= 0x1p126f ? scale : 0.0f);
  int32_t sums[kElems / 16];
#pragma GCC unroll 16
  for (int i = 0; i < kElems; i += 16) {
    const V q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), inverse));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out->q + i), _mm512_cvtepi32_epi8(q));
    sums[i / 16] = _mm512_reduce_add_epi32(q);
  }
  if constexpr (kElems == 32) {
    out->sum = sums[0] + sums[1];
  } else {
    for (int i = 0; i < kElems / 16; ++i) out->sums[i] = static_cast<int16_t>(sums[i]);
    for (int i = 0; i < kElems / 32; ++i) out->double_sums[i] = static_cast<int16_t>(sums[2 * i] + sums[2 * i + 1]);
  }
}

struct IntegerProduct {
  static constexpr int kTileRows = kBlockTileRows;
  static FormatId activation_format(FormatId weight) noexcept {
    if (weight == FormatId::nvfp4) return FormatId::f32;  // its scales are numbers of their own for every 16 elements
    return format_info(weight).block_elems == 256 ? FormatId::x8_b256 : FormatId::x8_b32;
  }
  static void encode_row(FormatId to, const float* x, int64_t k, void* out) noexcept {
    if (to == FormatId::x8_b256) {
      for (int64_t i = 0; i < k / 256; ++i) encode_x8<X8Block256, 256>(x + 256 * i, static_cast<X8Block256*>(out) + i);
    } else {
      for (int64_t i = 0; i < k / 32; ++i) encode_x8<X8Block32, 32>(x + 32 * i, static_cast<X8Block32*>(out) + i);
    }
  }
  static void gemm(const GemmArgs& args) noexcept { integer_gemm(args); }
};

}  // namespace
}  // namespace moxie::cpu
