// Attention of some queries of one KV head over its pages: online softmax over blocks of kKeyBlock positions.
//
// A row is one head of one query. Rows share loads of keys and values, never arithmetic: what a row gets depends on its
// own query, position and keys. A score is a sum in k-lane order; a block's weights are summed over its kKeyBlock slots
// in lane order; values are added position by position, lanes over v_dim; keys a row does not see are not touched.
#pragma once

#include <cstdint>

#include "kernels/cpu/vector_math.h"
#include "kernels/kernels.h"

namespace moxie::cpu {
namespace {

constexpr int kAttentionRows = 8;  // rows that walk the keys together

/// The state of one row.
struct AttentionRow {
  const float* q;
  float* out;
  int64_t begin, end;  // visible positions
  int64_t lo, hi;      // of them, those in the current block, counted from its start
  float max, total;    // of the softmax so far
  float* values;       // [v_dim] weighted sum so far
  float* weights;      // [kKeyBlock] scores, then weights, of the current block
};

inline int64_t clamp_to(int64_t v, int64_t lo, int64_t hi) {
  return v < lo ? lo : v > hi ? hi : v;
}

/// Scores of kRows rows against kKeys keys: row r, key j at rows[r].weights[position + j].
template <class Isa, int kRows, int kKeys>
void score_tile(const AttentionArgs& args, const AttentionRow* rows, const float* keys, int64_t position) {
  using F = typename Isa::F;
  constexpr int kSums = kRows * kKeys;
  F sum[kSums];
#pragma GCC unroll 32
  for (int i = 0; i < kSums; ++i) sum[i] = Isa::zero();
  const float* key = keys + position * args.k_row_stride;
  const int64_t whole = args.k_dim / Isa::kLanes * Isa::kLanes;
  for (int64_t d = 0; d < whole; d += Isa::kLanes) {
#pragma GCC unroll 8
    for (int j = 0; j < kKeys; ++j) {
      const F k = Isa::load(key + j * args.k_row_stride + d);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) sum[r * kKeys + j] = Isa::fma(Isa::load(rows[r].q + d), k, sum[r * kKeys + j]);
    }
  }
  if (whole < args.k_dim) {
    const int64_t rest = args.k_dim - whole;
#pragma GCC unroll 8
    for (int j = 0; j < kKeys; ++j) {
      const F k = Isa::load_part(key + j * args.k_row_stride + whole, rest);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        sum[r * kKeys + j] = Isa::fma(Isa::load_part(rows[r].q + whole, rest), k, sum[r * kKeys + j]);
      }
    }
  }
  const __m128 scale = _mm_set1_ps(args.scale);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const F* row = sum + r * kKeys;
    const __m128 scores = _mm_mul_ps(Isa::sum4(row[0], row[1 % kKeys], row[2 % kKeys], row[3 % kKeys]), scale);
    if constexpr (kKeys == 4) {
      _mm_storeu_ps(rows[r].weights + position, scores);
    } else {
      _mm_store_ss(rows[r].weights + position, scores);
    }
  }
}

template <class Isa, int kRows>
void score_rows(const AttentionArgs& args, const AttentionRow* rows, const float* keys) {
  int64_t lo = rows[0].lo, hi = rows[0].hi;
  for (int r = 1; r < kRows; ++r) {
    lo = rows[r].lo < lo ? rows[r].lo : lo;
    hi = rows[r].hi > hi ? rows[r].hi : hi;
  }
  for (; lo + 4 <= hi; lo += 4) score_tile<Isa, kRows, 4>(args, rows, keys, lo);
  for (; lo < hi; ++lo) score_tile<Isa, kRows, 1>(args, rows, keys, lo);
}

