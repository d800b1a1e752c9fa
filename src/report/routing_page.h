// The routing page: one self-contained HTML file that shows a routing trace in a browser, without a network. Its
// markup, style and scripts are the plain files in page/, built into the binary.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "store/routing_trace.h"

namespace moxie {

/// What the page says about where the trace came from. Any bytes: they are escaped.
struct PageInfo {
  std::string model;
  std::string source;                                       // of the text: a file name, or "prompt"
  std::vector<std::pair<std::string, std::string>> router;  // the router record, as label and value
};

/// The page. `token_texts` [T]: the bytes of each token, which need not be whole UTF-8 characters.
/// Below 1,000,000 bytes up to 40,000 (layer, expert) cells: where the trace is larger than that allows, weights and
/// margins lose digits, then only the strongest experts of each token are kept, then only the first tokens, and the
/// page says so; the loads always count everything. Throws Error{invalid} on a trace that summarize() refuses. Cost:
/// that of summarize().
std::string routing_page(const RoutingTrace& trace, const std::vector<std::string>& token_texts, const PageInfo& info);

}  // namespace moxie
