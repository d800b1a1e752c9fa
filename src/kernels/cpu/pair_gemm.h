// y = x w^T for block formats by integers without a dot product of bytes (AVX2): x as int8 (kernels/activation.h),
// lanes along k. Bytes of w and x are multiplied and summed in pairs (vpmaddubsw), the pairs by their scales
// (vpmaddwd).
//
// Sums within a block are integers, hence exact in any order. Eight f32 sums an output, one a lane, go on from block to
// block in order of k: sum = fma(integers, d_w d_x, sum). Their lanes are added at the end by one fixed tree. The bits
// of an output do not depend on the shape of the call.
#pragma once

#include <new>
#include <type_traits>

#include "format/packed.h"
#include "kernels/activation.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/isa_avx2.h"
#include "kernels/cpu/pair_blocks.h"

namespace moxie::cpu {
namespace {

inline constexpr int kPairTileRows = 4, kPairTileCols = 2;  // 8 integer sums, 4 of x, values, scales: 14 registers
inline constexpr int64_t kPairsAheadBytes = 4096;           // how far ahead weights are asked for

/// A super-block of w taken apart, for many rows of x.
template <class Block>
struct alignas(32) KeptSuperBlock {
  static constexpr int kElems = 256;
  static constexpr bool kSigned = Block::kSigned, kMin = Block::kMin;
  explicit KeptSuperBlock(const uint8_t* bytes) {
    const Block block(bytes);
    const Scales all = block.scales();
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      values[j] = block.value(j);
      scale[j] = all[j];
    }
    min = block.mins();
    d = block.d;
    dmin = block.dmin;
  }
  __m256i value(int j) const {
    return values[j];
  }
  const __m256i* scales() const {
    return scale;
  }
  __m256i mins() const {
    return min;
  }
  __m256i values[8], scale[8], min;
  float d, dmin;
};

/// The same of a block of 32.
template <class Block>
struct alignas(32) KeptBlock {
  static constexpr int kElems = 32;
  static constexpr bool kSigned = Block::kSigned, kMin = Block::kMin;
  explicit KeptBlock(const uint8_t* bytes) {
    const Block block(bytes);
    values = block.value();
    d = block.d;
    m = block.m;
  }
  __m256i value() const { return values; }
  __m256i values;
  float d, m;
};

template <class Block>
using Kept = std::conditional_t<Block::kElems == 256, KeptSuperBlock<Block>, KeptBlock<Block>>;

/// Sums of pairs of products, as int16.
template <bool kSigned>
__m256i pair_products(__m256i w, __m256i magnitude, __m256i x) {
  return kSigned ? _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(x, w)) : _mm256_maddubs_epi16(w, x);
}

/// sum[r][c] += row r of x times column c of w over one super-block.
template <class W, int kRows, int kCols>
[[gnu::always_inline]] inline void add_block(const W* const (&w)[kCols], const X8Block256* const (&x)[kRows],
                                             __m256 (&sum)[kRows * kCols]) {
  __m256i total[kRows][kCols], mins[kRows][kCols];
#pragma GCC unroll 4
  for (int c = 0; c < kCols; ++c) {
    const __m256i min = w[c]->mins();
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      mins[r][c] = W::kSigned ? _mm256_setzero_si256() : _mm256_madd_epi16(min, load_32(x[r]->sums));
      total[r][c] = W::kMin ? _mm256_setzero_si256() : _mm256_sub_epi32(_mm256_setzero_si256(), mins[r][c]);
    }
  }
  const auto scales = [&](int c) { return w[c]->scales(); };
  using AllScales = decltype(scales(0));
  AllScales scale[kCols];
#pragma GCC unroll 4
  for (int c = 0; c < kCols; ++c) scale[c] = scales(c);
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) {
    __m256i xs[kRows];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      xs[r] = load_32(x[r]->q + 32 * j);
      if constexpr (kCols > 1) asm("" : "+x"(xs[r]));  // read once, not for each column
    }
#pragma GCC unroll 4
    for (int c = 0; c < kCols; ++c) {
      const __m256i value = w[c]->value(j), magnitude = _mm256_abs_epi8(value), by = scale[c][j];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const __m256i pairs = pair_products<W::kSigned>(value, magnitude, xs[r]);
        total[r][c] = _mm256_add_epi32(total[r][c], _mm256_madd_epi16(pairs, by));
        asm("" : "+x"(total[r][c]));  // now: the compiler would add all at the end, and has no registers for that
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < kCols; ++c) {
      __m256& to = sum[r * kCols + c];
      to = _mm256_fmadd_ps(_mm256_cvtepi32_ps(total[r][c]), _mm256_set1_ps(w[c]->d * x[r]->d), to);
      if constexpr (W::kMin) {
        to = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(mins[r][c]), _mm256_set1_ps(w[c]->dmin * x[r]->d), to);
      }
    }
  }
}

