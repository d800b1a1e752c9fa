// The router record as data: what a trace, a page and inspect say of how a layer routes.
#pragma once

#include "base/json.h"
#include "spec/model_spec.h"

namespace moxie {

/// Every field of the record that is not at its default, and always num_experts, top_k and score.
json::Value router_record(const MoeSpec& ffn);

}  // namespace moxie
