// A config.json in the making, from the keys of one GGUF file. It knows keys and values, no architecture.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "spec/gguf_config.h"

namespace moxie {

/// A key without a dot in front of its last part is one of the architecture: "block_count" is "llama.block_count".
class GgufDraft {
 public:
  GgufDraft(const json::Value& metadata, const GgufTensorFacts& tensors, std::string source);

  const GgufTensorFacts& tensors() const { return tensors_; }
  const std::string& architecture() const { return architecture_; }

  /// A metadata value by its whole key, or nullptr.
  const json::Value* find_global(std::string_view key) const { return metadata_.find(key); }
  /// One of the architecture's.
  const json::Value* find(std::string_view key) const { return metadata_.find(full(key)); }
  /// An integer of the architecture in [low, high]; absent: `fallback`.
  int64_t integer(std::string_view key, IntegerRange range, int64_t fallback) const;
  int64_t integer(std::string_view key, IntegerRange range) const;

  /// Puts the value of a metadata key, if it is there, under a field of the config. Of a list, one value a layer, that
  /// value if all are equal. Says whether it was there.
  bool copy(std::string_view field, std::string_view key);
  /// The same; an absent key is an error.
  void require(std::string_view field, std::string_view key);
  /// The same for a key that any file may have: "tokenizer.ggml.eos_token_id".
  bool copy_global(std::string_view field, std::string_view key);
  /// Puts a value, in the place of one that is there, that was derived from a metadata key (empty: from none).
  void put(std::string_view field, json::Value value, std::string_view key = "");

  [[noreturn]] void fail(std::string_view key, std::string expected, std::string got = "", std::string hint = "") const;
  /// The same about a key that any file may have.
  [[noreturn]] void fail_global(std::string_view key, std::string expected, std::string got) const;

  GgufConfig finish() &&;

 private:
  std::string full(std::string_view key) const;
  bool copy_from(std::string_view field, const std::string& full_key);

  const json::Value& metadata_;
  const GgufTensorFacts& tensors_;
  std::string source_;
  std::string architecture_;
  FieldNames names_;
  std::map<std::string, json::Value> fields_, rope_scaling_;  // the config, and the one object within it
};

/// A number that a file holds as f32, as the decimal it was written from: 0.1f is 0.1.
double decimal_of(double value);

}  // namespace moxie
