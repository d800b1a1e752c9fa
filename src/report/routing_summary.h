// The numbers of a routing trace: load, balance, what each expert attracts. Not how they are shown (routing_terminal,
// routing_page).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "store/routing_trace.h"

namespace moxie {

/// How often an expert received one token id.
struct AttractedToken {
  int32_t token_id = 0;
  int64_t position = 0;  // where it stands first, for its text
  int64_t count = 0;     // N_xi: times this expert received it
  int64_t total = 0;     // N_x: times it occurs in the text
  double lift = 0;       // (N_xi / N_i) / (N_x / T): 1 = as common here as everywhere
};

struct ExpertSummary {
  int64_t tokens = 0;                    // assignments, c_i
  double share = 0;                      // c_i / sum c
  double weight_mass = 0;                // sum of the weights of its assignments
  std::vector<AttractedToken> by_count;  // most frequent first
  std::vector<AttractedToken> by_lift;   // most over-represented first, of those it received often enough
};

/// Of the tokens that visit `expert`, the share that also visits `with`: N_ij / N_i (OLMoE, arXiv 2409.02060).
struct CoActivation {
  int32_t expert = 0, with = 0;
  int64_t count = 0;  // N_ij
  double share = 0;
};

struct LayerSummary {
  int layer = 0;
  int32_t num_experts = 0, top_k = 0;
  int64_t assignments = 0, dropped = 0;
  std::vector<ExpertSummary> experts;  // [num_experts]
  double entropy = 0;            // -sum q ln q / ln E, q = share; 1 = even, 0 = one expert takes all (and when E = 1)
  double max_over_mean = 0;      // max c / mean c; 0 without assignments
  double max_vio = 0;            // max_over_mean - 1 (arXiv 2408.15664), 0 without assignments
  std::vector<int32_t> dead;     // experts without a token, ascending
  std::vector<int32_t> busiest;  // experts with tokens, by tokens, then lower id
  std::optional<double> mean_margin;        // over tokens with a finite margin; empty when there is none
  std::optional<double> tiny_margin_share;  // of those, the share below SummaryOptions::tiny_margin
  std::vector<CoActivation> co_activation;  // strongest first
};

struct RoutingSummary {
  int64_t tokens = 0, assignments = 0, dropped = 0, dead_experts = 0;
  double mean_entropy = 0, mean_max_vio = 0;  // over layers
  std::vector<LayerSummary> layers;
};

struct SummaryOptions {
  double tiny_margin = 1e-3;   // below it a rounding can change the choice of experts
  int64_t attracted = 8;       // length of by_count and by_lift
  int64_t min_lift_count = 3;  // a token the expert received less often has no place in by_lift
  int64_t co_activation = 8;
  int64_t min_co_activation = 3;  // N_ij of a pair to be listed
};

/// Throws Error{invalid} naming the layer if the arrays do not fit the tokens, an id is not in -1..E-1, or a weight is
/// not finite. topk_weights and margin may be empty: not recorded. O(T·K² + T·K·log T + E) per layer.
RoutingSummary summarize(const RoutingTrace& trace, const SummaryOptions& options = {});

/// Checks what summarize() promises to check. Cost: linear.
void check_trace(const RoutingTrace& trace);

/// One plain sentence for each thing a reader should worry about: dead experts, overload, dropped tokens. Dead experts
/// are named only where an even load would have given every expert at least five tokens.
std::vector<std::string> routing_warnings(const RoutingSummary& summary);

/// `token_texts`: bytes of the token at each position, or empty. One object with "schema_version": 1.
json::Value to_json(const RoutingSummary& summary, const std::vector<std::string>& token_texts);

}  // namespace moxie
