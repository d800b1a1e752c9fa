// Where the time of steps goes, part by part: a stopwatch that whoever runs a step hands down in its Exec. Without one
// nothing is read and nothing is written.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>

namespace moxie {

/// What a step does. `permute`: rows sorted by expert, and their results collected again. `experts`: the networks,
/// shared and dense ones included. `attention`: rotation, the cache, softmax and values; its products are projections.
enum class StepWork { router, permute, experts, attention, projections, head, rest };
inline constexpr int kNumStepWorks = 7;
inline constexpr std::array<std::string_view, kNumStepWorks> kStepWorkNames = {
    "router", "permute", "experts", "attention", "projections", "head", "rest"};

/// Every nanosecond between begin() and the last lap() belongs to exactly one part, so the parts add up to the steps.
class StepProfile {
 public:
  void begin() {
    last_ = Clock::now();
    ++num_steps_;
  }
  /// What happened since the last call was `work`. Cost: some 25 ns.
  void lap(StepWork work) {
    const Clock::time_point now = Clock::now();
    nanoseconds_[static_cast<size_t>(work)] +=
        std::chrono::duration_cast<std::chrono::nanoseconds>(now - last_).count();
    last_ = now;
  }

  int64_t num_steps() const { return num_steps_; }
  int64_t nanoseconds(StepWork work) const { return nanoseconds_[static_cast<size_t>(work)]; }
  int64_t total_nanoseconds() const {
    int64_t sum = 0;
    for (const int64_t each : nanoseconds_) sum += each;
    return sum;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_;
  std::array<int64_t, kNumStepWorks> nanoseconds_ = {};
  int64_t num_steps_ = 0;
};

}  // namespace moxie
