// What a training step costs, from the ModelSpec and the shape of the batch: FLOPs a token, and the memory at its peak.
// Pure functions; nothing is measured. Not the cost of inference (accounting.h).
#pragma once

#include <cstdint>

#include "spec/model_spec.h"

namespace moxie {

/// FLOPs of training on one token: three times those of the forward pass, of which the backward pass is two.
struct TrainFlops {
  double matmul = 0;     // 6 for every active multiplied parameter: without the input embedding, with the head
  double attention = 0;  // 3 forward passes of attention over the positions that a token sees on average
  double total() const { return matmul + attention; }
};

/// Of sequences of `length` tokens: position s sees s positions, itself included, or its layer's window.
TrainFlops train_flops_per_token(const ModelSpec& spec, int64_t length);

/// What training keeps in memory beside the model.
struct TrainShape {
  int64_t batch = 1, length = 1;  // a micro batch: batch sequences of length tokens
  bool router_noise = false;      // learned noise on the router's logits
  bool router_jitter = false;
  bool dropout = false;
  int threads = 1;
};

/// Bytes at the peak of a training step in f32 (bf16 products hold no less: they round on the way). Mapped training
/// text and large tokenizers are not in it. Dropless routing.
struct TrainMemory {
  double parameters = 0;      // values, gradients and the two moments: 16 a parameter
  double residual = 0;        // input and middle of every layer, and three rows a token that all layers share
  double attention = 0;       // q, k, v and the output of every layer, before norms too where they are normed
  double experts = 0;         // gate and up of every row of every expert, shared and dense ones too
  double router = 0;          // logits, choices and the permutation
  double temporary = 0;       // the largest need of one moment: a layer forward, the head, or a layer backward
  double threads = 0;         // what each thread works in
  double process = 14 << 20;  // code, libraries, and what evaluation remembers of its routing
  double total() const { return parameters + residual + attention + experts + router + temporary + threads + process; }
};
TrainMemory train_memory(const ModelSpec& spec, const TrainShape& shape);

}  // namespace moxie