/// Turns the scores of the block into weights and scales what was summed before to the new maximum.
template <class Isa>
void update_softmax(AttentionRow& row, int64_t v_dim) {
  using F = typename Isa::F;
  for (int64_t j = 0; j < row.lo; ++j) row.weights[j] = -__builtin_inff();
  for (int64_t j = row.hi; j < kKeyBlock; ++j) row.weights[j] = -__builtin_inff();
  F block_max = Isa::load(row.weights);
  for (int64_t j = Isa::kLanes; j < kKeyBlock; j += Isa::kLanes) {
    block_max = Isa::max(Isa::load(row.weights + j), block_max);
  }
  const float lane_max = Isa::max_lane(block_max);
  const float new_max = lane_max > row.max ? lane_max : row.max;
  const float shift = new_max == -__builtin_inff() ? 0.0f : new_max;  // all -inf so far: weights are 0, not NaN
  F sum = Isa::zero();
  for (int64_t j = 0; j < kKeyBlock; j += Isa::kLanes) {
    const F weight = exp<Isa>(Isa::sub(Isa::load(row.weights + j), Isa::set1(shift)));
    Isa::store(row.weights + j, weight);
    sum = Isa::add(sum, weight);
  }
  if (new_max != row.max) {
    const float factor = exp_scalar<Isa>(row.max - shift);
    row.total *= factor;
    for (int64_t d = 0; d < v_dim; d += Isa::kLanes) {  // values are padded to whole vectors
      Isa::store(row.values + d, Isa::mul(Isa::load(row.values + d), Isa::set1(factor)));
    }
    row.max = new_max;
  }
  row.total += sum_lanes<Isa>(sum);
}

/// values += weight * v for positions [lo, hi) of the block, kVectors vectors of v_dim from d on.
template <class Isa, int kRows, int kVectors>
void add_values_tile(const AttentionArgs& args, AttentionRow* const* rows, const float* v_page, int64_t lo, int64_t hi,
                     int64_t d, int64_t last_lanes) {
  using F = typename Isa::F;
  F sum[kRows * kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) sum[r * kVectors + i] = Isa::load(rows[r]->values + d + i * Isa::kLanes);
  }
  for (int64_t j = lo; j < hi; ++j) {
    const float* v = v_page + j * args.v_row_stride + d;
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      const F vi = i + 1 < kVectors || last_lanes == Isa::kLanes ? Isa::load(v + i * Isa::kLanes)
                                                                 : Isa::load_part(v + i * Isa::kLanes, last_lanes);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        sum[r * kVectors + i] = Isa::fma(Isa::set1(rows[r]->weights[j]), vi, sum[r * kVectors + i]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) Isa::store(rows[r]->values + d + i * Isa::kLanes, sum[r * kVectors + i]);
  }
}

template <class Isa, int kRows>
void add_values_range(const AttentionArgs& args, AttentionRow* const* rows, const float* v_page, int64_t lo,
                      int64_t hi) {
  constexpr int kVectors = 4;
  if (lo >= hi) return;
  int64_t d = 0;
  for (; d + kVectors * Isa::kLanes <= args.v_dim; d += kVectors * Isa::kLanes) {
    add_values_tile<Isa, kRows, kVectors>(args, rows, v_page, lo, hi, d, Isa::kLanes);
  }
  for (; d < args.v_dim; d += Isa::kLanes) {
    const int64_t rest = args.v_dim - d;
    add_values_tile<Isa, kRows, 1>(args, rows, v_page, lo, hi, d, rest < Isa::kLanes ? rest : Isa::kLanes);
  }
}

/// Positions all rows see are added together, the ragged ends row by row; a row's order is ascending all the same.
template <class Isa, int kRows>
void add_values(const AttentionArgs& args, AttentionRow* rows, const float* v_page) {
  AttentionRow* all[kRows];
  int64_t lo = 0, hi = kKeyBlock;
  for (int r = 0; r < kRows; ++r) {
    all[r] = rows + r;
    lo = rows[r].lo > lo ? rows[r].lo : lo;
    hi = rows[r].hi < hi ? rows[r].hi : hi;
  }
  if (lo > hi) lo = hi;
  for (int r = 0; r < kRows; ++r) {
    add_values_range<Isa, 1>(args, all + r, v_page, rows[r].lo, lo < rows[r].hi ? lo : rows[r].hi);
  }
  add_values_range<Isa, kRows>(args, all, v_page, lo, hi);
  for (int r = 0; r < kRows; ++r) {
    add_values_range<Isa, 1>(args, all + r, v_page, hi > rows[r].lo ? hi : rows[r].lo, rows[r].hi);
  }
}

