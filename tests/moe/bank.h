// Experts whose weights are known in double, and what they compute by a plain loop.
#pragma once

#include <deque>

#include "moe/layer.h"
#include "ops/stage.h"

namespace moxie::test {

struct ExpertFormats {
  FormatId gate_up = FormatId::f32, down = FormatId::f32;
};

/// One expert of the given formats: weights, biases where asked, and its output in double.
class KnownExpert {
 public:
  KnownExpert(ExpertFormats formats, int64_t f, int64_t h, bool biases, uint64_t seed)
      : gate_(formats.gate_up, f, h, seed), up_(formats.gate_up, f, h, seed + 1), down_(formats.down, h, f, seed + 2) {
    if (!biases) return;
    gate_bias_ = normals(f, seed + 3), up_bias_ = normals(f, seed + 4), down_bias_ = normals(h, seed + 5);
  }

  Expert expert() const {
    return {gate_.view(),
            up_.view(),
            down_.view(),
            gate_bias_.empty() ? nullptr : gate_bias_.data(),
            up_bias_.empty() ? nullptr : up_bias_.data(),
            down_bias_.empty() ? nullptr : down_bias_.data()};
  }

  /// y [H] of one row x [H].
  std::vector<double> of(const float* x, const GluArgs& args) const {
    const int64_t f = gate_.view().shape[0], h = gate_.view().shape[1];
    std::vector<double> hidden, y;
    for (int64_t i = 0; i < f; ++i) {
      double gate = bias(gate_bias_, i), up = bias(up_bias_, i);
      for (int64_t j = 0; j < h; ++j) {
        gate += gate_.at(i, j) * static_cast<double>(x[j]);
        up += up_.at(i, j) * static_cast<double>(x[j]);
      }
      hidden.push_back(activate(args, gate, up));
    }
    for (int64_t i = 0; i < h; ++i) {
      double sum = bias(down_bias_, i);
      for (int64_t j = 0; j < f; ++j) sum += down_.at(i, j) * hidden[static_cast<size_t>(j)];
      y.push_back(sum);
    }
    return y;
  }

  bool is_exact_in(const KernelSet& set) const {
    return is_exact(set, gate_.view().format) && is_exact(set, down_.view().format);
  }

 private:
  static double bias(const std::vector<float>& bias, int64_t i) {
    return bias.empty() ? 0 : static_cast<double>(bias[static_cast<size_t>(i)]);
  }

  static double activate(const GluArgs& args, double gate, double up) {
    const double alpha = static_cast<double>(args.alpha), limit = static_cast<double>(args.limit);
    switch (args.kind) {
      case GluKind::swiglu:
        return gate / (1 + std::exp(-gate)) * up;
      case GluKind::clamped_swiglu:
        gate = std::min(gate, limit);
        return gate / (1 + std::exp(-alpha * gate)) * (std::clamp(up, -limit, limit) + 1);
      case GluKind::geglu:
        return 0.5 * gate * (1 + std::tanh(std::sqrt(2 / M_PI) * (gate + 0.044715 * gate * gate * gate))) * up;
    }
    return NAN;
  }

  Matrix gate_, up_, down_;
  std::vector<float> gate_bias_, up_bias_, down_bias_;
};

/// What the outputs of a block of weights about 1/sqrt(n) may be off by: f32 sums, or activations rounded to bf16.
inline double block_tolerance(bool exact) {
  return exact ? 2e-5 : 0.05;
}

}  // namespace moxie::test
