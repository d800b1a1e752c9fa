// A config.json as transformers asks for it, made of one that describes the architecture. Touches no tensors.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "spec/model_spec.h"

namespace moxie {

/// `config`, which was read into `spec`, for weights that are stored as `dtype` ("bfloat16"): with architectures,
/// hidden_act and rope_scaling in full, without what it said of another form of the weights and of layers that are not
/// run. Slowdowns of rotary frequencies, which only GGUF files have, become the rope_scaling of Llama 3.1 that makes
/// them. Throws Error{invalid} naming `source` for slowdowns that none makes.
json::Value hf_config(const json::Value& config, const ModelSpec& spec, std::string_view dtype,
                      const std::string& source);

}  // namespace moxie
