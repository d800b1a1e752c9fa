// y = x w^T for block formats by integers without a dot product of bytes (AVX2). All ways of a call sum by add_group
// (pair_tile.h) in the same order, so the bits of an output do not depend on its shape.
#pragma once

#include <cstring>

#include "format/packed.h"
#include "kernels/cpu/pair_tile.h"

namespace moxie::cpu {
namespace {

inline constexpr int64_t kPairsAheadBytes = 8192;  // how far ahead weights are asked for

/// Inlined: a call that does nothing but ask is optimised away.
template <int kBytes>
[[gnu::always_inline]] inline void ask_ahead(const void* bytes) {
#pragma GCC unroll 8
  for (int line = 0; line < kBytes; line += 64) {
    _mm_prefetch(static_cast<const char*>(bytes) + kPairsAheadBytes + line, _MM_HINT_T0);
  }
}

// ---- packed rows ----

/// A group of eight rows, as a file has it.
struct EightRows {
  uint8_t bytes[8][8 * 34 + 32];  // of the longest blocks (q8_0), and what unpacking writes beyond
};

/// Eight rows of kUnits units of kBytes each, at `from` of 16 packed rows.
template <int kBytes, int kUnits>
void unpack_units(const char* from, int at, EightRows& out) {
  for (int u = 0; u < kUnits; ++u) {
    for (int r = 0; r < 8; ++r) std::memcpy(out.bytes[r] + at + kBytes * u, from + (16 * u + r) * kBytes, kBytes);
  }
}

/// `count` blocks, from `block` on, of rows row .. row + 7 (a multiple of 8) of a packed panel: kLead bytes of f16 or
/// one of exponent, dwords, perhaps an f16 (format/packed.h).
template <class Block>
void unpack_eight(const char* panel, int64_t row, int64_t block, int count, EightRows& out) {
  constexpr int kHalf = kPackedRows / 2, kLead = Block::kLead, kDwords = (Block::kBytes - kLead) / 4;
  constexpr int kEnd = kLead + 4 * kDwords, kWritten = kLead + (kDwords + 7) / 8 * 32;
  static_assert((Groups<Block>::kBlocks - 1) * Block::kBytes + kWritten <= sizeof(EightRows::bytes[0]));
  const int64_t first = row % kHalf;
  const char* half = panel + (2 * block + row / kHalf) * kHalf * Block::kBytes;
  for (int b = 0; b < count; ++b, half += 2 * kHalf * Block::kBytes) {
    const int at = b * Block::kBytes;
    if constexpr (kLead == 1) {
      unpack_units<1, 1>(half + first, at, out);
    } else {
      unpack_units<2, kLead / 2>(half + 2 * first, at, out);
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
      for (int r = 0; r < 8; ++r) Avx2::store(out.bytes[r] + at + kLead + 4 * u, v[r]);
    }
    if constexpr (kEnd < Block::kBytes) unpack_units<2, 1>(half + kHalf * kEnd + 2 * first, at + kEnd, out);
  }
}

// ---- few rows of x: each group of w is taken apart on its way ----

template <class Block, int kRows>
void plain_columns(const GemmArgs& args, const X8Group* rests) {
  constexpr int kGroupBytes = Groups<Block>::kBlocks * Block::kBytes;
  const Groups<Block> groups(args.k);
  for (int64_t n = args.n_begin; n < args.n_end; ++n) {
    const auto* row = reinterpret_cast<const uint8_t*>(w_row(args, n).data);
    const auto whole_at = [&](int64_t i) __attribute__((always_inline)) {
      ask_ahead<kGroupBytes>(row + i * kGroupBytes);
      return read_whole<Block>(row + i * kGroupBytes);
    };
    pair_tile<Block, kRows>(args, rests, 0, n, whole_at,
                            [&] { return read_rest<Block>(row + groups.whole * kGroupBytes, groups.rest); });
  }
}

/// One row of x: 32 packed rows go on together, group after group, as they lie.
template <class Block>
void packed_columns(const GemmArgs& args, const X8Group* rests) {
  constexpr int kEights = kPackedRows / 8;
  const Groups<Block> groups(args.k);
  constexpr int kGroupBytes = Groups<Block>::kBlocks * Block::kBytes;
  for (int64_t n = args.n_begin; n < args.n_end; n += kPackedRows) {
    const char* panel = w_row(args, n).data;
    __m256 sum[kEights][8];
    for (auto& eight : sum) {
      for (__m256& s : eight) s = _mm256_setzero_ps();
    }
    const XRows<1> row(args, rests, 0);
    for (int64_t i = 0; i < groups.all(); ++i) {
      const bool whole = i < groups.whole;
      const int count = whole ? groups.kBlocks : groups.rest;
      const X8Group* const x[1] = {whole ? row.row[0] + i : row.rest[0]};
      for (int e = 0; e < kEights; ++e) {
        EightRows plain;
        unpack_eight<Block>(panel, 8 * e, i * groups.kBlocks, count, plain);
        for (int c = 0; c < 8; ++c) {
          ask_ahead<kGroupBytes>(panel + (i * kPackedRows + 8 * e + c) * kGroupBytes);
          __m256 one[1] = {sum[e][c]};
          if (whole) {
            add_group<Block, 1>(read_whole<Block>(plain.bytes[c]), x, one);
          } else {
            add_group<Block, 1>(read_rest<Block>(plain.bytes[c], count), x, one);
          }
          sum[e][c] = one[0];
        }
      }
    }
    for (int e = 0; e < kEights; ++e) finish_tile<Avx2, 1, 8>(args, sum[e], 0, n + 8 * e);
  }
}

// ---- many rows of x, or packed rows and more than one: columns are taken apart once ----

inline constexpr int64_t kKeptColumns = 8;

template <class Block>
void keep_columns(const GemmArgs& args, int64_t n, int64_t n_end, PairGroup* kept) {
  const Groups<Block> groups(args.k);
  const int64_t stride = groups.all();
  const auto keep = [&](int64_t i, int count) __attribute__((always_inline)) {
    [[maybe_unused]] EightRows plain;
    if constexpr (Block::kCanPack) {
      if (args.w.packed) {
        const char* panel = w_row(args, n / kPackedRows * kPackedRows).data;
        unpack_eight<Block>(panel, n % kPackedRows, i * groups.kBlocks, count, plain);
      }
    }
    for (int64_t c = n; c < n_end; ++c) {
      const uint8_t* blocks =
          args.w.packed ? plain.bytes[c - n]
                        : reinterpret_cast<const uint8_t*>(w_row(args, c).data) + i * groups.kBlocks * Block::kBytes;
      Block::read(blocks, count, kept[(c - n) * stride + i]);
    }
  };
  for (int64_t i = 0; i < groups.whole; ++i) keep(i, groups.kBlocks);
  if (groups.rest > 0) keep(groups.whole, groups.rest);
}

template <class Block, int kRows>
void kept_tiles(const GemmArgs& args, const X8Group* rests, int64_t m, int64_t n, int64_t n_end,
                const PairGroup* kept) {
  const int64_t stride = Groups<Block>(args.k).all();
  for (; n < n_end; ++n, kept += stride) {
    const auto at = [&](int64_t i) __attribute__((always_inline))->const PairGroup& {
      return kept[i];
    };
    pair_tile<Block, kRows>(args, rests, m, n, at, [&] { return at(stride - 1); });
  }
}

template <class Block>
void kept_columns(const GemmArgs& args, const X8Group* rests, PairGroup* kept) {
  using Tiles = void (*)(const GemmArgs&, const X8Group*, int64_t, int64_t, int64_t, const PairGroup*);
  constexpr Tiles kTiles[] = {kept_tiles<Block, 1>, kept_tiles<Block, 2>, kept_tiles<Block, 3>,
                              kept_tiles<Block, 4>, kept_tiles<Block, 5>, kept_tiles<Block, 6>};
  for (int64_t n = args.n_begin; n < args.n_end; n += kKeptColumns) {
    const int64_t n_end = min_of(n + kKeptColumns, args.n_end);
    keep_columns<Block>(args, n, n_end, kept);
    for (int64_t m = 0, rows; m < args.num_rows; m += rows) {
      const int64_t left = args.num_rows - m;
      rows = ceil_div(left, ceil_div(left, kPairTileRows));  // nearly equal: a tile of one row waits for its sums
      kTiles[rows - 1](args, rests, m, n, n_end, kept);
    }
  }
}

/// The rests of x stand before the columns that are kept.
inline int64_t rests_bytes(int64_t num_rows) {
  return ceil_div(num_rows * static_cast<int64_t>(sizeof(X8Group)), 64) * 64;
}
inline int64_t pair_scratch_bytes(int64_t num_rows, int64_t k) {
  return rests_bytes(num_rows) + kKeptColumns * ceil_div(k, 256) * static_cast<int64_t>(sizeof(PairGroup));
}

template <class Block>
void pair_rows(const GemmArgs& args) {
  if (args.num_rows == 0) return;
  auto* rests = static_cast<X8Group*>(args.scratch);
  if constexpr (Block::kElems == 32) fill_rests(args, rests);
  if (!args.w.packed && args.num_rows <= kPairTileRows) {
    using Plain = void (*)(const GemmArgs&, const X8Group*);
    constexpr Plain kPlain[] = {plain_columns<Block, 1>, plain_columns<Block, 2>, plain_columns<Block, 3>,
                                plain_columns<Block, 4>, plain_columns<Block, 5>, plain_columns<Block, 6>};
    return kPlain[args.num_rows - 1](args, rests);
  }
  if constexpr (Block::kCanPack) {
    if (args.num_rows == 1) return packed_columns<Block>(args, rests);
  }
  auto* kept = reinterpret_cast<PairGroup*>(static_cast<char*>(args.scratch) + rests_bytes(args.num_rows));
  kept_columns<Block>(args, rests, kept);
}

/// w in whole blocks of `activation_format`'s formats, x as x8_pairs.
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
      return pair_rows<PairsGrid<iq2_xxs, 66, 32, 43>>(args);
    case iq2_xs:
      return pair_rows<PairsGrid<iq2_xs, 74, 16, 43>>(args);
    case iq2_s:
      return pair_rows<PairsGrid<iq2_s, 82, 16, 43>>(args);
    case iq3_xxs:
      return pair_rows<PairsGrid<iq3_xxs, 98, 32, 62>>(args);
    case iq3_s:
      return pair_rows<PairsGrid<iq3_s, 110, 32, 15>>(args);
    case iq4_xs:
      return pair_rows<PairsIq4Xs>(args);
    case iq4_nl:
      return pair_rows<PairsIq4Nl>(args);
    case mxfp4_block:
      return pair_rows<PairsMxfp4>(args);
    default:
      return;
  }
}

}  // namespace
}  // namespace moxie::cpu
