// The projections of multi-head latent attention in training, expanded to full heads, forward and backward. Attention
// itself and the output projection stand in train_attention.cpp.
#pragma once

#include "model/train_attention.h"

namespace moxie {

/// Gradients of what attention took, in the arena.
struct AttentionGradients {
  float *q = nullptr, *k = nullptr, *v = nullptr;
};

/// Queries, keys and values of x [T, H]: head h of a key is [nope, rope], the rotated part shared by all heads
/// (DeepSeek-V2, arXiv 2405.04434, section 2.1). All but saved.out is set.
AttentionSaved latent_forward(Exec& exec, const TrainSequences& sequences, const ModelSpec& spec,
                              const AttentionWeights& weights, const float* x);

/// dx [T, H] = gradient of x, weights' gradients added; d is used up.
void latent_backward(Exec& exec, const TrainSequences& sequences, const ModelSpec& spec,
                     const AttentionWeights& weights, const AttentionSaved& saved, const float* x,
                     const AttentionGradients& d, const Gradients& gradients, float* dx);

}  // namespace moxie
