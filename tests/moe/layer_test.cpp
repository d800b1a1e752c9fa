// The whole layer: routed experts and shared ones, weighed and summed, against plain loops in double.
#include "moe/layer.h"

#include <gtest/gtest.h>

#include "moe/bank.h"

namespace moxie {
namespace {

using test::KnownExpert;
using test::Matrix;
using test::Stage;

constexpr int64_t kHidden = 48, kWidth = 40, kSharedWidth = 56;

struct Layer {
  explicit Layer(const MoeSpec& of, bool biases = false, FormatId format = FormatId::f32)
      : spec(of),
        router(FormatId::f32, of.num_experts, kHidden, 1),
        router_bias(test::normals(of.num_experts, 2)),
        shared({format, format}, kSharedWidth, kHidden, false, 4),
        shared_gate(format, 1, kHidden, 8) {
    for (int64_t e = 0; e < spec.num_experts; ++e) {
      experts.emplace_back(test::ExpertFormats{format, format}, kWidth, kHidden, biases,
                           static_cast<uint64_t>(20 + 6 * e));
      weights.bank.experts.push_back(experts.back().expert());
    }
    if (spec.activation == Activation::clamped_swiglu) weights.bank.activation.kind = GluKind::clamped_swiglu;
    if (spec.routed) weights.router = router.view();
    if (spec.router_bias) weights.router_bias = router_bias.data();
    if (spec.shared != SharedExpert::none) weights.shared = shared.expert();
    if (spec.shared == SharedExpert::sigmoid_gated) weights.shared_gate = shared_gate.view();
  }

  // y of one token, given whom the router chose.
  std::vector<double> of(const float* x, const Routing& routing, int64_t t) const {
    std::vector<double> y(kHidden, 0);
    const auto add = [&](const KnownExpert& expert, double weight) {
      const std::vector<double> row = expert.of(x, weights.bank.activation);
      for (size_t i = 0; i < y.size(); ++i) y[i] += weight * row[i];
    };
    for (int64_t k = 0; k < spec.top_k; ++k) {
      const int64_t i = t * spec.top_k + k;
      add(experts[static_cast<size_t>(routing.topk_ids[i])], static_cast<double>(routing.topk_weights[i]));
    }
    if (spec.shared == SharedExpert::plain) add(shared, 1);
    if (spec.shared == SharedExpert::sigmoid_gated) add(shared, 1 / (1 + std::exp(-logit(shared_gate, 0, x))));
    return y;
  }

  static double logit(const Matrix& w, int64_t row, const float* x) {
    double sum = 0;
    for (int64_t j = 0; j < kHidden; ++j) sum += w.at(row, j) * static_cast<double>(x[j]);
    return sum;
  }

