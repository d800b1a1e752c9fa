// The config.json of an upcycled model: that of a dense model, turned into the family that has the same attention,
// norms and positions around routed experts. Touches no weights.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "spec/model_spec.h"

namespace moxie {

struct UpcycleConfig {
  int64_t experts = 8;
  int64_t top_k = 2;
  int64_t every = 1;  // of every so many layers the last is routed, the others stay dense
};

/// What `dense` (a config.json, and its spec read from `source`) becomes: llama and mistral mixtral, qwen2 qwen2_moe,
/// qwen3 qwen3_moe. Keys that say nothing of the feed-forward blocks are kept, known or not; what the two families
/// assume differently where a key is absent is written out. The k gates sum to 1.
/// Throws Error{usage} for experts, top_k or every out of range; Error{invalid} where the model is not dense, of
/// another family, quantized, or has a part that the new family cannot express: that part is named. The result reads
/// as the same model but for its feed-forward blocks: this is checked, not assumed.
json::Value upcycled_config(const json::Value& dense, const ModelSpec& spec, const UpcycleConfig& options,
                            const std::string& source);

}  // namespace moxie
