// The router record in a reader's words, for the head of a report. Not the record's JSON (spec).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "spec/model_spec.h"

namespace moxie {

/// Label and value of what sets this router apart: "experts" "16", "top-k" "2", "score" "softmax", ... Parts that are
/// off are left out.
std::vector<std::pair<std::string, std::string>> router_facts(const MoeSpec& moe);

}  // namespace moxie
