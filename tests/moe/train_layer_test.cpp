// Gradients of a block against finite differences of the block in double, for every router of the record; and the laws
// that hold without an oracle: one expert is the dense network, threads change no bit.
#include "moe/train_layer.h"

#include "moe/train_block.h"

namespace moxie {
namespace {

using test::kHidden;
using test::kLayer;
using test::Stage;
using test::TrainBlock;

constexpr int64_t kTokens = 23;

struct Outcome {
  std::vector<float> y, dx, gradients;
  int64_t dropped = 0, rerouted = 0;
};

std::vector<int32_t> some_token_ids() {
  std::vector<int32_t> ids;
  for (int32_t t = 0; t < kTokens; ++t) ids.push_back(t * 37 % 101);
  return ids;
}

// Forward and backward once; `check` sees the saved state between the two.
template <typename Check>
Outcome run(TrainBlock& block, const KernelSet& set, int threads, const RouterTraining& router,
            const std::vector<float>& pull, Check check, Precision precision = Precision::f32) {
  Stage stage(set, threads);
  const std::vector<int32_t> token_ids = some_token_ids();
  TrainContext context{.exec = stage.exec, .router = router, .num_tokens = kTokens, .sequence_length = kTokens};
  context.precision = precision;
  context.token_ids = token_ids.data();
  context.rng = Rng(5, 6);
  const std::vector<float> x = test::normals(kTokens * kHidden, 5), along = test::normals(kTokens * kHidden, 6);
  Outcome result;
  result.y.assign(x.size(), NAN);
  result.dx.assign(x.size(), 0);
  std::fill(block.gradients.begin(), block.gradients.end(), 0.0f);
  const MoeSaved saved = moe_forward(context, block.spec, block.weights, kLayer, x.data(), result.y.data());
  result.dropped = saved.dropped;
  result.rerouted = saved.rerouted;
  check(context, saved, x, along, result.y);
  std::vector<float> d_logits = pull;
  moe_backward(context, block.spec, block.weights, kLayer, saved, x.data(), along.data(),
               block.spec.routed ? d_logits.data() : nullptr, block.places(), result.dx.data());
  result.gradients = block.gradients;
  return result;
}

double largest(std::span<const double> values) {
  double result = 0;
  for (const double v : values) result = std::max(result, std::abs(v));
  return result;
}

// Central differences of the loss in double along each of `at`, in [begin, begin + size).
template <typename Loss>
std::vector<double> differences(std::vector<double>& at, int64_t begin, int64_t size, Loss loss) {
  constexpr double kStep = 1e-5;
  std::vector<double> result;
  for (int64_t i = begin; i < begin + size; ++i) {
    double& value = at[static_cast<size_t>(i)];
    const double kept = value;
    value = kept + kStep;
    const double above = loss();
    value = kept - kStep;
    const double below = loss();
    value = kept;
    result.push_back((above - below) / (2 * kStep));
  }
  return result;
}

void expect_near(std::span<const double> expected, const float* got, const std::string& name) {
  const double allowed = 2e-5 * std::max(1.0, largest(expected));
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(got[i]), expected[i], allowed) << name << " " << i;
  }
}

// y and every gradient of a block on one kernel set. `without` names a weight whose gradient must be exactly zero.
Outcome expect_right(TrainBlock& block, const RouterTraining& router = {}, bool with_pull = true,
                     const KernelSet& set = test::ref(), const std::string& without = "") {
  const auto num_logits = static_cast<size_t>(block.spec.routed ? kTokens * block.spec.num_experts : 0);
  std::vector<float> pull(num_logits, 0);
  if (with_pull && router.choice != RouterChoice::hash) pull = test::normals(static_cast<int64_t>(num_logits), 9);
  std::vector<std::vector<double>> expected;
  const auto oracle = [&](const TrainContext& context, const MoeSaved& saved, const std::vector<float>& x,
                          const std::vector<float>& along, const std::vector<float>& y) {
    const test::DoubleBlock plain(block, context, saved);
    std::vector<double> values(block.values.begin(), block.values.end()), in(x.begin(), x.end());
    for (int64_t t = 0; t < kTokens; ++t) {
      std::vector<double> logits;
      expect_near(plain.token(values, in.data() + t * kHidden, t, logits), y.data() + t * kHidden, "y");
    }
    const auto loss = [&] { return plain.loss(values, in, along, pull); };
    for (const test::Slot& slot : block.slots) expected.push_back(differences(values, slot.offset, slot.size, loss));
    expected.push_back(differences(in, 0, kTokens * kHidden, loss));
  };
  const Outcome result = run(block, set, 2, router, pull, oracle);
  for (size_t i = 0; i < block.slots.size(); ++i) {
    const test::Slot& slot = block.slots[i];
    const float* got = result.gradients.data() + slot.offset;
    if (slot.name == without) {
      EXPECT_EQ(std::vector<float>(got, got + slot.size), std::vector<float>(static_cast<size_t>(slot.size), 0));
    } else {
      EXPECT_GT(largest(expected[i]), 1e-4) << slot.name << " has no gradient to check";
      expect_near(expected[i], got, slot.name);
    }
  }
  expect_near(expected.back(), result.dx.data(), "x");
  return result;
}

