// What a training run will cost, for `train --dry-run` and `inspect CONFIG.toml`. Measures the machine, trains nothing.
#pragma once

#include "cli/cli.h"
#include "train/config.h"

namespace moxie::cli {

int train_threads(const TrainConfig& config);

/// Arithmetic peak of those threads in the run's precision, in FLOP/s. Cost: about half a second.
double train_peak_flops(const TrainConfig& config);

/// Throws Error{does_not_fit} for a run that needs more memory than this process can have.
void check_train_memory(const TrainConfig& config);

/// {parameters_total, parameters_active, steps, tokens, flops_per_token, flops, memory_bytes, memory {...},
/// seconds_at_half_peak, ...}.
json::Value train_plan_json(const TrainConfig& config, double peak);
void print_train_plan(const TrainConfig& config, double peak);

}  // namespace moxie::cli
