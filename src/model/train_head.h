// Both ends of the model in training: tokens to rows and rows to losses, forward and backward. Knows no layers.
#pragma once

#include "model/weights.h"
#include "ops/gradients.h"
#include "ops/matmul.h"

namespace moxie {

/// x [T, H] = rows of the embedding, multiplied.
void embed_forward(Exec& exec, const ModelSpec& spec, const ModelWeights& weights, std::span<const int32_t> tokens,
                   float* x);

/// The embedding's gradient from dx [T, H]; tokens are taken in order, so its bits do not depend on threads.
void embed_backward(Exec& exec, const ModelSpec& spec, const ModelWeights& weights, std::span<const int32_t> tokens,
                    const float* dx, const Gradients& gradients);

/// The head's work on normed rows [T, H]. Logits are made and used up a few rows at a time: memory for them stays
/// below 32 MiB (or 64 rows).
struct HeadLoss {
  std::span<const int32_t> targets;      // [T], -1: no loss here
  double scale = 0;                      // of each loss in the gradient
  float* losses = nullptr;               // [T]
  const Gradients* gradients = nullptr;  // null: losses only
  float* d_normed = nullptr;             // [T, H] = gradient of the rows, with gradients only
};
void head_loss(Exec& exec, Precision precision, const ModelSpec& spec, const ModelWeights& weights, const float* normed,
               const HeadLoss& loss);

/// logits [num_rows, V] of normed rows.
void head_logits(Exec& exec, Precision precision, const ModelSpec& spec, const ModelWeights& weights,
                 const float* normed, int64_t num_rows, float* logits);

}  // namespace moxie
