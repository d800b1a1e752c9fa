// Some rows of int8 x (X8Group) at one column of w taken apart (pair_blocks.h), sums in registers.
//
// Bytes of w and x are multiplied and summed in pairs (vpmaddubsw), as many of these sums as int16 holds are added,
// then widened: 16 elements a lane, exact in integers. A lane's integers count d_w d_x, its sum of x m_w; eight f32
// sums an output, one a lane, go on from group to group in order of k and are added at the end by one fixed tree.
#pragma once

#include <cstddef>
#include <cstring>

#include "kernels/activation.h"
#include "kernels/cpu/gemm_rows.h"
#include "kernels/cpu/isa_avx2.h"
#include "kernels/cpu/pair_blocks.h"

namespace moxie::cpu {
namespace {

inline constexpr int kPairTileRows = 6;  // their sums, 4 vectors of w, d and m, ones and 3 for what is made: 16

/// The products of four steps, summed to a lane's integers.
template <class Block>
[[gnu::always_inline]] inline __m256i lane_sums(const __m256i* w, const X8Group& x, int o) {
  static_assert(Block::kRun * 2 * Block::kMost * 127 <= 32767);
  __m256i pairs[4];
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    const __m256i q = load_32(x.q[o][t]);
    pairs[t] = Block::kSigned ? _mm256_maddubs_epi16(_mm256_abs_epi8(w[t]), _mm256_sign_epi8(q, w[t]))
                              : _mm256_maddubs_epi16(w[t], q);
  }
  const __m256i ones = _mm256_set1_epi16(1);
  if constexpr (Block::kRun == 4) {
    const __m256i first = _mm256_add_epi16(pairs[0], pairs[1]), second = _mm256_add_epi16(pairs[2], pairs[3]);
    return _mm256_madd_epi16(_mm256_add_epi16(first, second), ones);
  }
  __m256i sums[4];
#pragma GCC unroll 4
  for (int t = 0; t < 4; t += Block::kRun) {
    sums[t] = _mm256_madd_epi16(Block::kRun == 2 ? _mm256_add_epi16(pairs[t], pairs[t + 1]) : pairs[t], ones);
  }
  if constexpr (Block::kRun == 2) return _mm256_add_epi32(sums[0], sums[2]);
  return _mm256_add_epi32(_mm256_add_epi32(sums[0], sums[1]), _mm256_add_epi32(sums[2], sums[3]));
}

/// sum[r] += row r of x times one group of w.
template <class Block, int kRows>
[[gnu::always_inline]] inline void add_group(const PairGroup& w, const X8Group* const (&x)[kRows],
                                             __m256 (&sum)[kRows]) {
#pragma GCC unroll 2
  for (int o = 0; o < 2; ++o) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m256 total = _mm256_cvtepi32_ps(lane_sums<Block>(w.q + 4 * o, *x[r], o));
      const auto* numbers = reinterpret_cast<const char*>(x[r]);  // at any address
      const __m256 dx = _mm256_broadcast_ps(reinterpret_cast<const __m128*>(numbers + 16 * o));
      __m256 to = _mm256_fmadd_ps(total, _mm256_mul_ps(w.d[o], dx), sum[r]);
      if constexpr (!Block::kSigned)
        to = _mm256_fmadd_ps(w.m[o], Avx2::load(numbers + offsetof(X8Group, sums) + 32 * o), to);
      asm("" : "+x"(to));  // one row after the other: for all at once there are no registers
      sum[r] = to;
    }
  }
}

/// How rows are cut into groups.
template <class Block>
struct Groups {
  static constexpr int kBlocks = 256 / Block::kElems;  // of a whole group
  explicit Groups(int64_t k) : whole(k / 256), rest(static_cast<int>(k % 256 / Block::kElems)) {}
  int64_t all() const { return whole + (rest > 0); }
  int64_t whole;
  int rest;  // blocks of the last group, or 0
};

/// Rows m .. of x: group i of row r at row[r] + i; rest: copies of what is left of them, filled up to a group.
template <int kRows>
struct XRows {
  XRows(const GemmArgs& args, const X8Group* rests, int64_t m) {
    for (int r = 0; r < kRows; ++r) {
      row[r] = reinterpret_cast<const X8Group*>(x_row(args, m + r));
      rest[r] = rests + m + r;
    }
  }
  const X8Group *row[kRows], *rest[kRows];
};

/// The rest of each row of x, filled up with zeros to a group.
inline void fill_rests(const GemmArgs& args, X8Group* out) {
  const int64_t whole = args.k / 256;
  const int count = static_cast<int>(args.k % 256 / 32);
  for (int64_t m = 0; m < args.num_rows && count > 0; ++m) {
    const auto* rest = reinterpret_cast<const X8Rest*>(x_row(args, m) + whole * static_cast<int64_t>(sizeof(X8Group)));
    X8Group group{};
    for (int b = 0; b < count; ++b) {
      const int o = b % 2, p = b / 2;
      group.d[o][p] = rest[b].d;
      for (int h = 0; h < 2; ++h) {
        group.sums[o][4 * h + p] = rest[b].sums[h];
        for (int t = 0; t < 4; ++t) std::memcpy(group.q[o][t][4 * h + p], rest[b].q + 16 * h + 4 * t, 4);
      }
    }
    out[m] = group;
  }
}

/// kRows rows of x times column n of w. whole_at(i): the column's group i; rest(): what follows.
template <class Block, int kRows, class WholeAt, class Rest>
[[gnu::always_inline]] inline void pair_tile(const GemmArgs& args, const X8Group* rests, int64_t m, int64_t n,
                                             const WholeAt& whole_at, const Rest& rest) {
  const Groups<Block> groups(args.k);
  const XRows<kRows> rows(args, rests, m);
  const X8Group* x[kRows];
  __m256 sum[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    x[r] = rows.row[r];
    sum[r] = _mm256_setzero_ps();
  }
  for (int64_t i = 0; i < groups.whole; ++i) {
    add_group<Block, kRows>(whole_at(i), x, sum);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) ++x[r];
  }
  if (groups.rest > 0) add_group<Block, kRows>(rest(), rows.rest, sum);
  finish_tile<Avx2, kRows, 1>(args, sum, m, n);
}

/// A whole group, in registers as far as they go.
template <class Block>
[[gnu::always_inline]] inline PairGroup read_whole(const uint8_t* blocks) {
  PairGroup group;
  Block::read(blocks, Groups<Block>::kBlocks, group);
  return group;
}

template <class Block>
[[gnu::noinline]] PairGroup read_rest(const uint8_t* blocks, int count) {
  PairGroup group;
  Block::read(blocks, count, group);
  return group;
}

}  // namespace
}  // namespace moxie::cpu
