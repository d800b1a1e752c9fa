// One feed-forward block in training: forward that keeps what backward needs, and backward. The inference layer beside
// it (layer.h) computes the same function; this one works on f32 weights that lie in a Parameters block.
#pragma once

#include "base/rng.h"
#include "moe/layer.h"
#include "moe/train_options.h"
#include "ops/gradients.h"
#include "ops/matmul.h"

namespace moxie {

/// What a step's layers share.
struct TrainContext {
  Exec& exec;
  Precision precision = Precision::f32;
  RouterTraining router;
  int64_t num_tokens = 0;              // T
  int64_t sequence_length = 0;         // S
  const int32_t* token_ids = nullptr;  // [T], for hash routing
  Rng rng{0, 0};                       // of this step and micro batch; a layer uses rng.at(layer)
  bool training = true;  // false (evaluation): no noise, no capacity unless asked for; as inference routes
};

/// What one block keeps from forward to backward, in the arena. Empty routing and logits for a dense block.
struct MoeSaved {
  const float* router_x = nullptr;  // [T, H] jittered input of the router; null: the input itself
  float* logits = nullptr;          // [T, E] as scored
  float* noise_scale = nullptr;     // [T, E] x W_noise, RouterNoise::gaussian only
  Routing chosen;   // as the router chose, before capacity: what losses, statistics and gradients of the router read
  Routing routing;  // as it ran: `chosen` itself if nothing was dropped or sent elsewhere
  TokenPermutation permutation;
  float *gate = nullptr, *up = nullptr;                // [R, F] before the activation, biases included
  float *shared_gate = nullptr, *shared_up = nullptr;  // [T, Fs]
  float* shared_logit = nullptr;                       // [T] of the sigmoid gate of the shared expert
  int64_t* demand = nullptr;                           // [E] assignments before capacity
  int64_t dropped = 0, rerouted = 0;
};

/// y [T, H] = block(x [T, H]). `layer` numbers the random streams.
MoeSaved moe_forward(const TrainContext& context, const MoeSpec& spec, const MoeWeights& weights, int64_t layer,
                     const float* x, float* y);

/// From dy [T, H]: dx [T, H] += gradient of x, and the weights' gradients added to `gradients`. d_logits [T, E] holds
/// the gradient of the balance losses on entry (zeros if there are none) and is used up; null for a dense block.
/// saved.gate and saved.up are overwritten. x is what moe_forward got.
void moe_backward(const TrainContext& context, const MoeSpec& spec, const MoeWeights& weights, int64_t layer,
                  const MoeSaved& saved, const float* x, const float* dy, float* d_logits, const Gradients& gradients,
                  float* dx);

}  // namespace moxie
