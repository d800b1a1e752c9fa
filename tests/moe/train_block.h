// A feed-forward block whose weights lie in one f32 block, as in training, and the same block in plain double loops.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "moe/expert_units.h"
#include "moe/losses.h"
#include "moe/train_layer.h"
#include "ops/stage.h"

namespace moxie::test {

inline constexpr int64_t kHidden = 10, kWidth = 7, kSharedWidth = 6, kLayer = 3;

struct Slot {
  std::string name;
  int64_t offset, size;
};

/// Random weights of a block, and views of them.
class TrainBlock {
 public:
  explicit TrainBlock(const MoeSpec& of, bool router_noise = false, uint64_t seed = 1) : spec(of), random_(seed) {
    values.reserve(1 << 20);  // views keep their addresses
    const float scale = 0.5f;
    if (spec.routed) weights.router = matrix("router", spec.num_experts, kHidden, 0.6f);
    if (spec.router_bias) weights.router_bias = vector("router_bias", spec.num_experts, 0.3f);
    if (spec.select_bias) {
      selection_bias = normals(spec.num_experts, 77);
      for (float& b : selection_bias) b *= 0.1f;
      weights.expert_bias = selection_bias.data();
    }
    for (int64_t e = 0; e < spec.num_experts; ++e) {
      weights.bank.experts.push_back(expert("experts." + std::to_string(e) + ".", kWidth, scale));
    }
    if (spec.activation == Activation::clamped_swiglu)
      weights.bank.activation = {GluKind::clamped_swiglu, 1.702f, 1.0f};
    if (spec.activation == Activation::geglu) weights.bank.activation.kind = GluKind::geglu;
    if (spec.shared != SharedExpert::none) weights.shared = expert("shared.", kSharedWidth, scale);
    if (spec.shared == SharedExpert::sigmoid_gated) weights.shared_gate = matrix("shared_gate", 1, kHidden, scale);
    if (router_noise) weights.router_noise = matrix("router_noise", spec.num_experts, kHidden, scale);
    gradients.assign(values.size(), 0);
  }
  TrainBlock(const TrainBlock&) = delete;
  TrainBlock& operator=(const TrainBlock&) = delete;

  Gradients places() { return {values.data(), gradients.data()}; }
  int64_t offset(const float* weight) const { return weight - values.data(); }

  MoeSpec spec;
  std::vector<float> values, gradients, selection_bias;
  std::vector<Slot> slots;
  MoeWeights weights;

 private:
  float* vector(const std::string& name, int64_t size, float scale) {
    const auto offset = static_cast<int64_t>(values.size());
    slots.push_back({name, offset, size});
    for (int64_t i = 0; i < size; ++i) values.push_back(random_.normal() * scale);
    EXPECT_LE(values.size(), size_t{1} << 20);
    return values.data() + offset;
  }
  View matrix(const std::string& name, int64_t rows, int64_t columns, float scale) {
    return dense_view(vector(name, rows * columns, scale), FormatId::f32, {rows, columns});
  }
  Expert expert(const std::string& name, int64_t width, float scale) {
    Expert result{.gate = matrix(name + "gate", width, kHidden, scale),
                  .up = matrix(name + "up", width, kHidden, scale),
                  .down = matrix(name + "down", kHidden, width, scale)};
    if (spec.expert_bias) {
      result.gate_bias = vector(name + "gate_bias", width, scale);
      result.up_bias = vector(name + "up_bias", width, scale);
      result.down_bias = vector(name + "down_bias", kHidden, scale);
    }
    return result;
  }

  Random random_;
};

/// The block in double: y [T, H], as a function of weights and x, for choices that were made before.
class DoubleBlock {
 public:
  DoubleBlock(const TrainBlock& block, const TrainContext& context, const MoeSaved& saved)
      : block_(block), spec_(block.spec), context_(context), saved_(saved), rng_(context.rng.at(kLayer)) {}

  /// <along, y> + <pull, logits>: the loss whose gradient moe_backward is asked for.
  double loss(const std::vector<double>& values, const std::vector<double>& x, const std::vector<float>& along,
              const std::vector<float>& pull) const {
    double sum = 0;
    for (int64_t t = 0; t < context_.num_tokens; ++t) {
      std::vector<double> logits;
      const std::vector<double> y = token(values, x.data() + t * kHidden, t, logits);
      for (size_t i = 0; i < y.size(); ++i) sum += y[i] * along[static_cast<size_t>(t * kHidden) + i];
      for (size_t e = 0; e < logits.size() && !pull.empty(); ++e) {
        sum += logits[e] * pull[static_cast<size_t>(t * spec_.num_experts) + e];
      }
    }
    return sum;
  }

  std::vector<double> token(const std::vector<double>& values, const double* x, int64_t t,
                            std::vector<double>& logits) const {
    std::vector<double> y(kHidden, 0);
    if (spec_.is_dense()) {
      add_expert(values, block_.weights.bank.experts[0], x, 1, y);
      return y;
    }
    logits = router_logits(values, x, t);
    const int64_t k = saved_.routing.top_k;
    const std::vector<double> weights = routing_weights(logits, saved_.chosen.topk_ids + t * k, k);
    for (int64_t j = 0; j < k; ++j) {
      const int32_t id = saved_.routing.topk_ids[t * k + j];
      if (id >= 0) {
        add_expert(values, block_.weights.bank.experts[static_cast<size_t>(id)], x, weights[static_cast<size_t>(j)], y);
      }
    }
    if (spec_.shared != SharedExpert::none) {
      double weight = 1;
      if (spec_.shared == SharedExpert::sigmoid_gated) {
        weight = 1 / (1 + std::exp(-dot(values, block_.weights.shared_gate.f32(), x)));
      }
      add_expert(values, block_.weights.shared, x, weight, y);
    }
    return y;
  }

