// Routing statistics against numbers worked out by hand.
#include "moe/stats.h"

#include <gtest/gtest.h>

#include <cmath>

namespace moxie {
namespace {

struct Step {
  std::vector<int32_t> ids;
  std::vector<float> weights, margins;
  Routing routing(int64_t num_experts) {
    const auto tokens = static_cast<int64_t>(margins.size());
    return {tokens, num_experts, static_cast<int64_t>(ids.size()) / tokens, ids.data(), weights.data(), margins.data()};
  }
};

MoeStats stats_of(int64_t num_experts, std::initializer_list<Step> steps) {
  MoeStats stats;
  stats.reset(num_experts);
  for (Step step : steps) stats.add(step.routing(num_experts));
  return stats;
}

TEST(MoeStats, sums_what_each_expert_got_over_steps) {
  const MoeStats stats = stats_of(4, {{{0, 1, 0, 3}, {0.75f, 0.25f, 0.5f, 0.5f}, {0.5f, 0.25f}},  //
                                      {{1, 0}, {0.125f, 0.875f}, {1.0f}}});
  EXPECT_EQ(stats.num_tokens, 3);
  EXPECT_EQ(stats.tokens_per_expert, (std::vector<int64_t>{3, 2, 0, 1}));
  EXPECT_EQ(stats.weight_mass, (std::vector<double>{2.125, 0.375, 0, 0.5}));
  EXPECT_EQ(stats.dead_experts(), 1);
  EXPECT_DOUBLE_EQ(stats.max_over_mean(), 3 / 1.5);  // six assignments over four experts
  // shares 1/2, 1/3, 0, 1/6
  EXPECT_DOUBLE_EQ(stats.entropy(), (std::log(2.0) / 2 + std::log(3.0) / 3 + std::log(6.0) / 6) / std::log(4.0));
  EXPECT_DOUBLE_EQ(stats.margin_sum, 1.75);
  EXPECT_DOUBLE_EQ(stats.mean_margin(), 1.75 / 3);
  EXPECT_EQ(stats.margin_min, 0.25f);
}

TEST(MoeStats, entropy_is_one_at_balance_and_zero_when_one_takes_all) {
  const MoeStats even = stats_of(4, {{{0, 1, 2, 3}, {1, 1, 1, 1}, {1, 1, 1, 1}}});
  EXPECT_DOUBLE_EQ(even.entropy(), 1);
  EXPECT_DOUBLE_EQ(even.max_over_mean(), 1);
  EXPECT_EQ(even.dead_experts(), 0);
  const MoeStats one = stats_of(4, {{{2, 2, 2, 2}, {1, 1, 1, 1}, {1, 1, 1, 1}}});
  EXPECT_DOUBLE_EQ(one.entropy(), 0);
  EXPECT_DOUBLE_EQ(one.max_over_mean(), 4);
  EXPECT_EQ(one.dead_experts(), 3);
}

TEST(MoeStats, infinite_margins_count_in_no_mean) {
  const MoeStats stats = stats_of(2, {{{0, 1, 1, 0}, {1, 1, 1, 1}, {INFINITY, INFINITY}}});
  EXPECT_EQ(stats.mean_margin(), 0);
  EXPECT_EQ(stats.margin_min, INFINITY);
}

TEST(MoeStats, of_no_tokens_are_those_of_balance) {
  const MoeStats stats = stats_of(8, {});
  EXPECT_EQ(stats.entropy(), 1);
  EXPECT_EQ(stats.max_over_mean(), 1);
  EXPECT_EQ(stats.mean_margin(), 0);
  EXPECT_EQ(stats.dead_experts(), 8);
}

TEST(MoeStats, count_what_a_capacity_did_beside_the_choices) {
  MoeStats stats;
  stats.reset(2);
  Step first{{0, -1, 1, 0}, {0.5f, 0, 0.25f, 0.25f}, {INFINITY, INFINITY}};
  stats.add(first.routing(2), 1, 2);
  stats.add(first.routing(2), 3);
  EXPECT_EQ(stats.tokens_per_expert, (std::vector<int64_t>{4, 2}));  // -1 is no one's
  EXPECT_EQ(stats.dropped, 4);
  EXPECT_EQ(stats.rerouted, 2);
  EXPECT_DOUBLE_EQ(stats.max_vio(), 1.0 / 3);
}

TEST(MoeStats, reset_forgets_all) {
  MoeStats stats;
  stats.reset(4);
  Step step{{0}, {1}, {0.5f}};
  stats.add(step.routing(4), 1, 1);
  stats.reset(3);
  EXPECT_EQ(stats.num_tokens, 0);
  EXPECT_EQ(stats.tokens_per_expert, std::vector<int64_t>(3, 0));
  EXPECT_EQ(stats.weight_mass, std::vector<double>(3, 0));
  EXPECT_EQ(stats.margin_sum, 0);
  EXPECT_EQ(stats.dropped + stats.rerouted, 0);
  EXPECT_EQ(stats.margin_min, INFINITY);
}

}  // namespace
}  // namespace moxie
