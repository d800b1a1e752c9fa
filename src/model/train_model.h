// The transformer in training: loss and gradients of a batch of whole sequences. Knows no optimizer, data or files.
#pragma once

#include <memory>
#include <vector>

#include "model/parameters.h"
#include "model/step.h"
#include "moe/losses.h"
#include "moe/stats.h"
#include "moe/train_layer.h"

namespace moxie {

/// B sequences of S tokens each, side by side.
struct TrainBatch {
  int64_t batch = 0, length = 0;
  std::span<const int32_t> tokens;   // [B * S]
  std::span<const int32_t> targets;  // [B * S] the token that follows, or -1: no loss here
};

struct TrainOptions {
  Precision precision = Precision::f32;
  RouterTraining router;
  AuxLoss aux;
  float dropout = 0;        // on the embedding and on both branches of every layer
  uint64_t seed = 0;        // of noise and dropout
  int64_t step = 0;         // counts into the random streams
  int64_t micro_batch = 0;  // index of this micro batch within the step; 0 starts the gradient anew
  int64_t num_micro_batches = 1;
  double loss_scale =
      0;  // weight of each target's loss in the gradient: 1 / targets of the whole step; 0: 1 / targets here
};

struct TrainResult {
  double loss_sum = 0;  // nats, over targets
  int64_t num_targets = 0;
  double aux = 0, z = 0;  // losses of this micro batch before their coefficients
  int64_t dropped = 0, rerouted = 0;
  bool finite = true;  // of the loss
};

/// Receives each layer's routing as the forward pass makes it, as in inference (model/step.h): RoutingSink.

/// Runs batches through a Parameters. Holds threads' scratch and rotary tables; one caller at a time.
class TrainModel {
 public:
  /// `parameters` must outlive it. Throws Error{invalid} for an architecture that cannot be trained, naming the part.
  TrainModel(const Parameters& parameters, const KernelSet& kernels, ThreadPool& pool);
  ~TrainModel();

  /// Loss of the batch, and its gradient in `gradients` (a block of the layout): micro batch 0 overwrites what stood
  /// there, later ones add to it. Adds each MoE layer's routing to
  /// `stats` (one a layer, reset by the caller at the start of a step: for AuxScope::global_batch they are the counts
  /// of the step so far).
  TrainResult forward_backward(const TrainBatch& batch, const TrainOptions& options, float* gradients,
                               std::vector<MoeStats>& stats);

  /// Loss only, routing as in inference (no noise, no dropout, capacity as `options.router` says). `losses` [B * S] if
  /// not null: each target's loss. `sink` may be null.
  TrainResult evaluate(const TrainBatch& batch, const TrainOptions& options, std::vector<MoeStats>& stats,
                       float* losses = nullptr, RoutingSink* sink = nullptr);

  /// Logits [B * S, V] of a batch, for tests and exports; valid until the next call.
  const float* logits(const TrainBatch& batch, const TrainOptions& options);

  /// Name of the first parameter with a value in `block` that is not finite, or empty.
  std::string first_not_finite(const float* block) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace moxie
