// The attention block of one layer: projections, rotary embedding, the KV cache, attention itself, output projection.
#pragma once

#include "model/kv_cache.h"
#include "model/step.h"
#include "model/weights.h"

namespace moxie {

/// What the attention of every layer of a step shares, in the step's arena.
struct AttentionStep {
  std::span<const StepSequence> sequences;
  int64_t num_tokens = 0;             // T, over all sequences
  const int32_t* position = nullptr;  // [T]
  const int32_t* sequence = nullptr;  // [T] which sequence a row belongs to
  const float* cos = nullptr;         // [T, rope.dim / 2]
  const float* sin = nullptr;
};

/// y [T, H] = attention of x [T, H]; writes the keys and values of the step's tokens into the cache.
void attention_block(Exec& exec, const ModelSpec& spec, int64_t layer, const AttentionWeights& weights, KvCache& cache,
                     const AttentionStep& step, const float* x, float* y);

}  // namespace moxie
