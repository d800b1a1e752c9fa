// Measures of specialisation against numbers worked out by hand.
#include "moe/measures.h"

#include <gtest/gtest.h>

namespace moxie {
namespace {

struct Choices {
  std::vector<int32_t> ids;
  int64_t top_k;
  Routing routing(int64_t num_experts) {
    return {static_cast<int64_t>(ids.size()) / top_k, num_experts, top_k, ids.data(), nullptr, nullptr};
  }
};

TEST(RouterSaturation, is_the_mean_share_of_experts_kept_in_any_order) {
  RouterSaturation saturation;
  EXPECT_EQ(saturation.mean(), 0);
  Choices early{{0, 1, 2, 3, 1, 2}, 2}, late{{1, 0, 3, 4, 0, 3}, 2};  // both, one, none
  saturation.add(early.routing(5), late.routing(5));
  EXPECT_DOUBLE_EQ(saturation.mean(), 0.5);
  saturation.add(late.routing(5), late.routing(5));
  EXPECT_DOUBLE_EQ(saturation.mean(), 0.75);
}

TEST(RouterSaturation, of_a_dropped_choice_is_not_kept) {
  RouterSaturation saturation;
  Choices early{{0, -1}, 2}, late{{0, -1}, 2};
  saturation.add(early.routing(3), late.routing(3));
  EXPECT_DOUBLE_EQ(saturation.mean(), 0.5);
}

TEST(CoActivationCounts, is_the_share_of_one_experts_tokens_that_visit_the_other) {
  CoActivationCounts pairs;
  pairs.reset(4);
  Choices choices{{0, 1, 0, 2, 1, 0, 0, -1}, 2};
  pairs.add(choices.routing(4));
  EXPECT_DOUBLE_EQ(pairs.share(0, 1), 0.5);
  EXPECT_DOUBLE_EQ(pairs.share(1, 0), 1);
  EXPECT_DOUBLE_EQ(pairs.share(0, 2), 0.25);
  EXPECT_DOUBLE_EQ(pairs.share(2, 1), 0);
  EXPECT_DOUBLE_EQ(pairs.share(3, 0), 0);  // dead
  EXPECT_DOUBLE_EQ(pairs.share(0, 0), 1);
}

TEST(Specialisation, is_the_share_of_a_classs_tokens_that_visit_an_expert) {
  Specialisation domains;
  domains.reset(3, 4);
  Choices choices{{0, 1, 0, 2, 3, 0, 1, 2}, 2};
  const int32_t classes[] = {0, 0, 1, -1};
  domains.add(choices.routing(4), classes);
  EXPECT_EQ(domains.tokens, (std::vector<int64_t>{2, 1, 0}));
  EXPECT_DOUBLE_EQ(domains.share(0, 0), 1);
  EXPECT_DOUBLE_EQ(domains.share(0, 1), 0.5);
  EXPECT_DOUBLE_EQ(domains.share(0, 3), 0);
  EXPECT_DOUBLE_EQ(domains.share(1, 3), 1);
  EXPECT_DOUBLE_EQ(domains.share(2, 0), 0);
  double sum = 0;
  for (int64_t e = 0; e < 4; ++e) sum += domains.share(0, e);
  EXPECT_DOUBLE_EQ(sum, 2);  // K
}

}  // namespace
}  // namespace moxie
