// AdamW over a block of parameters, and the norm of its gradients. Knows no schedule, data or files.
#pragma once

#include "model/parameters.h"
#include "ops/exec.h"

namespace moxie {

/// What one update needs to know; defaults of AdamwArgs.
struct AdamwStep {
  double lr = 0, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
  double grad_scale = 1;  // of clipping
  int64_t update = 1;     // 1 for the first: bias correction is 1 - beta^update
};

/// Moments of every parameter, in the layout of the parameters. The work is cut into fixed pieces: results have the
/// same bits whatever the threads.
class Optimizer {
 public:
  /// `parameters` must outlive it. Memory: two blocks.
  explicit Optimizer(const Parameters& parameters);

  /// Square root of the sum of squares over all parameters that gradients move, summed in double in a fixed order.
  double gradient_norm(ThreadPool& pool, const float* gradients) const;

  /// One update of every parameter but selection biases; ParameterKind::vector does not decay (arXiv 1711.05101).
  void step(const KernelSet& kernels, ThreadPool& pool, const AdamwStep& step, const float* gradients);

  float* first_moment() const { return first_.get(); }
  float* second_moment() const { return second_.get(); }

 private:
  struct Piece {
    int64_t offset = 0, count = 0;
    bool decays = true;
  };

  const Parameters& parameters_;
  std::vector<Piece> pieces_;
  std::shared_ptr<float> first_, second_;
};

/// What clipping to `clip` multiplies gradients of that norm with: min(1, clip / norm); clip 0: 1.
double clip_scale(double norm, double clip);

}  // namespace moxie
