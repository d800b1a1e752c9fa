// A training run from its first step, or from a checkpoint, to its last: steps, evaluation, checkpoints, metrics,
// signals, export. Prints nothing: an observer is told.
#pragma once

#include <atomic>
#include <cmath>

#include "train/evaluation.h"
#include "train/stepper.h"

namespace moxie {

/// Set by signal handlers, read between steps.
struct TrainSignals {
  std::atomic<int> stop{0};       // the signal that asks to save and leave; 0: none
  std::atomic<bool> save{false};  // save and go on
};

/// How loads of one step's routing stand, over the MoE layers.
struct LoadSummary {
  double max_vio = 0, entropy = 1;  // means
  double max_over_mean = 1;         // of the worst layer
  int64_t dead = 0;                 // sum
};
LoadSummary summarise(const std::vector<MoeStats>& stats);

struct StepReport {
  int64_t step = 0, steps = 0, tokens = 0;
  const StepResult& result;
  LoadSummary load;
  double seconds = 0;            // of training since the start of the run, over all resumes
  double tokens_per_second = 0;  // over the last steps
  double mfu = 0;                // model FLOPs over the machine's; 0: not known
};

class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  virtual void on_step(const StepReport& report) = 0;
  virtual void on_eval(int64_t step, const EvalReport& report) = 0;
  /// A line for people: events, checkpoints that were skipped, saves that failed.
  virtual void say(const std::string& line) = 0;
};

struct TrainRequest {
  std::string resume = "none";  // "none", "auto": the newest whole checkpoint or from the start; or a step
  double peak_flops = 0;        // of this machine in train.precision, a second; 0: mfu is not told
};

struct TrainSummary {
  int64_t step = 0, tokens = 0;
  double loss = 0;                               // of the last step
  double valid_loss = NAN, nats_per_byte = NAN;  // of the last evaluation; NaN: there was none
  double max_vio = 0;                            // likewise
  double seconds = 0;                            // of training, over all resumes
  double tokens_per_second = 0;                  // over them
  int stopped_by = 0;                            // signal; 0: all steps are done
  std::filesystem::path model;                   // exported; empty if stopped
  std::filesystem::path checkpoint;              // the last one saved
};

/// Trains in config.train.out. Throws Error{usage} if the directory holds checkpoints and request.resume is "none",
/// Error{invalid} naming what changed if configuration or data are not those of the run, Error{runtime} if another
/// process has the directory, if three saves in a row failed, or as Stepper::run does.
TrainSummary train(const TrainConfig& config, const TrainRequest& request, const KernelSet& kernels, ThreadPool& pool,
                   TrainObserver& observer, TrainSignals& signals);

}  // namespace moxie