/// One block of keys for rows that all see some of it.
template <class Isa, int kRows>
void attend_block(const AttentionArgs& args, AttentionRow* rows, int64_t block) {
  score_rows<Isa, kRows>(args, rows, args.k_pages[block]);
  for (int r = 0; r < kRows; ++r) update_softmax<Isa>(rows[r], args.v_dim);
  add_values<Isa, kRows>(args, rows, args.v_pages[block]);
}

template <class Isa>
void attend_rows(const AttentionArgs& args, AttentionRow* rows, int num_rows) {
  int64_t begin = rows[0].begin, end = rows[0].end;
  for (int r = 1; r < num_rows; ++r) {
    begin = rows[r].begin < begin ? rows[r].begin : begin;
    end = rows[r].end > end ? rows[r].end : end;
  }
  for (int64_t block = begin / kKeyBlock; block * kKeyBlock < end; ++block) {
    for (int r = 0; r < num_rows; ++r) {
      rows[r].lo = clamp_to(rows[r].begin - block * kKeyBlock, 0, kKeyBlock);
      rows[r].hi = clamp_to(rows[r].end - block * kKeyBlock, 0, kKeyBlock);
    }
    int r = 0;
    while (r < num_rows) {
      if (rows[r].lo >= rows[r].hi) {
        ++r;
        continue;
      }
      int run = 1;
      while (run < 4 && r + run < num_rows && rows[r + run].lo < rows[r + run].hi) ++run;
      if (run == 4) {
        attend_block<Isa, 4>(args, rows + r, block);
      } else if (run >= 2) {
        run = 2;
        attend_block<Isa, 2>(args, rows + r, block);
      } else {
        attend_block<Isa, 1>(args, rows + r, block);
      }
      r += run;
    }
  }
}

inline int64_t padded_dim(int64_t dim) {
  return (dim + 15) / 16 * 16;
}

inline int64_t attention_scratch_bytes(int64_t, int64_t, int64_t v_dim) noexcept {
  return kAttentionRows * (padded_dim(v_dim) + kKeyBlock) * static_cast<int64_t>(sizeof(float));
}

template <class Isa>
void start_row(const AttentionArgs& args, int64_t index, float* values, float* weights, AttentionRow& row) {
  const int64_t i = index / args.group, g = index % args.group;
  row.q = args.q + i * args.q_stride + g * args.q_head_stride;
  row.out = args.out + i * args.out_stride + g * args.out_head_stride;
  row.end = static_cast<int64_t>(args.position[i]) + 1;
  row.begin = args.window > 0 && row.end > args.window ? row.end - args.window : 0;
  row.max = args.sinks != nullptr ? args.sinks[g] : -__builtin_inff();
  row.total = args.sinks != nullptr ? 1.0f : 0.0f;
  row.values = values;
  row.weights = weights;
  for (int64_t d = 0; d < padded_dim(args.v_dim); ++d) values[d] = 0;
}

template <class Isa>
void finish_row(const AttentionRow& row, int64_t v_dim) {
  const auto total = Isa::set1(row.total);
  int64_t d = 0;
  for (; d + Isa::kLanes <= v_dim; d += Isa::kLanes) {
    Isa::store(row.out + d, Isa::div(Isa::load(row.values + d), total));
  }
  if (d < v_dim) Isa::store_part(row.out + d, Isa::div(Isa::load(row.values + d), total), v_dim - d);
}

template <class Isa>
void attention(const AttentionArgs& args) noexcept {
  float* scratch = static_cast<float*>(args.scratch);
  const int64_t total = args.num_queries * args.group, stride = padded_dim(args.v_dim) + kKeyBlock;
  for (int64_t first = 0; first < total; first += kAttentionRows) {
    AttentionRow rows[kAttentionRows];
    const int num_rows = static_cast<int>(total - first < kAttentionRows ? total - first : kAttentionRows);
    for (int r = 0; r < num_rows; ++r) {
      start_row<Isa>(args, first + r, scratch + r * stride + kKeyBlock, scratch + r * stride, rows[r]);
    }
    attend_rows<Isa>(args, rows, num_rows);
    for (int r = 0; r < num_rows; ++r) finish_row<Isa>(rows[r], args.v_dim);
  }
}

}  // namespace
}  // namespace moxie::cpu
