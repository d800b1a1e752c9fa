// The router's choice against a second implementation, in double and by sorting, of every rule a family may ask for.
#include "moe/routing.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>

#include "ops/stage.h"

namespace moxie {
namespace {

using test::Random;
using test::Stage;

struct Verdict {
  std::vector<int32_t> ids;
  std::vector<double> weights;
  double margin = 0;
};

// Ids in falling order of score, equal scores by rising id.
std::vector<int32_t> ranking(const std::vector<double>& scores) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  return order;
}

std::vector<double> scored(Score score, std::vector<double> x) {
  double total = 0;
  for (const double v : x) total += std::exp(v);
  for (double& v : x) {
    if (score == Score::softmax) v = std::exp(v) / total;
    if (score == Score::sigmoid) v = 1 / (1 + std::exp(-v));
    if (score == Score::sqrt_softplus) v = std::sqrt(std::log(1 + std::exp(v)));
  }
  return x;
}

void drop_groups(const MoeSpec& spec, std::vector<double>& choice) {
  const auto groups = static_cast<size_t>(spec.num_expert_groups), size = choice.size() / groups;
  std::vector<double> best;
  for (size_t g = 0; g < groups; ++g) {
    std::vector<double> members(choice.begin() + static_cast<int64_t>(g * size),
                                choice.begin() + static_cast<int64_t>((g + 1) * size));
    std::sort(members.rbegin(), members.rend());
    best.push_back(spec.groups == GroupScore::max ? members[0] : members[0] + members[1]);
  }
  const std::vector<int32_t> order = ranking(best);
  for (size_t place = static_cast<size_t>(spec.topk_groups); place < groups; ++place) {
    for (size_t i = 0; i < size; ++i) choice[static_cast<size_t>(order[place]) * size + i] = 0;
  }
}

Verdict by_sorting(const MoeSpec& spec, const float* logits, const std::vector<float>& bias) {
  const std::vector<double> x(logits, logits + spec.num_experts);
  const std::vector<double> scores = spec.score_before_topk ? scored(spec.score, x) : x;
  std::vector<double> choice = scores;
  for (size_t e = 0; e < choice.size() && spec.select_bias; ++e) choice[e] += static_cast<double>(bias[e]);
  if (spec.groups != GroupScore::none) drop_groups(spec, choice);

  Verdict verdict{.ids = ranking(choice)};
  const auto k = static_cast<size_t>(spec.top_k);
  const auto value = [&](size_t place) { return choice[static_cast<size_t>(verdict.ids[place])]; };
  verdict.margin = k == choice.size() ? INFINITY : value(k - 1) - value(k);
  verdict.ids.resize(k);
  for (const int32_t id : verdict.ids) verdict.weights.push_back(scores[static_cast<size_t>(id)]);
  if (!spec.score_before_topk) verdict.weights = scored(spec.score, verdict.weights);
  const double sum = std::accumulate(verdict.weights.begin(), verdict.weights.end(), 0.0) + spec.norm_topk_eps;
  for (double& w : verdict.weights) w *= spec.routed_scaling_factor / (spec.norm_topk_prob ? sum : 1);
  return verdict;
}

// Phi-MoE in evaluation (transformers, modeling_phimoe.py): the maximum m; out goes every i with
// (m - s_i) / max(|s_i|, m) > 2 eps; the weight is the maximum's softmax over the rest. Again without the chosen one.
Verdict by_sparsemixer(const MoeSpec& spec, const float* logits) {
  std::map<int32_t, double> left;
  for (int32_t e = 0; e < spec.num_experts; ++e) left[e] = static_cast<double>(logits[e]);
  Verdict verdict;
  double m = 0;
  const auto highest = [&] {
    return *std::max_element(left.begin(), left.end(), [](auto& a, auto& b) { return a.second < b.second; });
  };
  for (int64_t round = 0; round < spec.top_k; ++round) {
    const auto [id, score] = highest();
    m = score;
    double sum = 0;
    for (const auto& [e, s] : left) {
      if ((m - s) / std::max(std::abs(s), m) <= 2 * spec.sparsemixer_eps) sum += std::exp(s - m);
    }
    verdict.ids.push_back(id);
    verdict.weights.push_back(1 / sum);
    left.erase(id);
  }
  verdict.margin = left.empty() ? INFINITY : m - highest().second;
  return verdict;
}

struct Rule {
  const char* name;
  MoeSpec spec;
};

// Every score, every option, as families combine them and as none does yet.
std::vector<Rule> rules() {
  return {
      {"softmax renormalised (Mixtral, Qwen3-MoE)", {.score = Score::softmax, .norm_topk_prob = true}},
      {"softmax as it is (OLMoE, Qwen2-MoE)", {.score = Score::softmax}},
      {"softmax of the chosen (Granite, gpt-oss)", {.score = Score::softmax, .score_before_topk = false}},
      {"sigmoid of the chosen (Llama 4)", {.score = Score::sigmoid, .score_before_topk = false}},
      {"sigmoid and bias (GLM-4.5)",
       {.score = Score::sigmoid,
        .select_bias = true,
        .norm_topk_prob = true,
        .norm_topk_eps = 1e-20,
        .routed_scaling_factor = 2.5}},
      {"sigmoid, bias, groups by their two best (DeepSeek-V3)",
       {.score = Score::sigmoid,
        .select_bias = true,
        .groups = GroupScore::top2_sum,
        .num_expert_groups = 8,
        .topk_groups = 4,
        .norm_topk_prob = true,
        .norm_topk_eps = 1e-20,
        .routed_scaling_factor = 2.5}},
      {"softmax, groups by their best, scaled (DeepSeek-V2)",
       {.score = Score::softmax,
        .groups = GroupScore::max,
        .num_expert_groups = 8,
        .topk_groups = 3,
        .routed_scaling_factor = 16}},
      {"sqrt softplus and bias",
       {.score = Score::sqrt_softplus, .select_bias = true, .norm_topk_prob = true, .norm_topk_eps = 1e-20}},
      {"raw logits", {.score = Score::raw, .routed_scaling_factor = 0.5}},
      {"a large eps", {.score = Score::softmax, .norm_topk_prob = true, .norm_topk_eps = 0.25}},
      {"sparsemixer (Phi-MoE)", {.score = Score::sparsemixer, .sparsemixer_eps = 0.01}},
      {"a wide sparsemixer", {.score = Score::sparsemixer, .sparsemixer_eps = 0.2}},
  };
}

// Multiples of 1/64: equal logits are common, and give equal scores in float and in double.
std::vector<float> coarse(int64_t n, uint64_t seed, float spread) {
  std::vector<float> values = test::normals(n, seed);
  for (float& v : values) v = std::round(v * spread * 64) / 64;
  return values;
}

void expect_verdict(const MoeSpec& spec, const Routing& routing, int64_t t, const Verdict& expected) {
  const auto k = static_cast<size_t>(spec.top_k);
  const int32_t* ids = routing.topk_ids + t * spec.top_k;
  EXPECT_EQ(std::vector<int32_t>(ids, ids + k), expected.ids) << "token " << t;
  for (size_t j = 0; j < k; ++j) {
    const double weight = static_cast<double>(routing.topk_weights[t * spec.top_k + static_cast<int64_t>(j)]);
    EXPECT_NEAR(weight, expected.weights[j], 2e-6 * std::max(1.0, std::abs(expected.weights[j]))) << "token " << t;
  }
  if (std::isinf(expected.margin)) {
    EXPECT_EQ(routing.margin[t], INFINITY);
  } else {
    EXPECT_NEAR(static_cast<double>(routing.margin[t]), expected.margin, 1e-5);
  }
}

TEST(Router, chooses_and_weighs_as_the_formulas_say) {
  struct Size {
    int64_t experts, k;
  };
  for (const Rule& rule : rules()) {
    for (const Size size : {Size{8, 1}, {8, 2}, {16, 4}, {64, 6}, {128, 8}, {512, 10}, {1000, 22}, {16, 16}}) {
      MoeSpec spec = rule.spec;
      spec.num_experts = size.experts;
      spec.top_k = size.k;
      if (spec.groups != GroupScore::none && size.experts < 16) continue;
      if (spec.score == Score::sparsemixer && size.k > 2) spec.top_k = 2;
      constexpr int64_t kTokens = 40;
      const bool mixer = spec.score == Score::sparsemixer;  // its threshold is no matter of order: fine logits
      const std::vector<float> logits = mixer ? test::normals(kTokens * size.experts, 7)
                                              : coarse(kTokens * size.experts, static_cast<uint64_t>(size.experts), 2);
      const std::vector<float> bias = coarse(size.experts, 11, 0.3f);
      Stage stage;
      const Routing routing = route(stage.exec, spec, logits.data(), kTokens, bias.data());
      SCOPED_TRACE(fmt::format("{}, E = {}, K = {}", rule.name, size.experts, size.k));
      for (int64_t t = 0; t < kTokens; ++t) {
        const float* row = logits.data() + t * size.experts;
        expect_verdict(spec, routing, t, mixer ? by_sparsemixer(spec, row) : by_sorting(spec, row, bias));
      }
    }
  }
}

TEST(Router, breaks_ties_by_lower_expert_id) {
  for (const Rule& rule : rules()) {
    MoeSpec spec = rule.spec;
    spec.num_experts = 16;
    spec.top_k = 4;
    const std::vector<float> logits(16, 0.5f), bias(16, 0.25f);
    Stage stage;
    const Routing routing = route(stage.exec, spec, logits.data(), 1, bias.data());
    EXPECT_EQ(std::vector<int32_t>(routing.topk_ids, routing.topk_ids + 4), (std::vector<int32_t>{0, 1, 2, 3}))
        << rule.name;
    EXPECT_EQ(routing.margin[0], 0) << rule.name;
  }
}

TEST(Router, the_bias_joins_the_choice_but_not_the_weight) {
  MoeSpec spec{.num_experts = 4, .top_k = 2, .score = Score::sigmoid, .select_bias = true};
  const float logits[] = {2, 1, 0, -1}, bias[] = {0, 0, 0, 5};
  Stage stage;
  const Routing routing = route(stage.exec, spec, logits, 1, bias);
  EXPECT_EQ(routing.topk_ids[0], 3);
  EXPECT_EQ(routing.topk_ids[1], 0);
  EXPECT_FLOAT_EQ(routing.topk_weights[0], 1 / (1 + std::exp(1.0f)));
  EXPECT_FLOAT_EQ(routing.topk_weights[1], 1 / (1 + std::exp(-2.0f)));
}

// transformers gives experts of dropped groups the score 0, and an expert kept with a negative score loses to them.
TEST(Router, experts_of_dropped_groups_score_zero) {
  MoeSpec spec{.num_experts = 4,
               .top_k = 2,
               .score = Score::sigmoid,
               .select_bias = true,
               .groups = GroupScore::max,
               .num_expert_groups = 2,
               .topk_groups = 1};
  const float logits[] = {0, 0, 0, 0}, bias[] = {-2, -3, 1, -2};
  Stage stage;
  const Routing routing = route(stage.exec, spec, logits, 1, bias);
  EXPECT_EQ(routing.topk_ids[0], 2);
  EXPECT_EQ(routing.topk_ids[1], 0);  // of the dropped group; expert 3 stands at -1.5
}

TEST(Router, logits_far_from_zero_give_weights_that_are_numbers) {
  for (const Rule& rule : rules()) {
    MoeSpec spec = rule.spec;
    spec.num_experts = 16;
    spec.top_k = 2;
    const std::vector<float> bias(16, 0);
    for (const float high : {1e4f, -1e4f, 88.8f, -103.9f}) {
      std::vector<float> logits(16, high);
      logits[5] = high + 1;
      Stage stage;
      const Routing routing = route(stage.exec, spec, logits.data(), 1, bias.data());
      for (int i = 0; i < 2; ++i) EXPECT_TRUE(std::isfinite(routing.topk_weights[i])) << rule.name << " at " << high;
    }
  }
}

// A checkpoint may make any numbers: whatever the logits are, no expert is out of range, and none is chosen twice.
TEST(Router, chooses_different_experts_in_range_whatever_the_logits_are) {
  constexpr int64_t kTokens = 200, kExperts = 16;
  const float odd[] = {NAN, -NAN, INFINITY, -INFINITY, 0, -0.0f, 3e38f, -3e38f, 1e-45f, 1};
  Random random(1);
  std::vector<float> logits;
  for (int64_t t = 0; t < kTokens; ++t) {
    const int64_t only = t < 10 ? t : -1;  // the first tokens: one odd number everywhere
    for (int64_t e = 0; e < kExperts; ++e) logits.push_back(odd[only >= 0 ? only : random.below(10)]);
  }
  for (const float odd_bias : {0.0f, NAN, -INFINITY}) {
    std::vector<float> bias(kExperts, 0);
    bias[3] = odd_bias;
    for (const Rule& rule : rules()) {
      for (const int64_t k : {int64_t{1}, int64_t{2}, int64_t{6}, kExperts}) {
        MoeSpec spec = rule.spec;
        spec.num_experts = kExperts;
        spec.top_k = k;
        Stage stage;
        const Routing routing = route(stage.exec, spec, logits.data(), kTokens, bias.data());
        for (int64_t t = 0; t < kTokens; ++t) {
          const std::set<int32_t> ids(routing.topk_ids + t * k, routing.topk_ids + (t + 1) * k);
          ASSERT_EQ(static_cast<int64_t>(ids.size()), k) << rule.name << ", token " << t;
          ASSERT_TRUE(*ids.begin() >= 0 && *ids.rbegin() < kExperts) << rule.name << ", token " << t;
        }
      }
    }
  }
}

TEST(Router, has_the_same_bits_for_any_number_of_threads_and_companions) {
  constexpr int64_t kTokens = 50, kExperts = 64, k = 6;
  const std::vector<float> logits = test::normals(kTokens * kExperts, 1), bias = test::normals(kExperts, 2);
  for (const KernelSet* set : test::sets_here()) {
    for (const Rule& rule : rules()) {
      MoeSpec spec = rule.spec;
      spec.num_experts = kExperts;
      spec.top_k = k;
      Stage one(*set, 1);
      const Routing expected = route(one.exec, spec, logits.data(), kTokens, bias.data());
      for (const int threads : {2, 3}) {
        Stage many(*set, threads);
        const Routing got = route(many.exec, spec, logits.data(), kTokens, bias.data());
        EXPECT_EQ(0, std::memcmp(got.topk_ids, expected.topk_ids, kTokens * k * sizeof(int32_t))) << rule.name;
        EXPECT_EQ(0, std::memcmp(got.topk_weights, expected.topk_weights, kTokens * k * sizeof(float))) << rule.name;
        EXPECT_EQ(0, std::memcmp(got.margin, expected.margin, kTokens * sizeof(float))) << rule.name;
      }
      for (int64_t t = 0; t < kTokens; t += 7) {
        const Routing alone = route(one.exec, spec, logits.data() + t * kExperts, 1, bias.data());
        EXPECT_EQ(0, std::memcmp(alone.topk_ids, expected.topk_ids + t * k, k * sizeof(int32_t))) << rule.name;
        EXPECT_EQ(0, std::memcmp(alone.topk_weights, expected.topk_weights + t * k, k * sizeof(float))) << rule.name;
      }
    }
  }
}

}  // namespace
}  // namespace moxie
