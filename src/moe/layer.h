// One MoE layer: router, routing, permutation, experts, combine. A dense FFN is the same with one expert and no router.
#pragma once

#include "moe/experts.h"
#include "moe/permutation.h"
#include "moe/routing.h"

namespace moxie {

/// The weights of one feed-forward block.
struct MoeWeights {
  View router;                         // [E, H]; empty: dense
  const float* router_bias = nullptr;  // [E]
  const float* expert_bias = nullptr;  // [E] joins the selection only
  ExpertBank bank;
  Expert shared;      // present if spec.shared != none
  View shared_gate;   // [1, H] for SharedExpert::sigmoid_gated
  View router_noise;  // [E, H] learned noise scale, in training with RouterNoise::gaussian only
};

/// What a layer leaves for statistics, trace and taps. In the step's arena; empty for a dense block.
struct MoeStep {
  const float* router_logits = nullptr;  // [T, E]
  Routing routing;
};

/// y [T, H] = the block's output for x [T, H] (both f32, not overlapping).
MoeStep moe_layer(Exec& exec, const MoeSpec& spec, const MoeWeights& weights, const float* x, int64_t num_tokens,
                  float* y);

}  // namespace moxie
