// The lines of metrics.jsonl and the scalars of TensorBoard, made of what a run reports. docs/RUN_DIRECTORY.md lists
// every member; report/ reads them.
#pragma once

#include "train/loop.h"

namespace moxie {

/// The line that opens a run.
json::Value run_line(const TrainConfig& config, const TrainData& data, const KernelSet& kernels, int threads);

json::Value step_line(const StepReport& report, double flops_per_token);
/// Shares of the experts, layer by layer.
json::Value routing_line(int64_t step, const std::vector<MoeStats>& stats);
/// `last`: with the co-activation matrices.
json::Value eval_line(const StepReport& at, const EvalReport& report, double flops_per_token, bool last);
json::Value event_line(int64_t step, const RunEvent& event);

using Scalars = std::vector<std::pair<std::string, double>>;
Scalars step_scalars(const StepReport& report);
Scalars eval_scalars(const EvalReport& report);

}  // namespace moxie
