// Sums of rows over steps, lanes side by side: sums(r, lane) = sum over steps of a(r, step) * b(step, lane), where b
// decodes what it reads. Steps are summed in order, one accumulator a lane, whatever rows stand beside.
#pragma once

#include <cstdint>

#include "kernels/cpu/matmul.h"

namespace moxie::cpu {
namespace {

/// Rows of an operand, or of sums.
template <class T>
struct RowsOf {
  T* data;
  int64_t stride;
  RowsOf from(int64_t row) const { return {data + row * stride, stride}; }
};

/// sums(r, lane) = [sums(r, lane)] + sum over steps of a(r, step) * b(step, lane), for kRows rows x kVectors vectors.
template <class Product, int kRows, int kVectors, class Steps>
void sum_tile(const RowsOf<const float>& a, const Steps& b, int64_t begin, int64_t end, int64_t lane,
              const RowsOf<float>& sums, bool add) {
  using Isa = typename Product::Isa;
  using F = typename Isa::F;
  F sum[kRows * kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      sum[r * kVectors + i] = add ? Isa::load(sums.data + r * sums.stride + lane + i * Isa::kLanes) : Isa::zero();
    }
  }
  for (int64_t s = begin; s < end; ++s) {
    F step[kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) step[i] = b.load(s, lane + i * Isa::kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const float each = a.data[r * a.stride + s];
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) {
        sum[r * kVectors + i] = Product::dot(sum[r * kVectors + i], each, step[i]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      Isa::store(sums.data + r * sums.stride + lane + i * Isa::kLanes, sum[r * kVectors + i]);
    }
  }
}

/// All whole vectors that cover lanes [lane, lane_end).
template <class Product, int kRows, int kVectors, class Steps>
void sum_lanes_of(const RowsOf<const float>& a, const Steps& b, int64_t begin, int64_t end, int64_t lane,
                  int64_t lane_end, const RowsOf<float>& sums, bool add) {
  constexpr int64_t kLanes = Product::Isa::kLanes;
  for (; lane + (kVectors - 1) * kLanes < lane_end; lane += kVectors * kLanes) {
    sum_tile<Product, kRows, kVectors>(a, b, begin, end, lane, sums, add);
  }
  for (; lane < lane_end; lane += kLanes) sum_tile<Product, kRows, 1>(a, b, begin, end, lane, sums, add);
}

template <class Isa>
constexpr int kFewRows = Isa::kOuterRows * 2 / 3;  // so many rows fit one tile: each vector of steps is decoded once

/// sum_tile for 1 to kFewRows rows.
template <class Product, int kRows = kFewRows<typename Product::Isa>, class Steps>
void sum_few_rows(const RowsOf<const float>& a, const Steps& b, int64_t begin, int64_t end, int64_t lane,
                  int64_t lane_end, const RowsOf<float>& sums, int64_t num_rows, bool add) {
  if constexpr (kRows > 1) {
    if (num_rows < kRows) {
      return sum_few_rows<Product, kRows - 1>(a, b, begin, end, lane, lane_end, sums, num_rows, add);
    }
  }
  constexpr int kVectors = kRows * 3 <= Product::Isa::kOuterRows ? 4 : 2;
  sum_lanes_of<Product, kRows, kVectors>(a, b, begin, end, lane, lane_end, sums, add);
}

/// sum_tile for any number of rows.
template <class Product, class Steps>
void sum_rows(RowsOf<const float> a, const Steps& b, int64_t begin, int64_t end, int64_t lane, int64_t lane_end,
              RowsOf<float> sums, int64_t num_rows, bool add) {
  using Isa = typename Product::Isa;
  const int64_t whole = num_rows / Isa::kOuterRows * Isa::kOuterRows;
  for (int64_t i = lane; whole > 0 && i < lane_end; i += 2 * Isa::kLanes) {  // so much of b stays in L1 for all rows
    const int64_t i_end = i + 2 * Isa::kLanes < lane_end ? i + 2 * Isa::kLanes : lane_end;
    for (int64_t r = 0; r < whole; r += Isa::kOuterRows) {
      sum_lanes_of<Product, Isa::kOuterRows, 2>(a.from(r), b, begin, end, i, i_end, sums.from(r), add);
    }
  }
  int64_t r = whole;
  while (r < num_rows) {
    const int64_t some = num_rows - r < kFewRows<Isa> ? num_rows - r : kFewRows<Isa>;
    sum_few_rows<Product>(a.from(r), b, begin, end, lane, lane_end, sums.from(r), some, add);
    r += some;
  }
}

}  // namespace
}  // namespace moxie::cpu
