// Balance losses: values where they are known, gradients against finite differences, and the bias that needs no loss.
#include "moe/losses.h"

#include <gtest/gtest.h>

#include "ops/stage.h"

namespace moxie {
namespace {

using test::Stage;

constexpr AuxForm kForms[] = {AuxForm::switch_top1, AuxForm::deepseek, AuxForm::megablocks, AuxForm::transformers};
constexpr int64_t kExperts = 6, kChoices = 2, kTokens = 24, kSequence = 8;

MoeSpec spec_of(Score score, int64_t experts = kExperts, int64_t choices = kChoices) {
  MoeSpec spec{.routed = true, .num_experts = experts, .top_k = choices};
  spec.score = score;
  return spec;
}

// A layer's logits and what was chosen from them.
struct Layer {
  Layer(const MoeSpec& of, std::vector<float> values, Stage& stage) : spec(of), logits(std::move(values)) {
    const std::vector<float> bias = test::normals(spec.num_experts, 8);
    const auto num_tokens = static_cast<int64_t>(logits.size()) / spec.num_experts;
    input.routing = route(stage.exec, spec, logits.data(), num_tokens, bias.data());
    counts.assign(static_cast<size_t>(spec.num_experts), 0);
    for (int64_t i = 0; i < num_tokens * spec.top_k; ++i) ++counts[static_cast<size_t>(input.routing.topk_ids[i])];
    input.logits = logits.data();
    input.counts = counts.data();
    input.count_tokens = static_cast<double>(num_tokens);
    input.sequence_length = kSequence;
  }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  MoeSpec spec;
  std::vector<float> logits;
  std::vector<int64_t> counts;
  RouterLossInput input;
};

// Every expert is first, and second, for as many tokens; in every sequence of E.
std::vector<float> balanced_logits(int64_t tokens, int64_t experts) {
  std::vector<float> logits(static_cast<size_t>(tokens * experts), 0);
  for (int64_t t = 0; t < tokens; ++t) {
    logits[static_cast<size_t>(t * experts + t % experts)] = 2;
    logits[static_cast<size_t>(t * experts + (t + 1) % experts)] = 1;
  }
  return logits;
}

TEST(RouterLosses, at_perfect_balance_are_one_and_k_in_the_form_of_transformers) {
  Stage stage;
  for (const Score score : {Score::softmax, Score::sigmoid}) {
    for (const AuxForm form : kForms) {
      for (const AuxScope scope : {AuxScope::sequence, AuxScope::micro_batch, AuxScope::global_batch}) {
        Layer layer(spec_of(score, 8, 2), balanced_logits(24, 8), stage);
        std::vector<float> d(layer.logits.size(), 0);
        const AuxLoss options{.form = form, .scope = scope, .coef = 1};
        const RouterLosses losses = router_losses(stage.exec, layer.spec, options, layer.input, 1, d.data());
        EXPECT_NEAR(losses.aux, form == AuxForm::transformers ? 2 : 1, 1e-12);
        for (const float g : d) EXPECT_NEAR(g, 0, 1e-9f);  // nothing pulls; nothing is NaN
      }
    }
  }
}

// Logits so close to each other that P is even, all choices on experts 0 and 1: f alone tells.
TEST(RouterLosses, of_layers_are_summed_or_averaged_as_the_form_says) {
  Stage stage;
  for (const AuxForm form : kForms) {
    Layer layer(spec_of(Score::softmax, 8, 2), balanced_logits(24, 8), stage);
    layer.input.num_moe_layers = 4;
    std::vector<int64_t> joined(8, 4 * 6);  // of four layers, as transformers counts
    if (form == AuxForm::transformers) {
      layer.input.counts = joined.data();
      layer.input.count_tokens = 4 * 24;
    }
    const AuxLoss options{.form = form, .coef = 1};
    const double one = router_losses(stage.exec, layer.spec, options, layer.input, 1, nullptr).aux;
    const bool summed = form == AuxForm::switch_top1 || form == AuxForm::deepseek;
    EXPECT_NEAR(4 * one, form == AuxForm::transformers ? 2 : summed ? 4 : 1, 1e-12);
  }
}

TEST(RouterLosses, of_a_collapsed_router_are_as_many_times_larger_as_there_are_experts_to_a_choice) {
  Stage stage;
  std::vector<float> logits(24 * 8, 0);
  for (size_t i = 0; i < logits.size(); i += 8) logits[i] = 60, logits[i + 1] = 59.9f;
  for (const AuxForm form : {AuxForm::deepseek, AuxForm::megablocks, AuxForm::transformers}) {
    Layer layer(spec_of(Score::softmax, 8, 2), logits, stage);
    const double loss = router_losses(stage.exec, layer.spec, {.form = form}, layer.input, 1, nullptr).aux;
    EXPECT_NEAR(loss, (form == AuxForm::transformers ? 2 : 1) * 8 / 2, 1e-9);
  }
}

// f of the first choice alone, by hand: tokens 0 and 1 choose 0, 1 and 0, 2 of three experts.
TEST(RouterLosses, of_switch_count_first_choices_only) {
  Stage stage;
  const float l2 = std::log(2.0f), l3 = std::log(3.0f);
  Layer layer(spec_of(Score::softmax, 3, 2), {l3, l2, 0, l3, 0, l2}, stage);  // p = 3/6, 2/6, 1/6 and 3/6, 1/6, 2/6
  const auto of = [&](AuxForm form) {
    return router_losses(stage.exec, layer.spec, {.form = form}, layer.input, 1, nullptr).aux;
  };
  EXPECT_NEAR(of(AuxForm::switch_top1), 3 * 0.5, 1e-6);                           // f = 1, 0, 0; P = 1/2, 1/4, 1/4
  EXPECT_NEAR(of(AuxForm::megablocks), 3 * (0.5 * 0.5 + 2 * 0.25 * 0.25), 1e-6);  // f = 1/2, 1/4, 1/4
  EXPECT_NEAR(of(AuxForm::transformers), 2 * of(AuxForm::megablocks), 1e-12);
}

TEST(RouterLosses, of_deepseek_count_the_scores_without_the_selection_bias) {
  Stage stage;
  MoeSpec spec = spec_of(Score::sigmoid);
  const std::vector<float> logits = test::normals(kTokens * kExperts, 3);
  Layer plain(spec, logits, stage);
  spec.select_bias = true;
  Layer biased(spec, logits, stage);
  ASSERT_NE(plain.counts, biased.counts);
  for (const AuxScope scope : {AuxScope::sequence, AuxScope::micro_batch}) {
    const AuxLoss options{.form = AuxForm::deepseek, .scope = scope};
    EXPECT_DOUBLE_EQ(router_losses(stage.exec, plain.spec, options, plain.input, 1, nullptr).aux,
                     router_losses(stage.exec, biased.spec, options, biased.input, 1, nullptr).aux);
  }
}

TEST(RouterLosses, of_a_sequence_scope_are_the_mean_over_sequences_alone) {
  Stage stage;
  const std::vector<float> logits = test::normals(kTokens * kExperts, 3);
  Layer whole(spec_of(Score::softmax), logits, stage);
  for (const AuxForm form : kForms) {
    const AuxLoss options{.form = form, .scope = AuxScope::sequence};
    double sum = 0;
    for (int64_t s = 0; s < kTokens / kSequence; ++s) {
      const auto begin = logits.begin() + s * kSequence * kExperts;
      Layer part(whole.spec, std::vector<float>(begin, begin + kSequence * kExperts), stage);
      sum += router_losses(stage.exec, part.spec, {.form = form}, part.input, 1, nullptr).aux;
    }
    EXPECT_NEAR(router_losses(stage.exec, whole.spec, options, whole.input, 1, nullptr).aux,
                sum / (kTokens / kSequence), 1e-12);
  }
}

TEST(RouterLosses, of_z_are_the_mean_square_of_logsumexp_over_tokens_and_layers) {
  Stage stage;
  Layer layer(spec_of(Score::softmax, 2, 1), {0, 0, std::log(3.0f), 0}, stage);
  layer.input.num_moe_layers = 2;
  const double z = router_losses(stage.exec, layer.spec, {}, layer.input, 1, nullptr).z;
  EXPECT_NEAR(z, (std::log(2.0) * std::log(2.0) + std::log(4.0) * std::log(4.0)) / 2 / 2, 1e-6);
}

// f is constant: the counts are held while the logits move.
TEST(RouterLosses, have_the_gradient_of_finite_differences) {
  Stage stage;
  for (const Score score : {Score::softmax, Score::sigmoid, Score::sqrt_softplus, Score::sparsemixer}) {
    for (const AuxForm form : kForms) {
      for (const AuxScope scope : {AuxScope::sequence, AuxScope::micro_batch, AuxScope::global_batch}) {
        MoeSpec spec = spec_of(score);
        spec.sparsemixer_eps = 0.1;
        Layer layer(spec, test::normals(kTokens * kExperts, 3), stage);
        layer.input.num_moe_layers = 3;
        const AuxLoss options{.form = form, .scope = scope, .coef = 0.7f, .z_coef = 0.3f};
        std::vector<float> d(layer.logits.size(), 0.25f);  // is added to
        router_losses(stage.exec, spec, options, layer.input, 0.5f, d.data());
        const auto loss = [&] {
          const RouterLosses value = router_losses(stage.exec, spec, options, layer.input, 1, nullptr);
          return 0.5 * (0.7 * value.aux + 0.3 * value.z);
        };
        for (size_t i = 0; i < d.size(); i += 5) {
          const float kept = layer.logits[i];
          layer.logits[i] = kept + 0x1p-10f;
          const double above = loss();
          layer.logits[i] = kept - 0x1p-10f;
          const double below = loss();
          layer.logits[i] = kept;
          EXPECT_NEAR(static_cast<double>(d[i]) - 0.25, (above - below) / 0x1p-9, 1e-6);
        }
      }
    }
  }
}

TEST(RouterLosses, have_the_same_bits_on_any_number_of_threads) {
  std::vector<float> expected;
  double value = 0;
  for (const int threads : {1, 2, 3}) {
    Stage stage(test::ref(), threads);
    Layer layer(spec_of(Score::sigmoid), test::normals(kTokens * kExperts, 3), stage);
    std::vector<float> d(layer.logits.size(), 0);
    const RouterLosses losses =
        router_losses(stage.exec, layer.spec, {.coef = 1, .z_coef = 1}, layer.input, 1, d.data());
    if (threads == 1) expected = d, value = losses.aux + losses.z;
    EXPECT_EQ(d, expected);
    EXPECT_EQ(losses.aux + losses.z, value);
  }
}

TEST(SelectionBias, moves_by_a_fixed_step_or_in_proportion_towards_balance) {
  const int64_t counts[] = {10, 2, 4, 4, 5};  // mean 5
  float bias[] = {0, 0, 1, 0, 0.5f};
  update_selection_bias({.rule = BiasRule::sign, .rate = 0.125f}, counts, 5, bias);
  EXPECT_EQ(std::vector<float>(bias, bias + 5), (std::vector<float>{-0.125f, 0.125f, 1.125f, 0.125f, 0.5f}));
  float other[] = {0, 0, 0, 0, 0.5f};
  update_selection_bias({.rule = BiasRule::proportional, .rate = 0.5f}, counts, 5, other);
  EXPECT_FLOAT_EQ(other[0], -0.5f);
  EXPECT_FLOAT_EQ(other[1], 0.3f);
  EXPECT_FLOAT_EQ(other[4], 0.5f);
}

TEST(SelectionBias, stays_without_a_rule_or_without_tokens) {
  const int64_t some[] = {3, 1}, none[] = {0, 0};
  float bias[] = {1, 2};
  update_selection_bias({.rule = BiasRule::none}, some, 2, bias);
  for (const BiasRule rule : {BiasRule::sign, BiasRule::proportional})
    update_selection_bias({.rule = rule}, none, 2, bias);
  EXPECT_EQ(bias[0], 1);
  EXPECT_EQ(bias[1], 2);
}

}  // namespace
}  // namespace moxie
