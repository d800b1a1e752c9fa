// How a training run looks on stderr: a bar and a line rewritten in place on a terminal, plain lines every few seconds
// elsewhere. Knows nothing of how it is trained.
#pragma once

#include <chrono>

#include "cli/cli.h"
#include "train/loop.h"

namespace moxie::cli {

class TrainProgress : public TrainObserver {
 public:
  explicit TrainProgress(bool quiet);
  ~TrainProgress() override;

  void on_step(const StepReport& report) override;
  void on_eval(int64_t step, const EvalReport& report) override;
  void say(const std::string& line) override;

 private:
  void clear();

  bool quiet_, on_terminal_;
  bool shown_ = false;  // a line that can be rewritten stands there
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now(), last_ = {};
  int64_t first_step_ = 0;
};

}  // namespace moxie::cli
