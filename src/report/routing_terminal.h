// A routing trace as text for a terminal: the tokens over their experts, the load table, the busiest experts, warnings.
// Knows nothing of terminals: the caller says how wide it is and whether colour is wanted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "report/routing_summary.h"
#include "store/routing_trace.h"

namespace moxie {

struct TerminalOptions {
  bool color = false;        // ANSI 256-colour; without it nothing is lost but the ease
  int width = 100;           // columns
  std::optional<int> layer;  // number of the layer whose top_k experts stand under each token; none: the strongest
                             // expert of every layer
  int64_t max_tokens = 200;  // tokens shown; the load table always counts all
  int max_layers = 8;        // rows under a token when no layer is chosen; more layers are sampled evenly
  int busiest = 4;           // experts named per layer
};

/// Everything `moxie route` prints, ending in a newline. `summary` is summarize(trace). Throws Error{usage} when
/// options.layer is no MoE layer of the trace, naming those that are.
std::string routing_terminal(const RoutingTrace& trace, const RoutingSummary& summary,
                             const std::vector<std::string>& token_texts, const TerminalOptions& options);

}  // namespace moxie
