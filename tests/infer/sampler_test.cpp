// The sampler against a slow reading of what transformers' logits processors say: which tokens can come, how often.
#include "infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "infer/support.h"

namespace moxie::test {
namespace {

constexpr int kDraws = 40'000;
const std::vector<float> kLogits = {0.3f, 2.1f, -1.2f, 1.7f, 0.9f, -0.4f, 2.6f, 1.1f, -3.0f, 0.0f};
const std::vector<int32_t> kPrompt = {1, 1, 2}, kGenerated = {6, 6, 6, 4, 2};

// The distribution a token is drawn from, step by step as transformers does it, in double and by full sorts.
std::vector<double> distribution(const SamplingParams& params, const std::vector<int32_t>& prompt = {},
                                 const std::vector<int32_t>& generated = {}) {
  std::vector<double> score(kLogits.begin(), kLogits.end());
  for (size_t id = 0; id < score.size(); ++id) {
    const auto seen = static_cast<double>(std::count(generated.begin(), generated.end(), static_cast<int32_t>(id)));
    const auto read = static_cast<double>(std::count(prompt.begin(), prompt.end(), static_cast<int32_t>(id)));
    if (seen + read > 0) {
      score[id] = score[id] < 0 ? score[id] * params.repetition_penalty : score[id] / params.repetition_penalty;
    }
    score[id] -= params.frequency_penalty * seen + (seen > 0 ? params.presence_penalty : 0);
    for (const auto& [token, bias] : params.logit_bias) score[id] += token == static_cast<int32_t>(id) ? bias : 0;
    score[id] /= params.temperature;
  }
  std::vector<size_t> falling(score.size());
  std::iota(falling.begin(), falling.end(), 0);
  std::sort(falling.begin(), falling.end(), [&](size_t a, size_t b) { return score[a] > score[b]; });
  std::vector<double> p(score.size());
  const auto normalise = [&] {
    const double total = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& each : p) each /= total;
  };
  for (size_t rank = 0; rank < falling.size(); ++rank) {
    const bool kept = params.top_k == 0 || rank < static_cast<size_t>(params.top_k);
    p[falling[rank]] = kept ? std::exp(score[falling[rank]]) : 0;
  }
  normalise();
  double before = 0;  // probability of all better tokens: a token stays while that is below top_p
  for (const size_t id : falling) {
    const double own = p[id];
    if (before >= params.top_p) p[id] = 0;
    before += own;
  }
  normalise();
  const double most = *std::max_element(p.begin(), p.end());
  for (double& each : p) each = each < params.min_p * most ? 0 : each;
  normalise();
  return p;
}

// Draws many tokens: none that cannot come, and every one as often as it should, within 5 standard deviations.
void expect_drawn_as(const SamplingParams& params, const std::vector<double>& expected,
                     const std::vector<int32_t>& prompt = {}, const std::vector<int32_t>& generated = {}) {
  Sampler sampler(params, static_cast<int64_t>(kLogits.size()));
  std::vector<int> counts(kLogits.size());
  for (int i = 0; i < kDraws; ++i) ++counts[static_cast<size_t>(sampler.sample(kLogits, prompt, generated))];
  for (size_t id = 0; id < expected.size(); ++id) {
    const double p = expected[id], rate = static_cast<double>(counts[id]) / kDraws;
    EXPECT_NEAR(rate, p, 5 * std::sqrt(p * (1 - p) / kDraws)) << "token " << id;
    EXPECT_EQ(counts[id] > 0, p > 0) << "token " << id;
  }
}

void expect_as_transformers(const SamplingParams& params, const std::vector<int32_t>& prompt = {},
                            const std::vector<int32_t>& generated = {}) {
  expect_drawn_as(params, distribution(params, prompt, generated), prompt, generated);
}

TEST(Sampler, draws_in_proportion_to_the_softmax) {
  expect_as_transformers({.seed = 1});
}

TEST(Sampler, temperature_flattens_and_sharpens) {
  expect_as_transformers({.temperature = 2.5, .seed = 2});
  expect_as_transformers({.temperature = 0.6, .seed = 3});
}

TEST(Sampler, top_k_keeps_the_k_best) {
  for (const int64_t k : {1, 3, 9}) expect_as_transformers({.top_k = k, .seed = 4});
}

TEST(Sampler, a_top_k_of_the_vocabulary_or_more_cuts_nothing) {
  for (const int64_t k : {10, 11, 1 << 30}) expect_as_transformers({.top_k = k, .seed = 5});
}

TEST(Sampler, top_p_keeps_the_shortest_run_that_reaches_it) {
  for (const double p : {0.05, 0.37, 0.8, 0.99}) expect_as_transformers({.top_p = p, .seed = 6});
}

TEST(Sampler, min_p_is_relative_to_the_likeliest) {
  for (const double p : {0.01, 0.2, 0.6, 1.0}) expect_as_transformers({.min_p = p, .seed = 7});
}

TEST(Sampler, cuts_apply_in_the_order_top_k_top_p_min_p) {
  expect_as_transformers({.temperature = 1.3, .top_k = 6, .top_p = 0.9, .min_p = 0.25, .seed = 8});
}

TEST(Sampler, repetition_penalty_divides_what_is_positive_and_multiplies_what_is_negative_once) {
  expect_as_transformers({.repetition_penalty = 1.8, .seed = 9}, kPrompt, kGenerated);
  expect_as_transformers({.repetition_penalty = 0.7, .seed = 10}, kPrompt, kGenerated);
}

TEST(Sampler, presence_and_frequency_look_at_the_answer_alone) {
  expect_as_transformers({.presence_penalty = 0.9, .seed = 11}, kPrompt, kGenerated);
  expect_as_transformers({.frequency_penalty = 0.5, .seed = 12}, kPrompt, kGenerated);
  expect_as_transformers({.repetition_penalty = 1.2, .presence_penalty = -0.4, .frequency_penalty = 0.3, .seed = 13},
                         kPrompt, kGenerated);
}

TEST(Sampler, logit_bias_adds_and_bans) {
  const double forbidden = -std::numeric_limits<double>::infinity();
  expect_as_transformers({.logit_bias = {{0, 1.5}, {3, -2.0}, {6, forbidden}}, .seed = 14});
}

TEST(Sampler, penalties_leave_nothing_behind_for_the_next_draw) {
  SamplingParams params{.temperature = 0, .repetition_penalty = 5};
  Sampler sampler(params, 10);
  EXPECT_EQ(sampler.sample(kLogits, {}, std::vector<int32_t>{6}), 1);
  EXPECT_EQ(sampler.sample(kLogits, {}, {}), 6);
}

TEST(Sampler, greedy_takes_the_highest_and_the_lowest_id_of_equals) {
  EXPECT_EQ(greedy_token(kLogits), 6);
  EXPECT_EQ(greedy_token(std::vector<float>{1, 3, 2, 3, 3}), 1);
  Sampler sampler({.temperature = 0}, 5);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 3, 2, 3, 3}, {}, {}), 1);
}

