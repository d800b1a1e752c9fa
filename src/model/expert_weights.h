// Binds the feed-forward block of one layer, whichever way its experts are stored.
#pragma once

#include "model/binder.h"

namespace moxie {

/// `prefix` is the layer's: "model.layers.3.".
MoeWeights bind_ffn(Binder& binder, const ModelSpec& spec, const MoeSpec& ffn, const std::string& prefix);

/// The kernels' form of a block's activation.
GluArgs glu_args(const MoeSpec& ffn);

/// A name of TensorNames with its "{}" filled.
std::string numbered(const std::string& pattern, int64_t number);

/// "gate_proj.weight" -> "gate_proj.bias".
std::string bias_name(std::string weight);

}  // namespace moxie
