#include "train/optimizer.h"

#include <cmath>

namespace moxie {
namespace {

constexpr int64_t kPieceFloats = 1 << 15;  // 128 KiB of each of four streams

// Eight running sums added in order at the end: a fixed order that the compiler can keep in vectors.
double sum_of_squares(const float* x, int64_t n) {
  constexpr int64_t kLanes = 8;
  double sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += static_cast<double>(x[i + lane]) * x[i + lane];
  }
  for (; i < n; ++i) sums[i % kLanes] += static_cast<double>(x[i]) * x[i];
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace

Optimizer::Optimizer(const Parameters& parameters)
    : parameters_(parameters), first_(parameters.new_block()), second_(parameters.new_block()) {
  for (const Parameter& parameter : parameters.list()) {
    if (parameter.kind == ParameterKind::selection_bias) continue;
    const int64_t count = parameter.shape.num_elems();
    for (int64_t begin = 0; begin < count; begin += kPieceFloats) {
      pieces_.push_back({.offset = parameter.offset + begin,
                         .count = std::min(kPieceFloats, count - begin),
                         .decays = parameter.kind != ParameterKind::vector});
    }
  }
}

double Optimizer::gradient_norm(ThreadPool& pool, const float* gradients) const {
  std::vector<double> sums(pieces_.size());
  pool.run(static_cast<int64_t>(pieces_.size()), [&](int64_t item, int) {
    const Piece& piece = pieces_[static_cast<size_t>(item)];
    sums[static_cast<size_t>(item)] = sum_of_squares(gradients + piece.offset, piece.count);
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

void Optimizer::step(const KernelSet& kernels, ThreadPool& pool, const AdamwStep& step, const float* gradients) {
  const double update = static_cast<double>(step.update);
  const AdamwArgs shared{.lr = static_cast<float>(step.lr),
                         .beta1 = static_cast<float>(step.beta1),
                         .beta2 = static_cast<float>(step.beta2),
                         .eps = static_cast<float>(step.eps),
                         .grad_scale = static_cast<float>(step.grad_scale),
                         .bias1 = static_cast<float>(1 - std::pow(step.beta1, update)),
                         .bias2 = static_cast<float>(1 - std::pow(step.beta2, update))};
  pool.run(static_cast<int64_t>(pieces_.size()), [&](int64_t item, int) {
    const Piece& piece = pieces_[static_cast<size_t>(item)];
    AdamwArgs args = shared;
    args.weight = parameters_.values() + piece.offset;
    args.grad = gradients + piece.offset;
    args.m = first_.get() + piece.offset;
    args.v = second_.get() + piece.offset;
    args.n = piece.count;
    args.weight_decay = piece.decays ? static_cast<float>(step.weight_decay) : 0.0f;
    kernels.adamw(args);
  });
}

double clip_scale(double norm, double clip) {
  return clip > 0 && norm > clip ? clip / norm : 1;
}

}  // namespace moxie
