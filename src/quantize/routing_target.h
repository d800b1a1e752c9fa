// How a model of random weights should spread its tokens over experts: loads wanted, and the offsets of router logits
// that lead to them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "spec/model_spec.h"

namespace moxie {

/// The share of assignments of each expert, [layer][expert]; a layer without a target, and each dense one, has none.
using ExpertLoads = std::vector<std::vector<double>>;

/// `text`: "" (no target: as random rows give it), "uniform", "zipf:S" (the expert of rank r gets a share proportional
/// to 1 / (r + 1)^S, S from 0 to 10; who has which rank is drawn from `seed` for each layer), or the path of a routing
/// trace, whose layers' loads are taken. No expert can be in more choices than there are tokens: what a share has above
/// 0.95 / K goes to the others. Throws Error{usage} for another text, Error{invalid} for a trace of a model with other
/// layers or experts.
ExpertLoads expert_loads(const std::string& text, const ModelSpec& spec, uint64_t seed);

/// What to add to logits that are otherwise independent and normal with deviation `sigma`, so that the largest top_k of
/// them fall on the experts as `loads` (at least one share above 0) says. Found by simulating 1,024 tokens, hence
/// with their noise. Multiples of 2^-10, so that they do not depend on a library's last bits. Cost: some 0.1 s for 128
/// experts.
std::vector<double> offsets_for(const std::vector<double>& loads, int64_t top_k, double sigma, uint64_t seed);

}  // namespace moxie
