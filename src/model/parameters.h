// The parameters of a model in training: one f32 block in the engine's own layout, and whatever stands beside it in the
// same layout (gradients, moments). Loads from and exports to every checkpoint layout that bind_weights reads.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "model/weights.h"
#include "ops/gradients.h"
#include "store/safetensors.h"

namespace moxie {

enum class ParameterKind {
  matrix,          // decays
  embedding,       // decays, too (as GPT-2 and nanoGPT)
  router,          // a matrix; named for those who treat it apart
  vector,          // norms, biases, sinks: no decay
  selection_bias,  // moved by balance, not by gradients; no optimizer state of its own
};

/// One tensor of the block. Experts are one parameter each for gate, up and down.
struct Parameter {
  std::string name;  // as transformers names it, one tensor an expert, whatever the family stores stacked
  Shape shape;
  ParameterKind kind = ParameterKind::matrix;
  int64_t offset = 0;          // floats from the start of the block; every parameter begins at a multiple of 16
  int64_t layer = -1;          // -1: not of a layer
  int64_t expert = -1;         // -1: not of a routed expert
  bool training_only = false;  // not part of the exported model (the learned router noise)
};

/// Blocks are zeroed f32 memory, 64-byte aligned, of size() floats; gaps between parameters stay zero.
class Parameters {
 public:
  /// Lays out every tensor of the architecture; values are zero, norm weights too. `router_noise`: adds the learned
  /// noise scale of each router.
  explicit Parameters(const ModelSpec& spec, bool router_noise = false);
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;

  const ModelSpec& spec() const { return spec_; }
  /// Views and pointers into values().
  const ModelWeights& weights() const { return weights_; }
  std::span<const Parameter> list() const { return list_; }
  int64_t size() const { return size_; }  // floats of a block, gaps included
  int64_t num_parameters() const;         // without gaps
  float* values() const { return values_.get(); }

  /// A zeroed block of the same layout.
  std::shared_ptr<float> new_block() const;
  Gradients gradients(float* block) const { return {values_.get(), block}; }

  /// Takes the values of a Hugging Face model directory (any layout and float format that the engine runs).
  /// Throws Error{invalid} as load_config and bind_weights do, and if its config is another architecture.
  void load(const std::filesystem::path& directory);

  /// The tensors as a checkpoint of the family has them (stacked where the family stacks), taken from `block` (values
  /// or any other of the layout). Views point into the block, or into tensors that `owners` keeps alive. Parameters
  /// that are training_only are left out.
  std::vector<NamedView> export_tensors(const float* block, std::vector<Tensor>& owners) const;

 private:
  ModelSpec spec_;
  ModelWeights weights_;
  std::vector<Parameter> list_;
  int64_t size_ = 0;
  std::shared_ptr<float> values_;
};

/// Random start: matrices and embeddings normal(0, std), projections that end a residual branch (o, down) with
/// std / sqrt(2 L), norm weights 1, biases 0, routers normal(0, router_std). Depends on seed and parameter names alone.
void initialise(Parameters& parameters, uint64_t seed, float std = 0.02f, float router_std = 0.02f);

}  // namespace moxie
