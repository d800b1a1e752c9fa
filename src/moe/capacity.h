// Capacity: how many rows an expert takes at most, and what becomes of those beyond. Changes a Routing, moves no data.
#pragma once

#include "moe/routing.h"
#include "moe/train_options.h"

namespace moxie {

struct CapacityResult {
  int64_t capacity = 0;  // rows an expert takes; 0: dropless
  int64_t dropped = 0;   // choices that found no place: id -1, weight 0
  int64_t rerouted = 0;  // choices that went to another expert (their own weight is kept)
};

/// Applies capacity_factor to a routing: all first choices are placed before any second one; within a choice rank by
/// Priority. next_choice tries experts in falling order of `logits`, least_loaded the emptiest expert that the token
/// does not use yet; both drop when there is none. Depends on ids and logits alone. O(T K log T + reroutes * E).
CapacityResult apply_capacity(const RouterTraining& options, const float* logits, Routing& routing, Arena& arena);

/// Expert choice: each expert takes its floor(T / E * factor) best tokens by softmax score (factor = capacity_factor,
/// 0: top_k). Returned with top_k = E: column e of a token is e, or -1; weights are the scores.
Routing route_expert_choice(Exec& exec, const MoeSpec& spec, const RouterTraining& options, const float* logits,
                            int64_t num_tokens);

/// Hash routing: K different experts from the token id, weights 1 / K.
Routing route_hash(Exec& exec, const MoeSpec& spec, const int32_t* token_ids, int64_t num_tokens);

}  // namespace moxie
