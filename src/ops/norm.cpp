#include "ops/norm.h"

#include <algorithm>

#include "ops/matmul.h"

namespace moxie {
namespace {

constexpr int64_t kBlockRows = 64;  // of one work item, and of one partial sum of the weight's gradient

int64_t num_blocks(int64_t num_rows) {
  return (num_rows + kBlockRows - 1) / kBlockRows;
}

}  // namespace

void norm_forward(Exec& exec, const NormParams& norm, const float* x, int64_t x_stride, int64_t num_rows, int64_t n,
                  float* y, int64_t y_stride) {
  const KernelSet& kernels = exec.kernels;
  exec.pool.run(num_blocks(num_rows), [&](int64_t block, int) {
    const int64_t end = std::min((block + 1) * kBlockRows, num_rows);
    for (int64_t row = block * kBlockRows; row < end; ++row) {
      if (norm.bias == nullptr) {
        kernels.rms_norm(x + row * x_stride, norm.weight, norm.eps, n, y + row * y_stride);
      } else {
        kernels.layer_norm(x + row * x_stride, norm.weight, norm.bias, norm.eps, n, y + row * y_stride);
      }
    }
  });
}

void norm_backward(Exec& exec, const NormParams& norm, const float* x, int64_t x_stride, const float* dy,
                   int64_t dy_stride, int64_t num_rows, int64_t n, float* dx, int64_t dx_stride, float* d_weight,
                   float* d_bias) {
  const KernelSet& kernels = exec.kernels;
  const bool has_bias = norm.bias != nullptr;
  const int64_t blocks = num_blocks(num_rows);
  Arena::Scope scope(exec.arena);
  float* weight_parts = exec.arena.alloc<float>(blocks * n);
  float* bias_parts = has_bias ? exec.arena.alloc<float>(blocks * n) : nullptr;
  exec.pool.run(blocks, [&](int64_t block, int) {
    float* weight_part = weight_parts + block * n;
    std::fill_n(weight_part, n, 0.0f);
    if (has_bias) std::fill_n(bias_parts + block * n, n, 0.0f);
    const int64_t end = std::min((block + 1) * kBlockRows, num_rows);
    for (int64_t row = block * kBlockRows; row < end; ++row) {
      const float *row_x = x + row * x_stride, *row_dy = dy + row * dy_stride;
      float* row_dx = dx + row * dx_stride;
      if (has_bias) {
        kernels.layer_norm_backward(row_x, norm.weight, norm.eps, row_dy, n, row_dx, weight_part,
                                    bias_parts + block * n);
      } else {
        kernels.rms_norm_backward(row_x, norm.weight, norm.eps, row_dy, n, row_dx, weight_part);
      }
    }
  });
  add_column_sums(exec, weight_parts, blocks, n, d_weight);
  if (has_bias) add_column_sums(exec, bias_parts, blocks, n, d_bias);
}

}  // namespace moxie
