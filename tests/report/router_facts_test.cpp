// The router record in words.
#include "report/router_facts.h"

#include <gtest/gtest.h>

namespace moxie {
namespace {

using Facts = std::vector<std::pair<std::string, std::string>>;

TEST(RouterFacts, names_only_what_a_router_has) {
  EXPECT_EQ(router_facts({.num_experts = 16, .top_k = 2, .moe_intermediate_size = 192, .norm_topk_prob = true}),
            (Facts{{"experts", "16"},
                   {"top-k", "2"},
                   {"score", "softmax"},
                   {"weights", "renormalised"},
                   {"expert width", "192"}}));
  EXPECT_EQ(router_facts({.num_experts = 256,
                          .top_k = 8,
                          .moe_intermediate_size = 2048,
                          .score = Score::sigmoid,
                          .select_bias = true,
                          .groups = GroupScore::top2_sum,
                          .num_expert_groups = 8,
                          .topk_groups = 4,
                          .routed_scaling_factor = 2.5,
                          .shared = SharedExpert::plain,
                          .shared_intermediate_size = 2048}),
            (Facts{{"experts", "256"},
                   {"top-k", "8"},
                   {"score", "sigmoid"},
                   {"scaled by", "2.5"},
                   {"chosen with", "a bias per expert"},
                   {"groups", "4 of 8, by their best two"},
                   {"shared expert", "width 2048"},
                   {"expert width", "2048"}}));
  EXPECT_EQ(router_facts({.num_experts = 4, .top_k = 1, .score_before_topk = false})[2].second,
            "softmax of the chosen");
}

}  // namespace
}  // namespace moxie
