// What another program says of its speed: the output of llama.cpp's llama-bench and llama-batched-bench (and of those
// of its forks). Reads text; runs nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moxie {

/// One of its tests. A number that its output does not tell is -1.
struct PeerTest {
  int64_t prompt = 0;    // tokens of the prompt
  int64_t generate = 0;  // tokens generated after it; the rate is of those if there are any
  int64_t batch = 1;
  int threads = -1;
  double tokens_per_second = 0;
};

struct PeerReport {
  std::string version;  // "llama-bench, build 3f545bec (1), q4_K - Medium"; what it tells of that
  std::vector<PeerTest> tests;
};

/// Which of a peer's two outputs holds its report: ik_llama.cpp's llama-batched-bench writes its table to stderr.
std::string_view peer_report(std::string_view out, std::string_view err);

/// Reads `text`: the JSON of `llama-bench -o json` (avg_ts, n_prompt, n_gen, n_threads), or the table of
/// llama-batched-bench. Throws Error{invalid} naming `source` for anything else, and for output without a test.
PeerReport parse_peer(std::string_view text, const std::string& source);

/// The command with what makes its output readable: "-o json", unless it names an output or is llama-batched-bench.
std::string readable_peer_command(const std::string& command);

}  // namespace moxie