MoeSpec six_experts() {
  return {.routed = true, .num_experts = 6, .top_k = 2, .moe_intermediate_size = test::kWidth};
}

TEST(MoeTraining, gradients_are_right_for_softmax_over_all_with_and_without_renormalisation) {
  for (const KernelSet* set : test::sets_here()) {
    for (const bool renormalise : {true, false}) {  // Mixtral, OLMoE
      MoeSpec spec = six_experts();
      spec.norm_topk_prob = renormalise;
      TrainBlock block(spec);
      expect_right(block, {}, true, *set);
    }
  }
}

TEST(MoeTraining, gradients_are_right_for_the_best_logits_with_biases_and_clamps) {
  MoeSpec spec = six_experts();  // gpt-oss
  spec.score_before_topk = false;
  spec.router_bias = spec.expert_bias = true;
  spec.activation = Activation::clamped_swiglu;
  TrainBlock block(spec);
  for (const KernelSet* set : test::sets_here()) expect_right(block, {}, true, *set);
}

TEST(MoeTraining, gradients_are_right_for_sigmoid_scores_with_bias_groups_renormalisation_and_scale) {
  MoeSpec spec = six_experts();  // DeepSeek-V3
  spec.score = Score::sigmoid;
  spec.select_bias = true;
  spec.groups = GroupScore::top2_sum;
  spec.num_expert_groups = 3;
  spec.topk_groups = 2;
  spec.norm_topk_prob = true;
  spec.norm_topk_eps = 1e-20;
  spec.routed_scaling_factor = 2.5;
  spec.shared = SharedExpert::plain;
  TrainBlock block(spec);
  expect_right(block);
}

TEST(MoeTraining, gradients_are_right_for_every_other_score) {
  for (const Score score : {Score::sqrt_softplus, Score::raw, Score::sparsemixer, Score::sigmoid}) {
    for (const bool renormalise : {true, false}) {
      if (score == Score::raw && renormalise) continue;  // logits may sum to 0
      MoeSpec spec = six_experts();
      spec.score = score;
      spec.norm_topk_prob = renormalise;
      spec.sparsemixer_eps = 0.4;
      spec.top_k = 3;
      TrainBlock block(spec);
      SCOPED_TRACE(static_cast<int>(score));
      expect_right(block);
    }
  }
}

TEST(MoeTraining, gradients_are_right_for_shared_experts_plain_and_gated) {
  for (const SharedExpert shared : {SharedExpert::plain, SharedExpert::sigmoid_gated}) {
    for (const bool biases : {false, true}) {
      MoeSpec spec = six_experts();
      spec.shared = shared;
      spec.expert_bias = biases;
      spec.activation = Activation::geglu;
      TrainBlock block(spec);
      expect_right(block);
    }
  }
}

TEST(MoeTraining, gradients_are_right_for_a_dense_block) {
  for (const bool biases : {false, true}) {
    MoeSpec spec{.moe_intermediate_size = test::kWidth};
    spec.expert_bias = biases;
    TrainBlock block(spec);
    expect_right(block);
  }
}

TEST(MoeTraining, gradients_are_right_under_noise) {
  RouterTraining router;
  router.noise = RouterNoise::jitter;
  router.jitter = 0.3f;
  TrainBlock jittered(six_experts());
  expect_right(jittered, router);
  router.noise = RouterNoise::gaussian;
  TrainBlock noisy(six_experts(), true);
  expect_right(noisy, router);
}

