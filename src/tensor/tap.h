// Taps: named activations on their way through the model, for whoever wants to compare them. Knows no model.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "tensor/tensor.h"

namespace moxie {

/// Receives each named activation of a step as it is made; the view dies with the call.
class Tap {
 public:
  virtual ~Tap() = default;
  virtual void record(std::string_view name, const View& view) = 0;
  /// A step is over: later activations belong to the next one.
  virtual void next_step() {}
};

/// Writes every f32 activation as DIRECTORY/STEP.NAME.npy (numpy's format). Two such directories are compared by
/// tools/diff_taps.py. Throws Error{runtime} if it cannot write.
class DirectoryTap : public Tap {
 public:
  explicit DirectoryTap(std::filesystem::path directory);
  void record(std::string_view name, const View& view) override;
  void next_step() override { ++step_; }

 private:
  std::filesystem::path directory_;
  int step_ = 0;
};

}  // namespace moxie
