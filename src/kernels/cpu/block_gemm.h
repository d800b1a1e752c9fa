// y = x w^T for block formats by integers (AVX-512 VNNI): x as int8 (kernels/activation.h), w as a panel of 32 rows x
// 256 k that stays in L1 while every row of x passes over it; one row of x goes without (block_dot.h).
//
// Sums within a panel's blocks are integers, hence exact in any order. Per super-block, or block of 32, one f32 sum an
// output goes on in order of k: y = fma(what w makes of the integers, d_x, y). The bits of an output do not depend on
// the shape of the call.
#pragma once

#include "kernels/cpu/block_dot.h"
#include "kernels/cpu/block_tile.h"
#include "kernels/cpu/block_unpack.h"
#include "kernels/cpu/block_unpack_32.h"
#include "kernels/cpu/block_unpack_grid.h"

namespace moxie::cpu {
namespace {

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

/// From so many rows of x on, the lines that a panel asks for have come before its tiles are through, and unpacking
/// pays.
inline constexpr int64_t kManyRows = 37;

/// Copies packed weights to L1 as one stream, at the pace of memory; returns the copy. What reads it waits for no line,
/// and asks once more for the lines ahead: some found no buffer free.
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
  // packed rows that tiles take apart have their own
  for (int g = 0; g < 2; ++g) panel.steps[g] = panel.values[g][0][0];
  char* spare = static_cast<char*>(args.scratch) + sizeof(BlockPanel);
  if (!args.w.packed) std::memset(spare, 0, kPanelRows * kMostPanelBytes);  // rows and blocks that w does not have
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

/// w in whole blocks of `activation_format`'s formats, x in its x8 form.
inline void integer_gemm(const GemmArgs& args) {
  using enum FormatId;
  const bool dots = args.num_rows == 1 && !args.w.packed;  // not for blocks of 17 or 18 bytes: a panel is better there
  constexpr int64_t kFewForQ6K = 6;                        // its values cost the most to take apart
  switch (args.w.format) {
    case q4_k:
      if (dots) return dot_rows<DotK4<false>>(args);
      return args.num_rows < kManyRows ? block_gemm<UnpackQ4KInTile>(args) : block_gemm<UnpackQ4K>(args);
    case q5_k:
      return dots ? dot_rows<DotK4<true>>(args) : block_gemm<UnpackQ5K>(args);
    case q6_k:
      if (dots) return dot_rows<DotQ6K>(args);
      return args.num_rows <= kFewForQ6K ? block_gemm<UnpackQ6KInTile>(args) : block_gemm<UnpackQ6K>(args);
    case q8_0:
      return dots ? dot_rows<DotQ80>(args) : block_gemm<UnpackQ80>(args);
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

}  // namespace
}  // namespace moxie::cpu
