// The tensors of a model as a GGUF file has them: names, shapes, and which weights their rows are made of. The way back
// from model/gguf_weights.
#pragma once

#include <string>
#include <vector>

#include "model/row_source.h"
#include "model/weights.h"
#include "spec/gguf_export.h"

namespace moxie {

struct GgufRows {
  std::string name;
  Shape shape;
  RowSource rows;
};

/// Every tensor of a model of that spec, in the order of its layers; experts are stacked [E, F, H], the latent's kv_b
/// stands in two, rows of q and k in the order the architecture asks for. Rows point into `weights` (bound for `spec`)
/// and what they point to. Without weights (null) rows are empty, but for rotary factors, which the spec has.
std::vector<GgufRows> gguf_tensors(const ModelSpec& spec, const GgufExport& made, const ModelWeights* weights);

}  // namespace moxie