/// The same over one block of 32.
template <class W, int kRows, int kCols>
[[gnu::always_inline]] inline void add_block(const W* const (&w)[kCols], const X8Block32* const (&x)[kRows],
                                             __m256 (&sum)[kRows * kCols]) {
  __m256i xs[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    xs[r] = load_32(x[r]->q);
    if constexpr (kCols > 1) asm("" : "+x"(xs[r]));
  }
#pragma GCC unroll 4
  for (int c = 0; c < kCols; ++c) {
    const __m256i value = w[c]->value(), magnitude = _mm256_abs_epi8(value);
    const __m256 d = _mm256_set1_ps(w[c]->d);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256i pairs = pair_products<W::kSigned>(value, magnitude, xs[r]);
      const __m256 total = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
      __m256& to = sum[r * kCols + c];
      to = _mm256_fmadd_ps(_mm256_mul_ps(total, _mm256_set1_ps(x[r]->d)), d, to);
      if constexpr (W::kMin) {  // to lane 0
        const __m128 min = _mm_set_ss(w[c]->m * (x[r]->d * static_cast<float>(x[r]->sum)));
        to = _mm256_add_ps(to, _mm256_zextps128_ps256(min));
      }
    }
  }
}

/// The same block of eight rows, as a file has it.
struct EightBlocks {
  uint8_t bytes[8][kMostBlockBytes];
};

/// Eight rows of kUnits units of kBytes each, at `from` of 16 packed rows.
template <int kBytes, int kUnits>
void unpack_units(const char* from, int at, EightBlocks& out) {
  for (int u = 0; u < kUnits; ++u) {
    for (int r = 0; r < 8; ++r) std::memcpy(out.bytes[r] + at + kBytes * u, from + (16 * u + r) * kBytes, kBytes);
  }
}

/// Block `block` of rows row .. row + 7 (a multiple of 8) of a packed panel: kLead bytes of f16 scales or one of
/// exponent, dwords, perhaps an f16 (format/packed.h).
template <class Block>
void unpack_eight(const char* panel, int64_t row, int64_t block, EightBlocks& out) {
  constexpr int kHalf = kPackedRows / 2, kLead = Block::kLead, kDwords = (Block::kBytes - kLead) / 4;
  const char* half = panel + (2 * block + row / kHalf) * kHalf * Block::kBytes;
  const int64_t first = row % kHalf;
  if constexpr (kLead == 1) {
    unpack_units<1, 1>(half + first, 0, out);
  } else {
    unpack_units<2, kLead / 2>(half + 2 * first, 0, out);
  }
#pragma GCC unroll 8
  for (int u = 0; u < kDwords; u += 8) {
    __m256 v[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      v[i] = Avx2::load(half + kHalf * kLead + 4 * (kHalf * (u + i < kDwords ? u + i : kDwords - 1) + first));
    }
    Avx2::transpose(v);
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) Avx2::store(out.bytes[r] + kLead + 4 * u, v[r]);
  }
  constexpr int kEnd = kLead + 4 * kDwords;
  if constexpr (kEnd < Block::kBytes) unpack_units<2, 1>(half + kHalf * kEnd + 2 * first, kEnd, out);
}

template <class W>
using XBlock = std::conditional_t<W::kElems == 256, X8Block256, X8Block32>;

/// kRows rows of x from m on times kCols columns of w from n on. block_at(i, add): add({block i of each column}).
template <class W, int kRows, int kCols, class BlockAt>
[[gnu::always_inline]] inline void pair_tile(const GemmArgs& args, int64_t m, int64_t n, const BlockAt& block_at) {
  using X = XBlock<W>;
  const X* x[kRows];
  __m256 sum[kRows * kCols];
  for (int r = 0; r < kRows; ++r) x[r] = reinterpret_cast<const X*>(x_row(args, m + r));
  for (int i = 0; i < kRows * kCols; ++i) sum[i] = _mm256_setzero_ps();
  for (int64_t i = 0; i < args.k / W::kElems; ++i) {
    block_at(
        i, [&](const W* const(&w)[kCols]) __attribute__((always_inline)) { add_block<W>(w, x, sum); });
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) ++x[r];
  }
  finish_tile<Avx2, kRows, kCols>(args, sum, m, n);
}