TEST(MoeTraining, gradients_are_right_with_choices_dropped_or_sent_elsewhere) {
  for (const bool renormalise : {true, false}) {
    for (const Overflow overflow : {Overflow::drop, Overflow::next_choice, Overflow::least_loaded}) {
      RouterTraining router;
      router.capacity_factor = 0.8;
      router.overflow = overflow;
      MoeSpec spec = six_experts();
      spec.norm_topk_prob = renormalise;
      spec.shared = SharedExpert::sigmoid_gated;
      TrainBlock block(spec);
      const Outcome result = expect_right(block, router);
      EXPECT_GT(result.dropped, 0);
      EXPECT_EQ(result.rerouted > 0, overflow != Overflow::drop);
    }
  }
}

TEST(MoeTraining, gradients_are_right_when_experts_choose) {
  TrainBlock block(six_experts());
  expect_right(block, {.choice = RouterChoice::expert});
}

TEST(MoeTraining, hash_routing_gives_the_router_nothing) {
  TrainBlock block(six_experts());
  expect_right(block, {.choice = RouterChoice::hash}, false, test::ref(), "router");
}

// The trap: one choice divided by its own sum weighs 1 whatever the router says.
TEST(MoeTraining, top_1_trains_its_router_by_the_raw_probability_and_not_when_renormalised) {
  MoeSpec spec = six_experts();
  spec.top_k = 1;
  TrainBlock raw(spec);  // Switch
  expect_right(raw, {}, false);
  spec.norm_topk_prob = true;
  TrainBlock renormalised(spec);
  expect_right(renormalised, {}, false, test::ref(), "router");
  spec.norm_topk_prob = false;
  spec.score_before_topk = false;
  TrainBlock of_one_logit(spec);
  expect_right(of_one_logit, {}, false, test::ref(), "router");
}

const auto kNoCheck = [](auto&&...) {};

TEST(MoeTraining, one_routed_expert_of_weight_one_is_the_dense_block_bit_for_bit) {
  for (const KernelSet* set : test::sets_here()) {
    MoeSpec spec{.moe_intermediate_size = test::kWidth};
    spec.expert_bias = true;
    TrainBlock dense(spec);
    spec.routed = true;
    TrainBlock routed(spec);
    const auto offset = static_cast<int64_t>(routed.values.size() - dense.values.size());
    std::copy(dense.values.begin(), dense.values.end(), routed.values.begin() + offset);
    const Outcome a = run(dense, *set, 2, {}, {}, kNoCheck);
    const Outcome b = run(routed, *set, 2, {}, std::vector<float>(kTokens, 0), kNoCheck);
    EXPECT_EQ(a.y, b.y);
    EXPECT_EQ(a.dx, b.dx);
    EXPECT_EQ(a.gradients, std::vector<float>(b.gradients.begin() + offset, b.gradients.end()));
  }
}

TEST(MoeTraining, forward_is_the_inference_layer) {
  for (const KernelSet* set : test::sets_here()) {
    for (const SharedExpert shared : {SharedExpert::none, SharedExpert::sigmoid_gated}) {
      MoeSpec spec = six_experts();
      spec.shared = shared;
      TrainBlock block(spec);
      const Outcome result = run(block, *set, 2, {}, std::vector<float>(kTokens * 6, 0), kNoCheck);
      const std::vector<float> x = test::normals(kTokens * kHidden, 5);
      std::vector<float> y(x.size());
      Stage stage(*set);
      moe_layer(stage.exec, spec, block.weights, x.data(), kTokens, y.data());
      for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(result.y[i], y[i], 1e-5f) << set->name;
    }
  }
}

TEST(MoeTraining, bits_do_not_depend_on_threads) {
  MoeSpec spec = six_experts();
  spec.shared = SharedExpert::sigmoid_gated;
  spec.expert_bias = spec.router_bias = true;
  RouterTraining router;
  router.noise = RouterNoise::gaussian;
  router.capacity_factor = 0.9;
  router.overflow = Overflow::next_choice;
  router.priority = Priority::score;
  for (const KernelSet* set : test::sets_here()) {
    TrainBlock block(spec, true);
    const std::vector<float> pull = test::normals(kTokens * 6, 9);
    const Outcome one = run(block, *set, 1, router, pull, kNoCheck);
    for (const int threads : {2, 3}) {
      const Outcome many = run(block, *set, threads, router, pull, kNoCheck);
      EXPECT_EQ(one.y, many.y);
      EXPECT_EQ(one.dx, many.dx);
      EXPECT_EQ(one.gradients, many.gradients);
    }
  }
}

