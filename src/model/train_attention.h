// The attention block of one layer in training: forward over whole sequences, and backward. The inference block beside
// it (attention.h) computes the same function over a cache; latent attention here is expanded to full heads.
#pragma once

#include "model/weights.h"
#include "ops/gradients.h"
#include "ops/train_attention.h"

namespace moxie {

/// What the attention of every layer of a batch shares. Row t = b * length + s stands at position s.
struct TrainSequences {
  int64_t batch = 0, length = 0;
  Precision precision = Precision::f32;
  const float* cos = nullptr;           // [S, rope.dim / 2]
  const float* sin = nullptr;           // [S, rope.dim / 2]
  const float* negative_sin = nullptr;  // [S, rope.dim / 2] of the rotation back

  int64_t num_tokens() const { return batch * length; }
};

/// What one block keeps from forward to backward, in the arena.
struct AttentionSaved {
  float *q = nullptr, *k = nullptr, *v = nullptr;  // as attention takes them: normed, clipped, rotated
  float* out = nullptr;                            // [T, heads * v_dim] what attention gave
  float *q_raw = nullptr, *k_raw = nullptr;        // projections before norm and clip, where there is one
  float* q_latent = nullptr;                       // mla: [T, q_lora_rank] before its norm
  float* kv_latent = nullptr;                      // mla: [T, kv_lora_rank + rope] before norm and rotation
};

/// y [T, H] = attention block of x [T, H] (normed by the caller).
AttentionSaved train_attention_forward(Exec& exec, const TrainSequences& sequences, const ModelSpec& spec,
                                       int64_t layer, const AttentionWeights& weights, const float* x, float* y);

/// From dy [T, H]: dx [T, H] = gradient of x (overwritten), and the weights' gradients added to `gradients`.
void train_attention_backward(Exec& exec, const TrainSequences& sequences, const ModelSpec& spec, int64_t layer,
                              const AttentionWeights& weights, const AttentionSaved& saved, const float* x,
                              const float* dy, const Gradients& gradients, float* dx);

}  // namespace moxie