template <int kBytes>
void ask_ahead(const void* bytes) {
#pragma GCC unroll 4
  for (int line = 0; line < kBytes; line += 64) {
    _mm_prefetch(static_cast<const char*>(bytes) + kPairsAheadBytes + line, _MM_HINT_T0);
  }
}

/// kRows rows of x, plain rows of w: each block is taken apart on its way.
template <class Block, int kRows>
void plain_tiles(const GemmArgs& args) {
  for (int64_t n = args.n_begin; n < args.n_end; ++n) {
    const auto* row = reinterpret_cast<const uint8_t*>(w_row(args, n).data);
    pair_tile<Block, kRows, 1>(
        args, 0, n, [&](int64_t i, const auto& add) __attribute__((always_inline)) {
          const uint8_t* bytes = row + i * Block::kBytes;
          for (int line = 0; line < Block::kBytes; line += 64)
            _mm_prefetch(bytes + kPairsAheadBytes + line, _MM_HINT_T0);
          const Block block(bytes);
          add({&block});
        });
  }
}

/// The same of packed rows: 32 rows go on together, block after block.
template <class Block, int kRows>
void packed_tiles(const GemmArgs& args) {
  using X = XBlock<Block>;
  constexpr int kGroups = kPackedRows / 8;
  for (int64_t n = args.n_begin; n < args.n_end; n += kPackedRows) {
    __m256 sum[kGroups][kRows * 8];
    const X* x[kRows];
    for (auto& group : sum) {
      for (__m256& s : group) s = _mm256_setzero_ps();
    }
    for (int r = 0; r < kRows; ++r) x[r] = reinterpret_cast<const X*>(x_row(args, r));
    const char* panel = w_row(args, n).data;
    for (int64_t i = 0; i < args.k / Block::kElems; ++i) {
      EightBlocks plain;
      for (int g = 0; g < kGroups; ++g) {
        unpack_eight<Block>(panel, 8 * g, i, plain);
        for (int c = 0; c < 8; ++c) {
          ask_ahead<Block::kBytes>(panel + (i * kPackedRows + 8 * g + c) * Block::kBytes);
          const Block block(plain.bytes[c]);
          __m256 one[kRows];
          for (int r = 0; r < kRows; ++r) one[r] = sum[g][8 * r + c];
          add_block<Block, kRows, 1>({&block}, x, one);
          for (int r = 0; r < kRows; ++r) sum[g][8 * r + c] = one[r];
        }
      }
      for (int r = 0; r < kRows; ++r) ++x[r];
    }
    for (int g = 0; g < kGroups; ++g) finish_tile<Avx2, kRows, 8>(args, sum[g], 0, n + 8 * g);
  }
}

/// kCols columns from n on, taken apart at `kept`, over all rows of x.
template <class Block, int kRows, int kCols>
void kept_tile(const GemmArgs& args, int64_t m, int64_t n, const Kept<Block>* kept) {
  const int64_t num_blocks = args.k / Block::kElems;
  pair_tile<Kept<Block>, kRows, kCols>(
      args, m, n, [&](int64_t i, const auto& add) __attribute__((always_inline)) {
        if constexpr (kCols == 2) {
          add({kept + i, kept + num_blocks + i});
        } else {
          add({kept + i});
        }
      });
}

template <class Block, int kRows>
void kept_columns(const GemmArgs& args, int64_t m, int64_t n, int64_t n_end, const Kept<Block>* kept) {
  const int64_t num_blocks = args.k / Block::kElems;
  for (; n + kPairTileCols <= n_end; n += kPairTileCols, kept += kPairTileCols * num_blocks) {
    kept_tile<Block, kRows, kPairTileCols>(args, m, n, kept);
  }
  for (; n < n_end; ++n, kept += num_blocks) kept_tile<Block, kRows, 1>(args, m, n, kept);
}

