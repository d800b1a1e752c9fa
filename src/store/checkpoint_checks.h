// What can be said of a checkpoint's bytes without knowing the model: its identity, and its NaN and infinities.
#pragma once

#include <cstdint>
#include <string>

#include "store/safetensors.h"

namespace moxie {

/// An identity of the weights, 16 hex digits: names, formats, shapes, and the first and last 4 KiB of every tensor.
/// The same whether the tensors lie in one file or in shards. It tells models apart cheaply (two pages a tensor are
/// read); it is no checksum, since bytes inside large tensors do not count, and no protection against forgery.
std::string checkpoint_hash(const Checkpoint& checkpoint);

/// Values that are NaN or infinite (or the NaN scale of e8m0) in one tensor.
struct NonFinite {
  int64_t count = 0;
  int64_t first = -1;  // index of the first one in row-major order; -1: none
};

/// Reads every element: memory bandwidth. Formats without NaN and infinity count none.
NonFinite count_non_finite(const View& view);

/// Error{invalid} naming file, tensor, count and first index, at the first tensor that has any. Reads all weights.
void require_finite(const Checkpoint& checkpoint);

}  // namespace moxie