// bf16 operands keep 8 bits: the products are a little off, the router is not at all.
TEST(MoeTraining, in_bf16_rounds_the_experts_and_not_the_router) {
  MoeSpec spec = six_experts();
  spec.norm_topk_prob = true;
  for (const KernelSet* set : test::sets_here()) {
    TrainBlock block(spec);
    std::vector<float> logits[2];
    const std::vector<float> pull(kTokens * 6, 0);
    Outcome outcomes[2];
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
      const auto i = static_cast<size_t>(precision);
      const auto keep = [&](const TrainContext&, const MoeSaved& saved, auto&&...) {
        logits[i].assign(saved.logits, saved.logits + kTokens * 6);
      };
      outcomes[i] = run(block, *set, 2, {}, pull, keep, precision);
    }
    EXPECT_EQ(logits[0], logits[1]);
    const auto expect_close = [&](const std::vector<float>& exact, const std::vector<float>& rounded) {
      double error = 0, size = 0;
      for (size_t i = 0; i < exact.size(); ++i) {
        error += std::pow(static_cast<double>(exact[i] - rounded[i]), 2);
        size += std::pow(static_cast<double>(exact[i]), 2);
      }
      EXPECT_LT(std::sqrt(error / size), 0.01) << set->name;
      EXPECT_GT(std::sqrt(error / size), 1e-4) << set->name;
    };
    expect_close(outcomes[0].y, outcomes[1].y);
    expect_close(outcomes[0].dx, outcomes[1].dx);
    expect_close(outcomes[0].gradients, outcomes[1].gradients);
  }
}

TEST(MoeTraining, evaluation_has_no_noise) {
  RouterTraining noisy;
  noisy.noise = RouterNoise::gaussian;
  TrainBlock block(six_experts(), true);
  const std::vector<float> x = test::normals(kTokens * kHidden, 5);
  std::vector<float> with(x.size()), without(x.size());
  Stage stage;
  TrainContext context{.exec = stage.exec, .router = noisy, .num_tokens = kTokens, .training = false};
  moe_forward(context, block.spec, block.weights, kLayer, x.data(), with.data());
  context.router = {};
  moe_forward(context, block.spec, block.weights, kLayer, x.data(), without.data());
  EXPECT_EQ(with, without);
}

TEST(MoeTraining, may_drop_every_choice) {
  TrainBlock block(six_experts());
  RouterTraining router;
  router.capacity_factor = 1e-9;
  const Outcome result = run(block, test::ref(), 2, router, std::vector<float>(kTokens * 6, 0), kNoCheck);
  EXPECT_EQ(result.dropped, kTokens * 2);
  EXPECT_EQ(result.y, std::vector<float>(kTokens * kHidden, 0));
  EXPECT_EQ(result.dx, std::vector<float>(kTokens * kHidden, 0));
  EXPECT_EQ(result.gradients, std::vector<float>(block.values.size(), 0));
}

TEST(MoeTraining, a_token_whose_choices_were_all_dropped_gets_zero) {
  MoeSpec spec = six_experts();
  spec.top_k = 1;
  spec.router_bias = true;
  TrainBlock block(spec);
  std::fill_n(block.values.begin() + block.offset(block.weights.router_bias), 6, 0.0f);
  block.values[static_cast<size_t>(block.offset(block.weights.router_bias) + 4)] = 1000;  // all want expert 4
  RouterTraining router;
  router.capacity_factor = 1;
  const Outcome result = run(block, test::ref(), 2, router, std::vector<float>(kTokens * 6, 0), kNoCheck);
  EXPECT_EQ(result.dropped, kTokens - 4);  // ceil(23 / 6) stay
  for (size_t i = 0; i < result.y.size(); ++i) {
    if (i < 4 * kHidden) continue;
    EXPECT_EQ(result.y[i], 0);
    EXPECT_EQ(result.dx[i], 0);
  }
}

}  // namespace
}  // namespace moxie
