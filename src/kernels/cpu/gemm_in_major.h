// y = x w for w [K, N] stored with the output dimension innermost: lanes own outputs, k ascends, one FMA a term.
#pragma once

#include <cstdint>

#include "kernels/cpu/dot.h"
#include "kernels/kernels.h"

namespace moxie::cpu {
namespace {

struct InMajorArgs {
  const float* x;
  int64_t x_stride;
  const WeightRef& w;
  int64_t k;
  float* y;
  int64_t y_stride;
};

/// kRows rows x kVectors vectors of outputs from column j on; the last vector has last_lanes of them.
template <class Dot, int kRows, int kVectors>
void in_major_tile(const InMajorArgs& args, int64_t m, int64_t j, int64_t last_lanes) {
  using Isa = typename Dot::Isa;
  using F = typename Isa::F;
  const bool whole = last_lanes == Isa::kLanes;
  F sum[kRows * kVectors];
#pragma GCC unroll 32
  for (int i = 0; i < kRows * kVectors; ++i) sum[i] = Isa::zero();
  for (int64_t k = 0; k < args.k; ++k) {
    const WeightRow row{static_cast<const char*>(args.w.data) + k * args.w.row_bytes, nullptr};
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      const int64_t column = j + i * Isa::kLanes;
      const F w = i + 1 < kVectors || whole ? Dot::load_w(row, column) : Dot::load_w_part(row, column, last_lanes);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        F& s = sum[r * kVectors + i];
        s = Isa::fma(Isa::set1(args.x[(m + r) * args.x_stride + k]), w, s);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    float* y = args.y + (m + r) * args.y_stride + j;
#pragma GCC unroll 8
    for (int i = 0; i + 1 < kVectors; ++i) Isa::store(y + i * Isa::kLanes, sum[r * kVectors + i]);
    float* last = y + (kVectors - 1) * Isa::kLanes;
    if (whole) {
      Isa::store(last, sum[r * kVectors + kVectors - 1]);
    } else {
      Isa::store_part(last, sum[r * kVectors + kVectors - 1], last_lanes);
    }
  }
}

template <class Dot, int kRows>
void in_major_rows(const InMajorArgs& args, int64_t m, int64_t n) {
  constexpr int kVectors = Dot::Isa::kTileRows - 1;
  constexpr int64_t kLanes = Dot::Isa::kLanes;
  int64_t j = 0;
  for (; j + kVectors * kLanes <= n; j += kVectors * kLanes) in_major_tile<Dot, kRows, kVectors>(args, m, j, kLanes);
  for (; j < n; j += kLanes) in_major_tile<Dot, kRows, 1>(args, m, j, n - j < kLanes ? n - j : kLanes);
}

template <class Dot>
void in_major_all(const InMajorArgs& args, int64_t num_rows, int64_t n) {
  constexpr int kRows = 4;
  int64_t m = 0;
  for (; m + kRows <= num_rows; m += kRows) in_major_rows<Dot, kRows>(args, m, n);
  for (; m < num_rows; ++m) in_major_rows<Dot, 1>(args, m, n);
}

template <class Isa>
void gemm_in_major(const float* x, int64_t x_stride, int64_t num_rows, const WeightRef& w, int64_t k, int64_t n,
                   float* y, int64_t y_stride) noexcept {
  const InMajorArgs args{x, x_stride, w, k, y, y_stride};
  switch (w.format) {
    case FormatId::f32:
      return in_major_all<F32Dot<Isa, FormatId::f32>>(args, num_rows, n);
    case FormatId::bf16:
      return in_major_all<F32Dot<Isa, FormatId::bf16>>(args, num_rows, n);
    case FormatId::f16:
      return in_major_all<F32Dot<Isa, FormatId::f16>>(args, num_rows, n);
    default:
      return;  // not computable: ops refuses it before
  }
}

}  // namespace
}  // namespace moxie::cpu
