// ModelSpec -> the metadata of a GGUF file: the way back from spec/gguf_config. Touches no tensors; those that hold
// facts rather than weights (rotary factors) are named.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "spec/model_spec.h"

namespace moxie {

/// One metadata key with its type.
struct GgufKey {
  std::string name;
  std::variant<uint32_t, float, bool, std::string> value;
};

/// How an architecture of GGUF holds a model.
struct GgufExport {
  std::string architecture;        // "qwen3moe"
  bool interleaved = false;        // it wants the rows of q and k in the order of interleaved pairs
  std::string ffn_norm;            // its name for the norm between attention and feed-forward block
  std::vector<GgufKey> keys;       // general.architecture first; of tokenizers and file types nothing
  std::vector<float> rope_freqs;   // rope_freqs.weight, [rope.dim / 2] or none
  std::vector<float> rope_long;    // rope_factors_long.weight, likewise
  std::vector<float> rope_short;   // rope_factors_short.weight
  std::vector<std::string> notes;  // what the file leaves out, and what other readers do not read, for the user
};

/// Reads its own result back and compares, so that a file never says something else than the model. Throws
/// Error{invalid} naming `source` and the first thing that differs: a family without an architecture, or a variant that
/// the architecture has no key for.
GgufExport gguf_export(const ModelSpec& spec, const std::string& source);

}  // namespace moxie
