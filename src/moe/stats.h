// Statistics of a routing: who was chosen how often and how firmly. Numbers only; drawing them is report/'s work.
#pragma once

#include <vector>

#include "moe/routing.h"

namespace moxie {

/// Of one MoE layer, summed over tokens since reset. Definitions: docs/GLOSSARY.md.
struct MoeStats {
  int64_t num_tokens = 0;
  std::vector<int64_t> tokens_per_expert;  // [E] assignments
  std::vector<double> weight_mass;         // [E] sum of weights
  double margin_sum = 0;                   // over tokens with a finite margin
  float margin_min = 0;
  int64_t dropped = 0, rerouted = 0;  // of training with a capacity

  /// Sets everything to zero for E experts. Allocates only when E grows.
  void reset(int64_t num_experts);
  /// Adds one step. A choice with id -1 counts nowhere; what a capacity did is added from `chosen`, before it.
  void add(const Routing& chosen, int64_t num_dropped = 0, int64_t num_rerouted = 0);

  /// Load entropy over ln E: 1 at perfect balance, 0 when one expert takes all.
  double entropy() const;
  /// Busiest expert's load over the mean load: 1 at perfect balance.
  double max_over_mean() const;
  /// (busiest - mean) / mean: 0 at perfect balance (MaxVio of arXiv 2408.15664).
  double max_vio() const { return max_over_mean() - 1; }
  int64_t dead_experts() const;
  double mean_margin() const { return num_tokens == 0 ? 0 : margin_sum / static_cast<double>(num_tokens); }
};

}  // namespace moxie
