// Rows in expert order: the permutation between tokens and the rows that experts work on. Pure counting, no data moves.
#pragma once

#include "base/arena.h"
#include "moe/routing.h"

namespace moxie {

/// Where each (token, choice) pair stands once the rows of one expert lie side by side. In the step's arena.
struct TokenPermutation {
  int64_t num_rows = 0;             // R: choices that were not dropped
  int32_t* expert_begin = nullptr;  // [E + 1] rows of expert e are [expert_begin[e], expert_begin[e + 1])
  int32_t* token_of = nullptr;      // [R] token of each row
  int32_t* row_of = nullptr;        // [T, K] row of each choice; -1: dropped
};

/// Groups (token, choice) pairs by expert: a stable counting sort, so inside an expert rows keep token order. Depends
/// on topk_ids alone, never on threads. A choice with id -1 gets no row. Cost: two passes over topk_ids, O(T * K + E).
/// T * K is at most INT32_MAX. Source: Gale et al., MegaBlocks (arXiv 2211.15841).
TokenPermutation permute_tokens(const Routing& routing, Arena& arena);

}  // namespace moxie