  std::vector<double> routing_weights(const std::vector<double>& logits, const int32_t* ids, int64_t k) const {
    const RouterChoice choice = context_.router.choice;
    if (choice == RouterChoice::hash) return std::vector<double>(static_cast<size_t>(k), 1 / static_cast<double>(k));
    std::vector<double> w(static_cast<size_t>(k), 0);
    double sum = 0;
    for (int64_t j = 0; j < k; ++j) {
      if (ids[j] < 0) continue;
      w[static_cast<size_t>(j)] = score(logits, ids, k, j);
      sum += w[static_cast<size_t>(j)];
    }
    if (choice == RouterChoice::expert) return w;
    for (double& each : w) {
      if (spec_.norm_topk_prob) each /= sum + spec_.norm_topk_eps;
      each *= spec_.routed_scaling_factor;
    }
    return w;
  }

 private:
  double score(const std::vector<double>& logits, const int32_t* ids, int64_t k, int64_t j) const {
    const double logit = logits[static_cast<size_t>(ids[j])];
    if (context_.router.choice == RouterChoice::expert) return softmax_of(logits, all(), ids[j]);
    switch (spec_.score) {
      case Score::softmax:
        return softmax_of(logits, spec_.score_before_topk ? all() : std::vector<int32_t>(ids, ids + k), ids[j]);
      case Score::sigmoid:
        return 1 / (1 + std::exp(-logit));
      case Score::sqrt_softplus:
        return std::sqrt(std::log(1 + std::exp(logit)));
      case Score::raw:
        return logit;
      case Score::sparsemixer: {
        std::vector<int32_t> near;
        for (const int32_t e : all()) {
          const double other = logits[static_cast<size_t>(e)];
          if (std::find(ids, ids + j, e) != ids + j) continue;
          if ((logit - other) / std::max(std::abs(other), logit) <= 2 * spec_.sparsemixer_eps) near.push_back(e);
        }
        return softmax_of(logits, near, ids[j]);
      }
    }
    return NAN;
  }

  std::vector<int32_t> all() const {
    std::vector<int32_t> ids;
    for (int32_t e = 0; e < spec_.num_experts; ++e) ids.push_back(e);
    return ids;
  }
  static double softmax_of(const std::vector<double>& logits, const std::vector<int32_t>& over, int32_t id) {
    double sum = 0;
    for (const int32_t e : over) sum += std::exp(logits[static_cast<size_t>(e)]);
    return std::exp(logits[static_cast<size_t>(id)]) / sum;
  }

  double dot(const std::vector<double>& values, const float* row, const double* x, int64_t n = kHidden) const {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += values[static_cast<size_t>(block_.offset(row) + i)] * x[i];
    return sum;
  }

  std::vector<double> router_logits(const std::vector<double>& values, const double* x, int64_t t) const {
    const bool noisy = context_.training && context_.router.choice != RouterChoice::hash;
    std::vector<double> in(x, x + kHidden), logits;
    if (noisy && context_.router.noise == RouterNoise::jitter) {
      for (int64_t i = 0; i < kHidden; ++i) {
        in[static_cast<size_t>(i)] *= static_cast<double>(jitter_factor(rng_, context_.router.jitter, t * kHidden + i));
      }
    }
    for (int64_t e = 0; e < spec_.num_experts; ++e) {
      double logit = dot(values, block_.weights.router.f32() + e * kHidden, in.data());
      if (spec_.router_bias) logit += values[static_cast<size_t>(block_.offset(block_.weights.router_bias) + e)];
      if (noisy && context_.router.noise == RouterNoise::gaussian) {
        const double scale = dot(values, block_.weights.router_noise.f32() + e * kHidden, in.data());
        logit += static_cast<double>(rng_.normal(static_cast<uint64_t>(t * spec_.num_experts + e))) *
                 std::log(1 + std::exp(scale));
      }
      logits.push_back(logit);
    }
    return logits;
  }

  void add_expert(const std::vector<double>& values, const Expert& expert, const double* x, double weight,
                  std::vector<double>& y) const {
    const int64_t width = expert.gate.shape[0];
    const auto bias = [&](const float* b, int64_t i) {
      return b == nullptr ? 0 : values[static_cast<size_t>(block_.offset(b) + i)];
    };
    std::vector<double> hidden;
    for (int64_t f = 0; f < width; ++f) {
      hidden.push_back(activate(dot(values, expert.gate.f32() + f * kHidden, x) + bias(expert.gate_bias, f),
                                dot(values, expert.up.f32() + f * kHidden, x) + bias(expert.up_bias, f)));
    }
    for (int64_t i = 0; i < kHidden; ++i) {
      y[static_cast<size_t>(i)] +=
          weight * (dot(values, expert.down.f32() + i * width, hidden.data(), width) + bias(expert.down_bias, i));
    }
  }

  double activate(double gate, double up) const {
    const GluArgs& args = block_.weights.bank.activation;
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

  const TrainBlock& block_;
  const MoeSpec& spec_;
  const TrainContext& context_;
  const MoeSaved& saved_;
  Rng rng_;
};

}  // namespace moxie::test
