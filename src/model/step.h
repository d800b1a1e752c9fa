// One step of the model: what goes in (rows of several sequences, prefill and decode mixed) and what comes out.
#pragma once

#include <span>
#include <vector>

#include "moe/stats.h"
#include "ops/exec.h"
#include "tensor/tap.h"

namespace moxie {

/// New tokens of one sequence: they stand at positions [start, start + tokens.size()); all before them are cached.
struct StepSequence {
  std::span<const int32_t> tokens;
  int64_t start = 0;
  std::span<const int32_t> pages;  // KV pages of positions [0, start + tokens.size())
  int64_t num_logits = 0;          // logits are wanted for that many of the last tokens
};

/// Receives every layer's routing of a step, in layer order; the routing dies with the call.
class RoutingSink {
 public:
  virtual ~RoutingSink() = default;
  virtual void record(int64_t layer, const Routing& routing) = 0;
};

/// Where a step leaves what it saw on its way; each may be null.
struct StepSinks {
  Tap* tap = nullptr;
  RoutingSink* routing = nullptr;
  std::vector<MoeStats>* stats = nullptr;  // one a layer; dense layers keep zero experts
  /// The network of the last layer runs for rows whose logits are wanted, and only those are routed there. True: for
  /// all; a tap always has all.
  bool every_row = false;
};

}  // namespace moxie
