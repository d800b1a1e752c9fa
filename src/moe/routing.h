// The router's verdict on a step: which experts each token visits, with what weight, and how close the call was.
#pragma once

#include "ops/exec.h"
#include "spec/model_spec.h"

namespace moxie {

/// One layer's routing of T tokens, in the step's arena. Permutation, experts, statistics, trace and page read this
/// one object.
struct Routing {
  int64_t num_tokens = 0;         // T
  int64_t num_experts = 0;        // E
  int64_t top_k = 0;              // K
  int32_t* topk_ids = nullptr;    // [T, K] in falling order of the selection score
  float* topk_weights = nullptr;  // [T, K]
  float* margin = nullptr;        // [T] selection score of the last chosen minus the best not chosen; infinite if K = E
};

/// Chooses experts from router logits [T, E] by the router record. `expert_bias` [E] joins the score for the choice
/// only; null without select_bias. Equal scores go to the lower expert id: two ranks, or two kernel sets, must choose
/// alike from the same logits. Cost: O(T * E * K). Sources: facts stand at each rule in routing.cpp.
Routing route(Exec& exec, const MoeSpec& spec, const float* logits, int64_t num_tokens, const float* expert_bias);

}  // namespace moxie