/// Takes columns n .. n_end apart.
template <class Block>
void keep_columns(const GemmArgs& args, int64_t n, int64_t n_end, Kept<Block>* kept) {
  const int64_t num_blocks = args.k / Block::kElems;
  if (!args.w.packed) {
    for (; n < n_end; ++n) {
      const auto* row = reinterpret_cast<const uint8_t*>(w_row(args, n).data);
      for (int64_t i = 0; i < num_blocks; ++i) new (kept++) Kept<Block>(row + i * Block::kBytes);
    }
    return;
  }
  const char* panel = w_row(args, n / kPackedRows * kPackedRows).data;  // no call begins in the middle of eight rows
  for (int64_t i = 0; i < num_blocks; ++i) {
    EightBlocks plain;
    unpack_eight<Block>(panel, n % kPackedRows / 8 * 8, i, plain);
    for (int64_t c = n; c < n_end; ++c) new (kept + (c - n) * num_blocks + i) Kept<Block>(plain.bytes[c % 8]);
  }
}

/// Many rows of x: some rows of w are taken apart, then tiles of x pass over them.
template <class Block>
void kept_tiles(const GemmArgs& args) {
  const int64_t num_blocks = args.k / Block::kElems;
  const int64_t column_bytes = num_blocks * static_cast<int64_t>(sizeof(Kept<Block>));
  const int64_t room = decoded_floats(args.num_rows, args.k) * static_cast<int64_t>(sizeof(float));
  int64_t columns = 8;
  while (columns * column_bytes > room) columns /= 2;
  auto* kept = static_cast<Kept<Block>*>(args.scratch);
  for (int64_t n = args.n_begin; n < args.n_end; n += columns) {
    const int64_t n_end = min_of(n + columns, args.n_end);
    keep_columns<Block>(args, n, n_end, kept);
    int64_t m = 0;
    for (; m + kPairTileRows <= args.num_rows; m += kPairTileRows) {
      kept_columns<Block, kPairTileRows>(args, m, n, n_end, kept);
    }
    switch (args.num_rows - m) {
      case 3:
        kept_columns<Block, 3>(args, m, n, n_end, kept);
        break;
      case 2:
        kept_columns<Block, 2>(args, m, n, n_end, kept);
        break;
      case 1:
        kept_columns<Block, 1>(args, m, n, n_end, kept);
        break;
      default:
        break;
    }
  }
}

template <class Block, int kRows>
void few_rows(const GemmArgs& args) {
  args.w.packed ? packed_tiles<Block, kRows>(args) : plain_tiles<Block, kRows>(args);
}

template <class Block>
void pair_rows(const GemmArgs& args) {
  switch (args.num_rows) {
    case 1:
      return few_rows<Block, 1>(args);
    case 2:
      return few_rows<Block, 2>(args);
    case 3:
      return few_rows<Block, 3>(args);
    case 4:
      return few_rows<Block, 4>(args);
    default:
      return kept_tiles<Block>(args);
  }
}

/// w in whole blocks of `activation_format`'s formats, x in its x8 form.
inline void pair_gemm(const GemmArgs& args) {
  using enum FormatId;
  switch (args.w.format) {
    case q4_0:
      return pair_rows<PairsQ45<false, false>>(args);
    case q4_1:
      return pair_rows<PairsQ45<true, false>>(args);
    case q5_0:
      return pair_rows<PairsQ45<false, true>>(args);
    case q5_1:
      return pair_rows<PairsQ45<true, true>>(args);
    case q8_0:
      return pair_rows<PairsQ80>(args);
    case q2_k:
      return pair_rows<PairsQ2K>(args);
    case q3_k:
      return pair_rows<PairsQ3K>(args);
    case q4_k:
      return pair_rows<PairsQ4K>(args);
    case q5_k:
      return pair_rows<PairsQ5K>(args);
    case q6_k:
      return pair_rows<PairsQ6K>(args);
    case iq2_xxs:
      return pair_rows<PairsGrid<iq2_xxs, 66, 32>>(args);
    case iq2_xs:
      return pair_rows<PairsGrid<iq2_xs, 74, 16>>(args);
    case iq2_s:
      return pair_rows<PairsGrid<iq2_s, 82, 16>>(args);
    case iq3_xxs:
      return pair_rows<PairsGrid<iq3_xxs, 98, 32>>(args);
    case iq3_s:
      return pair_rows<PairsGrid<iq3_s, 110, 32>>(args);
    case iq4_xs:
      return pair_rows<PairsIq4Xs>(args);
    case iq4_nl:
      return pair_rows<PairsTable<false>>(args);
    case mxfp4_block:
      return pair_rows<PairsTable<true>>(args);
    default:
      return;
  }
}

}  // namespace
}  // namespace moxie::cpu
