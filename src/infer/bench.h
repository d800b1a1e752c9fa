// A bench of one model: every test of it, round by round, in turn with another program where one is named. Measures and
// counts; prints nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "infer/peer.h"
#include "infer/visits.h"
#include "kernels/ceilings.h"

namespace moxie {

/// A prefill of `tokens`, or `tokens` steps of decode of `batch` sequences that begin with one token.
struct BenchTest {
  bool decode = false;
  int64_t tokens = 0;
  int64_t batch = 1;
  int64_t tokens_a_run() const { return tokens * (decode ? batch : 1); }
};

struct BenchOptions {
  std::vector<BenchTest> tests;
  std::vector<int> threads;  // all tests with each of them
  int repeats = 3;
  FormatId kv_format = kDefaultKvFormat;
  std::string peer;               // a command line; empty: none
  std::function<void()> between;  // called between runs; what it throws ends the bench
  uint64_t seed = 1;
};

struct BenchRow {
  BenchTest test;
  int threads = 0;
  Ceilings ceilings;                 // of this many threads, best of all rounds
  std::vector<double> rates;         // tokens a second, round by round
  std::vector<double> step_seconds;  // decode: every step of all rounds
  std::vector<double> peer_rates;    // round by round; empty: the peer has no such test
  double weight_bytes = 0;           // a token: the experts visited and all else, each once a step
  double visits_per_layer = 0;       // experts a step and layer
  double rows_per_visit = 0;
  double tile_occupancy = 0;          // 0: no router
  double max_over_mean = 0;           // load of the busiest expert over the mean, a mean of the layers
  StepProfile profile;                // of one more run, not timed
  std::optional<int64_t> peak_bytes;  // of memory while it ran

  /// Ours over the peer's, round by round.
  std::vector<double> ratios() const;
};

struct BenchResult {
  std::vector<BenchRow> rows;
  std::string peer_version;
};

/// Runs `repeats` rounds of everything: the limits of the machine, each test, then the peer, while our threads sleep
/// and after which our weights are read once, should they have left memory. One untimed run before; one with a profile
/// after. Throws Error{does_not_fit} beyond the context, Error{invalid} for a peer whose output says nothing or has no
/// test in common, Error{runtime} with the end of what it printed if it fails.
BenchResult run_bench(const Model& model, const BenchOptions& options);

/// Of at least one value the one that 99% do not exceed.
double percentile_99(std::vector<double> values);

}  // namespace moxie
