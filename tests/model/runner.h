// A model with the least around it that can run a step: for tests of the forward pass itself.
#pragma once

#include <vector>

#include "model/model.h"

namespace moxie {

class Runner {
 public:
  explicit Runner(const Model& model, int threads = 2, const KernelSet& kernels = choose_kernel_set(),
                  FormatId kv_format = FormatId::f32)
      : model_(model), kernels_(kernels), pool_(threads), cache_(model.spec(), 64, kv_format) {}

  /// `n` fresh KV pages.
  std::vector<int32_t> pages(int64_t n) {
    std::vector<int32_t> taken;
    for (int64_t i = 0; i < n; ++i) taken.push_back(cache_.take_page());
    return taken;
  }

  /// Logits of one step, copied.
  std::vector<float> step(std::span<const StepSequence> sequences, const StepSinks& sinks) {
    int64_t rows = 0;
    for (const StepSequence& s : sequences) rows += s.num_logits;
    arena_.reset();
    Exec exec{kernels_, pool_, arena_};
    const float* logits = model_.forward(exec, cache_, sequences, sinks);
    return {logits, logits + rows * model_.spec().vocab_size};
  }

 private:
  const Model& model_;
  const KernelSet& kernels_;
  ThreadPool pool_;
  Arena arena_;
  KvCache cache_;
};

}  // namespace moxie
