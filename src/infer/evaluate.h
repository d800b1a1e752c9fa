// Evaluation: how well a model predicts given tokens, and raw logits for whoever wants to compare them.
#pragma once

#include <functional>
#include <vector>

#include "infer/engine.h"

namespace moxie {

struct EvalOptions {
  int64_t context = 0;  // N: predictions a window
  int64_t stride = 0;   // N: windows side by side; below N they overlap, and only new tokens count
};

struct EvalResult {
  int64_t tokens = 0;           // predicted
  double nats = 0;              // summed
  std::vector<bool> predicted;  // [number of ids] which tokens were predicted
};

/// Cross-entropy of `ids`: window i reads tokens s*i .. s*i + N (s the stride) and predicts every one but its first; a
/// last short window is dropped. Several windows share a step. `progress` gets the share done, 0 to 1.
/// Throws Error{usage} for a stride above the context or a context beyond the model's, Error{invalid} if `ids` has no
/// full window.
EvalResult evaluate(Engine& engine, std::span<const int32_t> ids, const EvalOptions& options,
                    const std::function<void(double)>& progress);

/// -log softmax(logits)[id], in double. Throws Error{runtime} if a logit is NaN.
double negative_log_likelihood(std::span<const float> logits, int32_t id);

/// Logits of every position of one sequence: writes [S, V] to `out`.
void all_logits(Engine& engine, std::span<const int32_t> ids, float* out);

}  // namespace moxie