TEST(Sampler, top_k_keeps_the_lower_id_of_equals) {
  const std::vector<float> flat(8, 1.0f);
  Sampler sampler({.top_k = 2, .seed = 1}, 8);
  for (int i = 0; i < 200; ++i) EXPECT_LT(sampler.sample(flat, {}, {}), 2);
}

TEST(Sampler, temperature_0_does_not_look_at_the_cuts) {
  Sampler sampler({.temperature = 0, .top_k = 4, .top_p = 0.1, .min_p = 1, .seed = 3}, 10);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(sampler.sample(kLogits, {}, {}), 6);
}

TEST(Sampler, a_temperature_near_zero_is_greedy_too) {
  for (const double temperature : {1e-6, 1e-40, 1e-300}) {
    Sampler sampler({.temperature = temperature, .seed = 3}, 10);
    for (int i = 0; i < 100; ++i) ASSERT_EQ(sampler.sample(kLogits, {}, {}), 6) << temperature;
  }
}

TEST(Sampler, infinite_logits_are_logits) {
  const float inf = std::numeric_limits<float>::infinity();
  Sampler sampler({.seed = 3}, 4);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(sampler.sample(std::vector<float>{-inf, 5, -inf, -inf}, {}, {}), 1);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(sampler.sample(std::vector<float>{0, 5, inf, 7}, {}, {}), 2);
}

TEST(Sampler, the_same_seed_gives_the_same_tokens_and_another_seed_others) {
  const auto draw = [](uint64_t seed) {
    Sampler sampler({.top_p = 0.95, .seed = seed}, 10);
    std::vector<int32_t> ids;
    for (int i = 0; i < 100; ++i) ids.push_back(sampler.sample(kLogits, {}, {}));
    return ids;
  };
  EXPECT_EQ(draw(42), draw(42));
  EXPECT_NE(draw(42), draw(43));
}

TEST(Sampler, nan_logits_are_an_error_that_says_where) {
  std::vector<float> logits = kLogits;
  logits[7] = std::numeric_limits<float>::quiet_NaN();
  for (const double temperature : {0.0, 1.0}) {
    Sampler sampler({.temperature = temperature}, 10);
    const auto refusal = refusal_of([&] { sampler.sample(logits, {}, {}); });
    ASSERT_TRUE(refusal.has_value());
    EXPECT_EQ(refusal->code, ErrorCode::runtime);
    EXPECT_TRUE(contains(refusal->text, "token 7")) << refusal->text;
  }
}

TEST(Sampler, values_out_of_range_are_usage_errors_that_name_the_field) {
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  const std::vector<std::pair<std::string, SamplingParams>> cases = {{"temperature", {.temperature = -0.1}},
                                                                     {"temperature", {.temperature = nan}},
                                                                     {"temperature", {.temperature = inf}},
                                                                     {"top-k", {.top_k = -1}},
                                                                     {"top-p", {.top_p = 0}},
                                                                     {"top-p", {.top_p = 1.01}},
                                                                     {"top-p", {.top_p = nan}},
                                                                     {"min-p", {.min_p = -0.1}},
                                                                     {"min-p", {.min_p = 1.5}},
                                                                     {"min-p", {.min_p = nan}},
                                                                     {"repeat-penalty", {.repetition_penalty = 0}},
                                                                     {"repeat-penalty", {.repetition_penalty = inf}},
                                                                     {"presence-penalty", {.presence_penalty = nan}},
                                                                     {"frequency-penalty", {.frequency_penalty = inf}},
                                                                     {"logit-bias", {.logit_bias = {{10, 1.0}}}},
                                                                     {"logit-bias", {.logit_bias = {{-1, 1.0}}}},
                                                                     {"logit-bias", {.logit_bias = {{3, nan}}}}};
  for (const auto& [field, params] : cases) {
    const auto refusal = refusal_of([&, &given = params] { Sampler(given, 10); });
    ASSERT_TRUE(refusal.has_value()) << field;
    EXPECT_EQ(refusal->code, ErrorCode::usage);
    EXPECT_TRUE(contains(refusal->text, field)) << refusal->text;
  }
}

}  // namespace
}  // namespace moxie::test
