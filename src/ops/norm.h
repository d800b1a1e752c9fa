// Norms over rows, forward and backward. The gradient of the weight is summed over fixed blocks of rows, then block by
// block: its bits do not depend on threads.
#pragma once

#include "ops/exec.h"

namespace moxie {

/// Weights of a norm of n columns; bias null: RMSNorm, else LayerNorm.
struct NormParams {
  const float* weight = nullptr;
  const float* bias = nullptr;
  float eps = 1e-6f;
};

/// y [num_rows, n] = norm of x [num_rows, n]; rows are x_stride and y_stride floats apart. In place is allowed.
void norm_forward(Exec& exec, const NormParams& norm, const float* x, int64_t x_stride, int64_t num_rows, int64_t n,
                  float* y, int64_t y_stride);

/// dx += gradient of x (what the norm was applied to), d_weight [n] +=, d_bias [n] += (null for RMSNorm).
void norm_backward(Exec& exec, const NormParams& norm, const float* x, int64_t x_stride, const float* dy,
                   int64_t dy_stride, int64_t num_rows, int64_t n, float* dx, int64_t dx_stride, float* d_weight,
                   float* d_bias);

}  // namespace moxie
