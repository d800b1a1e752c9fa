// The permutation between tokens and rows in expert order: complete, stable, and its own inverse.
#include "moe/permutation.h"

#include <gtest/gtest.h>

#include "kernels/support.h"

namespace moxie {
namespace {

Routing routing_of(std::vector<int32_t>& ids, int64_t num_experts, int64_t top_k) {
  return {.num_tokens = static_cast<int64_t>(ids.size()) / top_k,
          .num_experts = num_experts,
          .top_k = top_k,
          .topk_ids = ids.data()};
}

// All that defines it: each pair has one row, in its expert's range, and rows of an expert keep the order of pairs.
void expect_permutation(const Routing& routing, const TokenPermutation& p) {
  const int64_t pairs = routing.num_tokens * routing.top_k;
  ASSERT_EQ(p.num_rows, pairs);
  ASSERT_EQ(p.expert_begin[0], 0);
  ASSERT_EQ(p.expert_begin[routing.num_experts], pairs);
  std::vector<int> visits(static_cast<size_t>(pairs), 0);
  std::vector<int32_t> next(p.expert_begin, p.expert_begin + routing.num_experts);
  for (int64_t i = 0; i < pairs; ++i) {
    const auto expert = static_cast<size_t>(routing.topk_ids[i]);
    const int32_t row = p.row_of[i];
    ASSERT_EQ(row, next[expert]++);  // stable
    ++visits[static_cast<size_t>(row)];
    ASSERT_EQ(p.token_of[row], i / routing.top_k);
  }
  for (int64_t e = 0; e < routing.num_experts; ++e) ASSERT_EQ(next[static_cast<size_t>(e)], p.expert_begin[e + 1]);
  for (const int count : visits) ASSERT_EQ(count, 1);
}

TEST(TokenPermutation, groups_rows_by_expert_in_token_order) {
  std::vector<int32_t> ids = {2, 0, 0, 3, 2, 0};  // three tokens, two experts each
  const Routing routing = routing_of(ids, 5, 2);
  Arena arena;
  const TokenPermutation p = permute_tokens(routing, arena);
  EXPECT_EQ(std::vector<int32_t>(p.expert_begin, p.expert_begin + 6), (std::vector<int32_t>{0, 3, 3, 5, 6, 6}));
  EXPECT_EQ(std::vector<int32_t>(p.token_of, p.token_of + 6), (std::vector<int32_t>{0, 1, 2, 0, 2, 1}));
  EXPECT_EQ(std::vector<int32_t>(p.row_of, p.row_of + 6), (std::vector<int32_t>{3, 0, 1, 5, 4, 2}));
}

TEST(TokenPermutation, gives_a_dropped_choice_no_row) {
  std::vector<int32_t> ids = {2, -1, 0, -1, -1, 2};
  const Routing routing = routing_of(ids, 3, 2);
  Arena arena;
  const TokenPermutation p = permute_tokens(routing, arena);
  EXPECT_EQ(p.num_rows, 3);
  EXPECT_EQ(std::vector<int32_t>(p.expert_begin, p.expert_begin + 4), (std::vector<int32_t>{0, 1, 1, 3}));
  EXPECT_EQ(std::vector<int32_t>(p.token_of, p.token_of + 3), (std::vector<int32_t>{1, 0, 2}));
  EXPECT_EQ(std::vector<int32_t>(p.row_of, p.row_of + 6), (std::vector<int32_t>{1, -1, 0, -1, -1, 2}));
}

TEST(TokenPermutation, of_no_tokens_is_empty) {
  std::vector<int32_t> ids;
  Arena arena;
  expect_permutation(routing_of(ids, 8, 2), permute_tokens(routing_of(ids, 8, 2), arena));
}

TEST(TokenPermutation, one_hot_expert_keeps_every_token_in_order) {
  std::vector<int32_t> ids(1000, 6);
  const Routing routing = routing_of(ids, 8, 1);
  Arena arena;
  const TokenPermutation p = permute_tokens(routing, arena);
  expect_permutation(routing, p);
  for (int32_t i = 0; i < 1000; ++i) ASSERT_EQ(p.token_of[i], i);
}

TEST(TokenPermutation, is_complete_stable_and_inverse_for_any_routing) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    test::Random random(seed);
    const int64_t experts = 1 + random.below(40), k = 1 + random.below(std::min<int64_t>(experts, 8));
    const int64_t tokens = random.below(100), hot = 1 + random.below(experts);  // ids below `hot` alone: empty experts
    std::vector<int32_t> ids(static_cast<size_t>(tokens * k));
    for (int32_t& id : ids) id = static_cast<int32_t>(random.below(hot));
    const Routing routing = routing_of(ids, experts, k);
    Arena arena;
    SCOPED_TRACE(seed);
    expect_permutation(routing, permute_tokens(routing, arena));
  }
}

// Rows are numbered in 32 bits; the check comes before a choice is read.
TEST(TokenPermutationDeathTest, refuses_more_choices_than_rows_can_number) {
  const Routing routing{.num_tokens = int64_t{1} << 28, .num_experts = 8, .top_k = 8};
  Arena arena;
  EXPECT_DEATH(permute_tokens(routing, arena), "CHECK failed: num_pairs <= INT32_MAX");
}

// What it leaves in the arena is what it returns: its counters are given back.
TEST(TokenPermutation, leaves_no_scratch_behind) {
  std::vector<int32_t> ids(64, 1);
  Arena arena;
  const TokenPermutation p = permute_tokens(routing_of(ids, 16, 1), arena);
  expect_permutation(routing_of(ids, 16, 1), p);
  EXPECT_EQ(arena.alloc_bytes(1), reinterpret_cast<char*>(p.row_of) + 64 * sizeof(int32_t));
}

}  // namespace
}  // namespace moxie
