// Next-token cross-entropy over rows of logits: loss and gradient in one pass, in place.
#pragma once

#include <cstdint>

#include "ops/exec.h"

namespace moxie {

/// For each row with targets[row] >= 0: losses[row] = -log softmax(logits[row])[target] and logits[row] becomes
/// scale * (softmax - onehot). Rows with target -1: loss 0, gradient 0. logits [num_rows, n].
void cross_entropy(Exec& exec, float* logits, int64_t num_rows, int64_t n, const int32_t* targets, float scale,
                   float* losses);

}  // namespace moxie