  MoeSpec spec;
  Matrix router;
  std::vector<float> router_bias;
  KnownExpert shared;
  Matrix shared_gate;
  std::deque<KnownExpert> experts;
  MoeWeights weights;
};

void expect_right(const Layer& layer, const KernelSet& set, int64_t num_tokens, int threads = 2) {
  const std::vector<float> x = test::normals(num_tokens * kHidden, 5);
  std::vector<float> y(x.size(), NAN);
  Stage stage(set, threads);
  const MoeStep step = moe_layer(stage.exec, layer.spec, layer.weights, x.data(), num_tokens, y.data());
  const double allowed = test::block_tolerance(layer.experts[0].is_exact_in(set));
  for (int64_t t = 0; t < num_tokens; ++t) {
    const float* row = x.data() + t * kHidden;
    for (int64_t e = 0; e < layer.spec.num_experts; ++e) {
      const double bias = layer.spec.router_bias ? static_cast<double>(layer.router_bias[static_cast<size_t>(e)]) : 0;
      ASSERT_NEAR(static_cast<double>(step.router_logits[t * layer.spec.num_experts + e]),
                  Layer::logit(layer.router, e, row) + bias, 2e-5);
    }
    const std::vector<double> expected = layer.of(row, step.routing, t);
    for (int64_t i = 0; i < kHidden; ++i) {
      const auto got = static_cast<double>(y[static_cast<size_t>(t * kHidden + i)]);
      const double right = expected[static_cast<size_t>(i)];
      ASSERT_NEAR(got, right, allowed * std::max(1.0, std::abs(right))) << set.name << ", token " << t;
    }
  }
}

MoeSpec eight_experts() {
  return {.routed = true, .num_experts = 8, .top_k = 3, .moe_intermediate_size = kWidth, .norm_topk_prob = true};
}

TEST(MoeLayer, sums_weighted_experts_as_a_plain_loop_does) {
  for (const KernelSet* set : test::sets_here()) {
    for (const int64_t tokens : {1, 2, 7, 8, 70}) expect_right(Layer(eight_experts()), *set, tokens);
  }
}

TEST(MoeLayer, adds_shared_experts_plain_and_gated) {
  for (const KernelSet* set : test::sets_here()) {
    for (const SharedExpert shared : {SharedExpert::plain, SharedExpert::sigmoid_gated}) {
      MoeSpec spec = eight_experts();
      spec.shared = shared;
      spec.shared_intermediate_size = kSharedWidth;
      for (const int64_t tokens : {1, 20}) expect_right(Layer(spec), *set, tokens);
    }
  }
}

TEST(MoeLayer, applies_biases_of_router_and_experts_and_the_clamped_activation) {
  for (const KernelSet* set : test::sets_here()) {
    MoeSpec spec = eight_experts();
    spec.router_bias = spec.expert_bias = true;
    spec.score_before_topk = false;
    spec.norm_topk_prob = false;
    spec.activation = Activation::clamped_swiglu;
    expect_right(Layer(spec, true), *set, 20);
  }
}

TEST(MoeLayer, runs_in_half_precision_formats) {
  for (const KernelSet* set : test::sets_here()) {
    for (const FormatId format : {FormatId::bf16, FormatId::f16})
      expect_right(Layer(eight_experts(), false, format), *set, 20);
  }
}

// A router whose bias sends every token to expert 5 first: 600 rows of one expert, most others dead.
TEST(MoeLayer, survives_a_collapsed_router) {
  for (const KernelSet* set : test::sets_here()) {
    MoeSpec spec = eight_experts();
    spec.top_k = 1;
    spec.router_bias = true;
    Layer layer(spec);
    layer.router_bias.assign(8, 0);
    layer.router_bias[5] = 1000;
    const std::vector<float> x = test::normals(600 * kHidden, 5);
    std::vector<float> y(x.size());
    Stage stage(*set);
    const MoeStep step = moe_layer(stage.exec, spec, layer.weights, x.data(), 600, y.data());
    for (int64_t t = 0; t < 600; ++t) ASSERT_EQ(step.routing.topk_ids[t], 5);
    for (const int64_t t : {0, 255, 256, 599}) {
      const std::vector<double> expected = layer.experts[5].of(x.data() + t * kHidden, {});
      for (int64_t i = 0; i < kHidden; ++i) {
        EXPECT_NEAR(static_cast<double>(y[static_cast<size_t>(t * kHidden + i)]), expected[static_cast<size_t>(i)],
                    1e-4);
      }
    }
  }
}

// The oracle of the design: a bank of one expert with weight 1 is the dense network, bit for bit.
TEST(MoeLayer, of_one_expert_is_the_dense_block) {
  for (const KernelSet* set : test::sets_here()) {
    for (const FormatId format : {FormatId::f32, FormatId::bf16, FormatId::f16}) {
      const MoeSpec dense{.moe_intermediate_size = kWidth};
      MoeSpec routed = dense;
      routed.routed = true;
      const Layer a(dense, true, format), b(routed, true, format);
      for (const int64_t tokens : {1, 5, 300}) {
        const std::vector<float> x = test::normals(tokens * kHidden, 5);
        std::vector<float> from_dense(x.size()), from_routed(x.size());
        Stage stage(*set);
        const MoeStep none = moe_layer(stage.exec, dense, a.weights, x.data(), tokens, from_dense.data());
        const MoeStep step = moe_layer(stage.exec, routed, b.weights, x.data(), tokens, from_routed.data());
        EXPECT_EQ(none.router_logits, nullptr);
        EXPECT_EQ(step.routing.topk_weights[tokens - 1], 1);
        EXPECT_EQ(from_dense, from_routed) << set->name << " " << tokens;
      }
    }
  }
}

TEST(MoeLayer, gives_a_token_the_same_bits_in_any_company_on_any_number_of_threads) {
  constexpr int64_t kTokens = 120;
  MoeSpec spec = eight_experts();
  spec.shared = SharedExpert::sigmoid_gated;
  const std::vector<float> x = test::normals(kTokens * kHidden, 5);
  for (const KernelSet* set : test::sets_here()) {
    for (const FormatId format : {FormatId::f32, FormatId::bf16, FormatId::f16}) {
      const Layer layer(spec, true, format);
      std::vector<float> expected(x.size()), y(x.size());
      Stage one(*set, 1);
      moe_layer(one.exec, spec, layer.weights, x.data(), kTokens, expected.data());
      for (const int threads : {2, 3}) {
        Stage many(*set, threads);
        moe_layer(many.exec, spec, layer.weights, x.data(), kTokens, y.data());
        EXPECT_EQ(0, std::memcmp(y.data(), expected.data(), y.size() * sizeof(float))) << set->name << threads;
      }
      for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 1}, {1, 8}, {8, 73}, {73, kTokens}}) {
        moe_layer(one.exec, spec, layer.weights, x.data() + begin * kHidden, end - begin, y.data() + begin * kHidden);
      }
      EXPECT_EQ(0, std::memcmp(y.data(), expected.data(), y.size() * sizeof(float))) << set->name << " in pieces";
    }
  }
}

}  // namespace
}  // namespace moxie
