// Binds the feed-forward block of one layer, whichever way its experts are stored.
#pragma once

#include "model/binder.h"

namespace moxie {

/// `prefix` is the layer's: "model.layers.3.".
MoeWeights bind_ffn(Binder& binder, const ModelSpec& spec, const MoeSpec& ffn, const std::string& prefix);

}  // namespace moxie
