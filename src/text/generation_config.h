// generation_config.json: the sampling defaults that a model brings. Samples nothing itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace moxie {

/// The fields that are there; the others are empty. Values are within the range their meaning has.
struct GenerationConfig {
  std::optional<bool> do_sample;
  std::optional<double> temperature;         // >= 0
  std::optional<int64_t> top_k;              // >= 0; 0: off
  std::optional<double> top_p;               // 0 to 1
  std::optional<double> min_p;               // 0 to 1
  std::optional<double> repetition_penalty;  // > 0
  std::optional<int64_t> max_new_tokens;     // >= 1
  std::vector<int64_t> eos_token_id;         // one or several, from an int or a list; >= 0
  std::optional<int64_t> bos_token_id;       // >= 0
  std::optional<int64_t> pad_token_id;       // >= 0, or -1 as some models have it

  /// Reads DIR/generation_config.json. No file: all empty. Unknown fields are ignored, null is as if not there. Throws
  /// Error{invalid} naming file and field for another type or range.
  static GenerationConfig load(const std::filesystem::path& model_dir);

  /// What a GGUF file's metadata says of it: general.sampling.*, the ids of tokenizer.ggml that end an answer, and the
  /// control tokens that are known to (files often name only one). Throws Error{invalid} naming source and key.
  static GenerationConfig from_gguf(const json::Value& metadata, const std::string& source);
};

}  // namespace moxie
