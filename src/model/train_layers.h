// One layer of the model in training, forward and backward, and the steps between its blocks: residual additions,
// dropout, norms. Knows neither ends of the model nor losses.
#pragma once

#include "model/train_attention.h"
#include "moe/train_layer.h"

namespace moxie {

/// One call of the model: what its parts share.
struct TrainRun {
  Exec& exec;
  const ModelSpec& spec;
  const ModelWeights& weights;
  TrainSequences sequences;
  TrainContext context;
  Rng dropout;
  float dropout_rate = 0;
  float* normed = nullptr;  // [T, H] input of the block at work: one place, in forward as in backward
  float* y = nullptr;       // [T, H] its output, or the gradient of its input

  int64_t num_tokens() const { return sequences.num_tokens(); }
  int64_t floats() const { return num_tokens() * spec.hidden_size; }
  const MoeSpec& ffn(int64_t layer) const { return spec.layers[static_cast<size_t>(layer)].ffn; }
};

/// What a layer keeps from forward to backward, in the arena.
struct TrainLayerSaved {
  float* x_in = nullptr;   // [T, H]
  float* x_mid = nullptr;  // [T, H] after attention
  AttentionSaved attention;
  MoeSaved ffn;
};

inline constexpr int64_t kEmbeddingMask = 0;  // number of the embedding's dropout mask; layers have theirs behind it

/// out = [x +] factor * y, with y thinned out by dropout mask number `mask`; x null: without it. In place is allowed.
void add_branch(const TrainRun& run, const float* x, const float* y, float factor, int64_t mask, float* out);

/// y = norm of x [T, H].
void norm_rows(const TrainRun& run, const NormWeights& norm, const float* x, float* y);
/// dx += gradient of the norm's input x from dy.
void norm_rows_backward(const TrainRun& run, const NormWeights& norm, const float* x, const float* dy,
                        const Gradients& gradients, float* dx);

/// x_out = the layer's output for saved.x_in; sets the rest of `saved`. x_mid and x_out may be x_in where nothing is
/// kept for backward.
void layer_forward(const TrainRun& run, int64_t layer, TrainLayerSaved& saved, float* x_out);

/// dx [T, H]: gradient of the layer's output, then of its input. d_logits as moe_backward takes it.
void layer_backward(const TrainRun& run, int64_t layer, const TrainLayerSaved& saved, float* d_logits,
                    const Gradients& gradients, float* dx);

}  // namespace moxie
