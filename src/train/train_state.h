// What a run knows beside its weights and moments: where it is, and what it has seen. Everything else (data order,
// noise, dropout, learning rate) follows from the step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace moxie {

struct TrainState {
  int64_t step = 0;       // steps done
  int64_t updates = 0;    // of the weights: steps less those whose gradient was not finite
  int64_t tokens = 0;     // seen in training
  double seconds = 0;     // of training, over all resumes
  int64_t bad_steps = 0;  // in a row, up to now
  double best_loss = 0;   // lowest validation loss of a checkpoint; meaningless while best_step is 0
  int64_t best_step = 0;
  std::vector<double> recent_losses;     // oldest first, for spikes
  std::vector<int64_t> collapsed_steps;  // of each layer: steps in a row that look collapsed

  std::string kernels;  // the set that computed it; empty: not told

  // What the run was started with.
  std::string config;             // resolved, as to_toml writes it
  std::vector<std::string> data;  // TrainData::fingerprint
};

inline constexpr int64_t kTrainStateVersion = 1;

json::Value to_json(const TrainState& state);

/// Throws Error{invalid} naming source and field; a version above ours is refused by number.
TrainState parse_train_state(std::string_view text, const std::string& source);

}  // namespace moxie
