#include "moe/permutation.h"

#include <algorithm>
#include <cstdint>

#include "base/error.h"

namespace moxie {

TokenPermutation permute_tokens(const Routing& routing, Arena& arena) {
  const int64_t num_pairs = routing.num_tokens * routing.top_k;
  MOXIE_CHECK(num_pairs <= INT32_MAX);
  TokenPermutation p;
  p.expert_begin = arena.alloc<int32_t>(routing.num_experts + 1);
  p.token_of = arena.alloc<int32_t>(num_pairs);
  p.row_of = arena.alloc<int32_t>(num_pairs);
  std::fill_n(p.expert_begin, routing.num_experts + 1, 0);
  for (int64_t i = 0; i < num_pairs; ++i) {
    if (routing.topk_ids[i] >= 0) ++p.expert_begin[routing.topk_ids[i] + 1];
  }
  for (int64_t e = 0; e < routing.num_experts; ++e) p.expert_begin[e + 1] += p.expert_begin[e];
  p.num_rows = p.expert_begin[routing.num_experts];

  Arena::Scope scope(arena);
  int32_t* next = arena.alloc<int32_t>(routing.num_experts);
  std::copy_n(p.expert_begin, routing.num_experts, next);
  for (int64_t i = 0; i < num_pairs; ++i) {
    const int32_t expert = routing.topk_ids[i];
    if (expert < 0) {
      p.row_of[i] = -1;
      continue;
    }
    const int32_t row = next[expert]++;
    p.row_of[i] = row;
    p.token_of[row] = static_cast<int32_t>(i / routing.top_k);
  }
  return p;
}

}  // namespace moxie
