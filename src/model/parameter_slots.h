// Every tensor of an architecture in one fixed order: its name and shape, and its place in a ModelWeights. Layout, load
// and initialisation all walk this one list. Holds no values.
#pragma once

#include <vector>

#include "model/parameters.h"

namespace moxie {

/// One tensor: either a matrix or a vector of a ModelWeights.
struct ParameterSlot {
  Parameter parameter;             // offset is not set
  View* matrix = nullptr;          // of the ModelWeights that was walked
  const float** vector = nullptr;  // or this
  bool ends_branch = false;        // its output is added to the residual stream (o, down)
};

/// Walks `weights`, whose layers and experts must be there (or none of them: then they are made). A tied lm_head is no
/// slot. In a routed block gate and up of each expert come side by side, then all downs: stacked checkpoints hold them
/// so. Throws Error{does_not_fit} if the architecture claims more experts than can be listed.
std::vector<ParameterSlot> parameter_slots(const ModelSpec& spec, bool router_noise, ModelWeights& weights);

/// The layer's prefix followed by its feed-forward block's: "model.layers.3.mlp.".
std::string routed_ffn_prefix(const ModelSpec& spec, int64_t layer);

}  // namespace moxie
