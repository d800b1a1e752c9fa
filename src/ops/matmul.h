// Training products over threads: forward, gradient of the input, gradient of the weight, one or many at once (the
// grouped products of the experts are many jobs of one call).
#pragma once

#include <span>

#include "ops/exec.h"
#include "ops/gradients.h"

namespace moxie {

/// c [m, n] = [c +] a b^T [+ bias]: operands as in MatmulArgs.
struct MatmulJob {
  MatmulOperand a, b;  // [m, k], [n, k]
  int64_t m = 0, n = 0, k = 0;
  float* c = nullptr;
  int64_t c_stride = 0;  // floats
  bool accumulate = false;
  const float* bias = nullptr;  // [n]
};

/// Runs all jobs as one parallel region; jobs must not overlap in c. Bits do not depend on threads. A job with k = 0
/// writes zeros (or the bias), or leaves c when it accumulates.
void matmul(Exec& exec, Precision precision, std::span<const MatmulJob> jobs);

/// y [num_rows, n] = x [num_rows, k] w [n, k]^T + bias, all dense.
MatmulJob linear_forward(const float* x, int64_t num_rows, int64_t k, const float* w, int64_t n, const float* bias,
                         float* y);
/// dx [num_rows, k] = [dx +] dy [num_rows, n] w [n, k].
MatmulJob linear_input_gradient(const float* dy, int64_t num_rows, int64_t n, const float* w, int64_t k, float* dx,
                                bool accumulate);
/// dw [n, k] = [dw +] dy [num_rows, n]^T x [num_rows, k], for w [n, k]: added to unless `gradients` starts anew.
MatmulJob linear_weight_gradient(const float* dy, int64_t num_rows, const float* x, const View& w,
                                 const Gradients& gradients);

/// db [n] += column sums of dy [num_rows, n], rows in order.
void add_column_sums(Exec& exec, const float* dy, int64_t num_rows, int64_t n, float* db);

}  // namespace moxie
