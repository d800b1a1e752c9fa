// One training step: micro batches, gradient norm, clipping, update, balance; and what to do when numbers are not
// finite. Knows no files and no clock.
#pragma once

#include "train/data.h"
#include "train/optimizer.h"
#include "train/watch.h"

namespace moxie {

/// What one step came to. Losses are means over the step; aux and z before their coefficients.
struct StepResult {
  double loss = 0, aux = 0, z = 0;
  double grad_norm = 0, lr = 0;  // before clipping
  int64_t dropped = 0, rerouted = 0, assignments = 0;
  std::vector<RunEvent> events;
};

class Stepper {
 public:
  /// Everything given must outlive it. Starts from random weights, or from train.init_from. Throws Error{invalid} as
  /// TrainModel and Parameters::load do. Memory: four blocks and TrainModel's scratch.
  Stepper(const TrainConfig& config, const TrainData& data, const KernelSet& kernels, ThreadPool& pool);

  /// Step state.step + 1; `state` moves on by it. A loss or gradient norm that is not finite is computed again; if it
  /// stays so the weights do not move, an event names the first tensor and the samples, and the
  /// max_bad_steps-th in a row throws Error{runtime}. A spike (watch.h) is computed again, too: other bits the second
  /// time are the machine's fault, and told.
  StepResult run(TrainState& state);

  Parameters& parameters() { return parameters_; }
  Optimizer& optimizer() { return optimizer_; }
  TrainModel& model() { return model_; }
  /// Routing of the last step, one a layer; dense layers have no experts.
  const std::vector<MoeStats>& stats() const { return stats_; }
  int64_t tokens_per_step() const;

 private:
  struct Pass {
    double loss = 0, aux = 0, z = 0, norm = 0;
    int64_t dropped = 0, rerouted = 0;
    bool finite() const;
    bool same_bits(const Pass& other) const;
  };
  Pass compute(int64_t step);
  void fill_micro_batch(int64_t first_sample);
  std::string samples(int64_t step) const;
  std::string first_fault() const;
  /// False: the step is bad and told so in result.events; the weights must not move.
  bool judge(const TrainState& state, int64_t step, Pass& pass, StepResult& result);
  void balance(int64_t step);

  const TrainConfig& config_;
  const TrainData& data_;
  const KernelSet& kernels_;
  ThreadPool& pool_;
  Parameters parameters_;
  TrainModel model_;
  Optimizer optimizer_;
  std::shared_ptr<float> gradients_;
  std::vector<MoeStats> stats_;
  std::vector<int32_t> tokens_, targets_;  // of a micro batch
};

}  // namespace moxie
