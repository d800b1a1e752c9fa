// The weights of a model as the tensors of its family's checkpoint: names, shapes, and values row by row. Writes
// nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/weights.h"

namespace moxie {

/// One tensor of a checkpoint.
struct HfTensor {
  std::string name;
  Shape shape;
  bool stays_f32 = false;   // whatever the others are stored as: a selection bias
  int64_t layer = -1;       // -1: not of a layer
  int64_t expert = -1;      // the routed expert it is of, or the first of a stack; -1: of none
  int64_t num_experts = 0;  // 1, or those of a stack [E, ...]: its rows are theirs in equal shares
  /// Rows [begin, end) of the last dimension (all others counted through) as f32. One thread at a time; a stack that
  /// stands transposed holds one expert, so that going through it in order costs each value once.
  std::function<void(int64_t begin, int64_t end, float* out)> read_rows;

  int64_t num_rows() const { return shape.num_elems() / shape.back(); }
};

/// Every tensor, layer after layer. `weights` are bound to `bound`, the spec they came with; `family` is the same
/// architecture with the names of its checkpoints. Rows of q and k that a GGUF file holds in the order of interleaved
/// pairs go back to halves. The result points into `weights`.
std::vector<HfTensor> hf_tensors(const ModelSpec& family, const ModelSpec& bound, ModelWeights& weights);

}  // namespace moxie
