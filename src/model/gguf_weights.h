// The tensors of a GGUF file under the names that bind_weights looks for, which are those of Hugging Face checkpoints.
// Stacked experts come apart as views; only what DeepSeek's converter has transposed is copied.
#pragma once

#include "spec/gguf_config.h"
#include "spec/model_spec.h"
#include "store/gguf.h"

namespace moxie {

/// What the tensors say that gguf_spec needs to know. Throws Error{invalid} for rotary factors that are not f32.
GgufTensorFacts gguf_tensor_facts(const GgufFile& file);

/// Whether a tensor is a matrix, or a stack of one an expert, that products alone read: its rows may be packed.
bool may_be_packed(std::string_view name, const Shape& shape);

/// Every tensor of the file, renamed for a spec that gguf_spec made; those it has no name for keep theirs, so that
/// bind_weights reports them. `layer` -> "model.layers.{}.", one entry an expert. Throws Error{invalid} if a stack has
/// another number of experts than the spec. Cost: linear in entries and experts.
Checkpoint gguf_checkpoint(const GgufFile& file, const ModelSpec& spec);

}  // namespace moxie
