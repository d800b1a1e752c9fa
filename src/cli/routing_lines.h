// The engine's routing statistics as lines for people and as JSON.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "moe/stats.h"

namespace moxie::cli {

/// One line a MoE layer, the busiest first where there are many: balance, dead experts, busiest experts, margin.
std::vector<std::string> stats_lines(const std::vector<MoeStats>& stats);

/// [{layer, tokens, tokens_per_expert, weight_mass, entropy, max_over_mean, dead_experts, mean_margin, min_margin}].
json::Value stats_json(const std::vector<MoeStats>& stats);

}  // namespace moxie::cli
