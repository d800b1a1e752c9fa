// The transformer: a checkpoint's weights and one forward pass that serves every family.
#pragma once

#include <filesystem>
#include <memory>

#include "model/attention.h"
#include "model/model_source.h"

namespace moxie {

class Model {
 public:
  /// Loads a Hugging Face model directory (config.json and its safetensors) or a GGUF file. Weights stay mapped.
  /// `max_context` bounds the positions that will be used (0: the config's max_position); some rotary tables depend
  /// on it. Throws Error{invalid} as ModelSource and bind_weights do.
  static Model load(const ModelSource& source, int64_t max_context = 0);
  static Model load(const std::filesystem::path& path, int64_t max_context = 0);

  const ModelSpec& spec() const { return spec_; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  const ModelWeights& weights() const { return weights_; }
  int64_t max_context() const { return max_context_; }

  /// Runs the new tokens of all sequences and leaves their keys and values in the cache. Returns logits [R, V] in the
  /// arena, R the sum of num_logits, sequence after sequence. A row's logits do not depend on the other sequences, on
  /// how its tokens were cut into steps, or on threads (the same-bits law). CHECKs ids and pages: callers have
  /// validated them. Allocates from the arena alone.
  float* forward(Exec& exec, KvCache& cache, std::span<const StepSequence> sequences, const StepSinks& sinks) const;

 private:
  Model() = default;
  AttentionStep begin_step(Exec& exec, std::span<const StepSequence> sequences) const;
  void embed(Exec& exec, std::span<const StepSequence> sequences, float* x) const;
  float* head(Exec& exec, const float* rows, int64_t num_rows, Tap* tap) const;

  ModelSpec spec_;
  int64_t max_context_ = 0;
  std::vector<float> inverse_frequencies_;
  float rope_factor_ = 1;
  std::unique_ptr<Checkpoint> checkpoint_;
  ModelWeights weights_;
};

}  // namespace moxie
