// The metadata of a GGUF file -> ModelSpec, by way of the config.json that the model's converter has read. Touches no
// tensors: what they say is an argument.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "spec/config_reader.h"
#include "spec/model_spec.h"

namespace moxie {

/// What the tensors of a GGUF file say that its metadata leaves out.
struct GgufTensorFacts {
  int64_t embedding_rows = 0;                  // of token_embd.weight; 0: a file of a vocabulary alone
  bool has_output = false;                     // output.weight; without it the embedding is the head
  bool has_output_bias = false;                // output.bias
  bool has_attention_bias = false;             // attn_q.bias
  bool has_ffn_bias = false;                   // ffn_up.bias
  bool has_qk_norm = false;                    // attn_q_norm.weight
  std::vector<int64_t> layers_without_router;  // no ffn_gate_inp.weight
  std::vector<double> rope_factors;            // rope_freqs.weight
  std::vector<double> rope_long, rope_short;   // rope_factors_long.weight, rope_factors_short.weight
};

/// The config.json that stands behind a GGUF file: its values know the bytes of the file they come from, and
/// `names` the metadata keys.
struct GgufConfig {
  json::Value config;
  FieldNames names;
};

/// `metadata` as GgufFile has it. Throws Error{invalid} naming source, metadata key and byte offset: an architecture
/// that this build does not know (with the list of known ones), a key that is missing or cannot be.
GgufConfig gguf_config(const json::Value& metadata, const GgufTensorFacts& tensors, const std::string& source);

/// The same read by its family. Converters store the rows of q and k of some architectures in the order of interleaved
/// pairs: then the spec rotates so. Tensor names are those of TensorNames' defaults whatever the family.
ModelSpec gguf_spec(const json::Value& metadata, const GgufTensorFacts& tensors, const std::string& source);

/// The architectures (general.architecture) this build knows, sorted.
std::vector<std::string> known_gguf_architectures();

}  // namespace moxie
