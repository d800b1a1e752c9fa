// Capacity, expert choice and hash routing: who gets a place, and what becomes of those who do not.
#include "moe/capacity.h"

#include <gtest/gtest.h>

#include <set>

#include "ops/stage.h"

namespace moxie {
namespace {

using test::Stage;

// Routing of T tokens over E experts, whose logits are given; choices are the K best.
struct Case {
  Case(int64_t experts, int64_t k, std::vector<float> of) : logits(std::move(of)) {
    spec = {.routed = true, .num_experts = experts, .top_k = k};
    num_tokens = static_cast<int64_t>(logits.size()) / experts;
    routing = route(stage.exec, spec, logits.data(), num_tokens, nullptr);
  }
  CapacityResult apply(RouterTraining options) { return apply_capacity(options, logits.data(), routing, stage.arena); }
  std::vector<int32_t> ids() const { return {routing.topk_ids, routing.topk_ids + routing.num_tokens * routing.top_k}; }
  std::vector<int64_t> loads() const {
    std::vector<int64_t> result(static_cast<size_t>(spec.num_experts), 0);
    for (const int32_t id : ids()) {
      if (id >= 0) ++result[static_cast<size_t>(id)];
    }
    return result;
  }

  Stage stage;
  std::vector<float> logits;
  MoeSpec spec;
  int64_t num_tokens;
  Routing routing;
};

RouterTraining with(double factor, Overflow overflow, Priority priority = Priority::position) {
  RouterTraining options;
  options.capacity_factor = factor;
  options.overflow = overflow;
  options.priority = priority;
  return options;
}

TEST(Capacity, of_zero_or_of_plenty_changes_nothing) {
  for (const double factor : {0.0, 4.0}) {
    Case c(4, 2, test::normals(80, 1));
    const std::vector<int32_t> before = c.ids();
    const CapacityResult result = c.apply(with(factor, Overflow::drop));
    EXPECT_EQ(result.dropped + result.rerouted, 0);
    EXPECT_EQ(result.capacity, factor == 0 ? 0 : 20);  // an expert sees a token once
    EXPECT_EQ(c.ids(), before);
  }
}

TEST(Capacity, rounds_rows_up_but_not_the_noise_of_the_product) {
  Case c(10, 1, test::normals(1000, 1));
  EXPECT_EQ(c.apply(with(1.1, Overflow::drop)).capacity, 11);
  Case odd(3, 1, test::normals(30, 1));
  EXPECT_EQ(odd.apply(with(1.0, Overflow::drop)).capacity, 4);
}

// Four tokens want expert 0 first, and it takes two; token 3 takes 1 first, and nobody's second choice may take that
// place from it.
TEST(Capacity, serves_all_first_choices_before_any_second) {
  Case c(4, 2,
         {3, 2, 1, 0,    // 0, 1
          3, 2, 1, 0,    // 0, 1
          3, 2, 1, 0,    // 0, 1
          2, 3, 1, 0});  // 1, 0
  const CapacityResult result = c.apply(with(1.0, Overflow::drop));
  EXPECT_EQ(result.capacity, 2);
  EXPECT_EQ(c.ids(), (std::vector<int32_t>{0, 1, 0, -1, -1, -1, 1, -1}));
  EXPECT_EQ(result.dropped, 4);
  EXPECT_EQ(result.rerouted, 0);
  for (const int64_t i : {3, 4, 5, 7}) EXPECT_EQ(c.routing.topk_weights[i], 0);
  for (const int64_t i : {0, 1, 2, 6}) EXPECT_GT(c.routing.topk_weights[i], 0);
}

TEST(Capacity, by_score_serves_the_surest_first) {
  Case c(2, 1,
         {1.0f, 0,   //
          101, 100,  // as sure as the first: only the difference counts
          3.0f, 0,   //
          2.0f, 0});
  const CapacityResult result = c.apply(with(1.0, Overflow::drop, Priority::score));
  EXPECT_EQ(result.capacity, 2);
  EXPECT_EQ(c.ids(), (std::vector<int32_t>{-1, -1, 0, 0}));
}

TEST(Capacity, sends_the_overflow_to_the_next_best_or_to_the_emptiest_with_its_own_weight) {
  const std::vector<float> logits = {9, 1, 2, 0,  //
                                     9, 1, 2, 0,  //
                                     0, 1, 9, 2,  //
                                     9, 3, 2, 0};
  for (const Overflow overflow : {Overflow::next_choice, Overflow::least_loaded}) {
    Case c(4, 1, logits);
    const float weight = c.routing.topk_weights[1];
    const CapacityResult result = c.apply(with(1.0, overflow));  // one row each
    EXPECT_EQ(result.capacity, 1);
    EXPECT_EQ(result.dropped, 0);
    EXPECT_EQ(c.loads(), (std::vector<int64_t>{1, 1, 1, 1}));
    if (overflow == Overflow::next_choice) {
      // token 1 to its second best, 2; so token 2 to its second best, 3; token 3 to 1
      EXPECT_EQ(c.ids(), (std::vector<int32_t>{0, 2, 3, 1}));
      EXPECT_EQ(result.rerouted, 3);
    } else {
      // token 1 to the lowest of the empty ones, 1; token 3 to 3, the only one left
      EXPECT_EQ(c.ids(), (std::vector<int32_t>{0, 1, 2, 3}));
      EXPECT_EQ(result.rerouted, 2);
    }
    EXPECT_EQ(c.routing.topk_weights[1], weight);
  }
}

TEST(Capacity, is_never_exceeded_and_no_token_visits_an_expert_twice) {
  for (const Overflow overflow : {Overflow::drop, Overflow::next_choice, Overflow::least_loaded}) {
    for (const Priority priority : {Priority::position, Priority::score}) {
      for (const double factor : {0.3, 1.0, 1.25}) {
        std::vector<float> logits = test::normals(200 * 8, 3);
        for (size_t i = 0; i < logits.size(); i += 8) logits[i] += 3;  // expert 0 is hot
        Case c(8, 3, logits);
        const CapacityResult result = c.apply(with(factor, overflow, priority));
        int64_t placed = 0;
        for (const int64_t load : c.loads()) {
          EXPECT_LE(load, result.capacity);
          placed += load;
        }
        EXPECT_EQ(placed + result.dropped, 600);
        EXPECT_EQ(result.capacity, static_cast<int64_t>(std::ceil(75 * factor)));
        for (int64_t t = 0; t < 200; ++t) {
          std::set<int32_t> seen;
          for (int64_t k = 0; k < 3; ++k) {
            const int32_t id = c.routing.topk_ids[t * 3 + k];
            EXPECT_TRUE(id < 0 || seen.insert(id).second);
            EXPECT_TRUE(id >= 0 || c.routing.topk_weights[t * 3 + k] == 0);
          }
        }
        EXPECT_TRUE(factor < 1 || overflow == Overflow::drop || result.dropped < 20) << result.dropped;
        EXPECT_EQ(result.rerouted > 0, overflow != Overflow::drop);
      }
    }
  }
}

// A run that diverges must reach the check that names the tensor.
TEST(Capacity, survives_logits_that_are_not_numbers) {
  std::vector<float> logits = test::normals(500 * 4, 3);
  for (size_t i = 0; i < logits.size(); i += 3) logits[i] = i % 2 == 0 ? NAN : INFINITY;
  for (const Overflow overflow : {Overflow::drop, Overflow::next_choice, Overflow::least_loaded}) {
    Case c(4, 2, logits);
    const CapacityResult result = c.apply(with(0.8, overflow, Priority::score));
    for (const int64_t load : c.loads()) EXPECT_LE(load, result.capacity);
  }
  Stage stage;
  const MoeSpec spec{.routed = true, .num_experts = 4, .top_k = 2};
  const Routing routing = route_expert_choice(stage.exec, spec, {}, logits.data(), 500);
  for (int64_t e = 0; e < 4; ++e) {
    int64_t taken = 0;
    for (int64_t t = 0; t < 500; ++t) taken += routing.topk_ids[t * 4 + e] == e;
    EXPECT_EQ(taken, 250);
  }
}

TEST(ExpertChoice, gives_every_expert_exactly_as_many_tokens_and_its_best) {
  constexpr int64_t kTokens = 90, kExperts = 7;
  const std::vector<float> logits = test::normals(kTokens * kExperts, 4);
  for (const int threads : {1, 3}) {
    Stage stage(test::ref(), threads);
    const MoeSpec spec{.routed = true, .num_experts = kExperts, .top_k = 2};
    for (const double factor : {0.0, 1.0, 3.5}) {
      const Routing routing =
          route_expert_choice(stage.exec, spec, with(factor, Overflow::drop), logits.data(), kTokens);
      ASSERT_EQ(routing.top_k, kExperts);
      const auto rows = static_cast<int64_t>(std::floor(90 * (factor == 0 ? 2 : factor) / 7));
      std::vector<float> scores = logits;
      for (int64_t t = 0; t < kTokens; ++t) test::ref().softmax(scores.data() + t * kExperts, kExperts);
      for (int64_t e = 0; e < kExperts; ++e) {
        int64_t taken = 0;
        float worst = 1, best_left = 0;
        for (int64_t t = 0; t < kTokens; ++t) {
          const int64_t i = t * kExperts + e;
          const float score = scores[static_cast<size_t>(i)];
          ASSERT_TRUE(routing.topk_ids[i] == e || routing.topk_ids[i] == -1);
          EXPECT_EQ(routing.topk_weights[i], routing.topk_ids[i] == e ? score : 0);
          taken += routing.topk_ids[i] == e;
          (routing.topk_ids[i] == e ? worst : best_left) =
              routing.topk_ids[i] == e ? std::min(worst, score) : std::max(best_left, score);
        }
        EXPECT_EQ(taken, rows);
        EXPECT_GE(worst, best_left);
      }
    }
  }
}

TEST(HashRouting, gives_a_token_id_the_same_different_experts_and_every_expert_as_many_ids) {
  constexpr int64_t kExperts = 8, kChoices = 3;
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 40 * kExperts; ++i) ids.push_back(i);
  ids.insert(ids.end(), ids.begin(), ids.end());
  const auto num_tokens = static_cast<int64_t>(ids.size());
  const MoeSpec spec{.routed = true, .num_experts = kExperts, .top_k = kChoices};
  Stage one(test::ref(), 1), three(test::ref(), 3);
  const Routing a = route_hash(one.exec, spec, ids.data(), num_tokens);
  const Routing b = route_hash(three.exec, spec, ids.data(), num_tokens);
  std::vector<int64_t> firsts(kExperts, 0), all(kExperts, 0);
  std::set<std::set<int32_t>> combinations;
  for (int64_t t = 0; t < num_tokens; ++t) {
    std::set<int32_t> seen;
    for (int64_t k = 0; k < kChoices; ++k) {
      const int64_t i = t * kChoices + k;
      const int32_t id = a.topk_ids[i];
      ASSERT_TRUE(id >= 0 && id < kExperts && seen.insert(id).second);
      EXPECT_EQ(id, b.topk_ids[i]);
      EXPECT_EQ(id, a.topk_ids[i % (num_tokens / 2 * kChoices)]);
      EXPECT_FLOAT_EQ(a.topk_weights[i], 1.0f / 3);
      ++all[static_cast<size_t>(id)];
      firsts[static_cast<size_t>(id)] += k == 0;
    }
    combinations.insert(seen);
  }
  EXPECT_EQ(all, std::vector<int64_t>(kExperts, num_tokens * kChoices / kExperts));
  EXPECT_EQ(firsts, std::vector<int64_t>(kExperts, num_tokens / kExperts));
  EXPECT_GT(combinations.size(), 45u);  // of 56
}

}  // namespace
}  // namespace moxie
