// Experts at work: grouped gate/up, activation, grouped down over rows gathered by expert. Does not route or combine.
#pragma once

#include <span>
#include <vector>

#include "ops/linear.h"
#include "spec/model_spec.h"

namespace moxie {

/// One feed-forward network: down(act(gate x, up x)). Each expert has its own formats; biases are null or f32.
struct Expert {
  View gate, up;                     // [F, H]
  View down;                         // [H, F]
  const float* gate_bias = nullptr;  // [F]
  const float* up_bias = nullptr;    // [F]
  const float* down_bias = nullptr;  // [H]
};

/// The experts of one layer and what they share.
struct ExpertBank {
  std::vector<Expert> experts;
  GluArgs activation;
};

/// One expert's part in a step: the rows of x it reads and where its rows of output go.
struct ExpertRun {
  const Expert* expert = nullptr;
  const int32_t* rows = nullptr;  // [num_rows] rows of x; null: rows 0 .. num_rows - 1
  int64_t num_rows = 0;
  float* out = nullptr;  // [num_rows, H]
};

/// Runs all experts of a step in two parallel regions (gate, up and activation; then down), as one list of work over
/// (expert, columns): a hot expert does not stall a thread, and an expert's weights are read once however many rows
/// it has.
void run_experts(Exec& exec, Rows& x, std::span<const ExpertRun> runs, const GluArgs& activation);

}  // namespace moxie
