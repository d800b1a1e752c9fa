// A model directory's tokenizer and chat template as GGUF's tokenizer.* keys: the way back from text/tokenizer_gguf.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "text/tokenizer.h"

namespace moxie::text {

/// A key with its value, which points into a GgufVocabulary.
struct GgufVocabularyKey {
  std::string name;
  std::variant<std::string_view, std::span<const std::string>, std::span<const float>, std::span<const int32_t>,
               uint32_t, bool>
      value;
};

/// The values of the keys below "tokenizer."; empty lists and texts have no key.
struct GgufVocabulary {
  std::string model, pre;                            // "gpt2" and how it splits into words, or "llama" and "default"
  std::vector<std::string> tokens;                   // by id, as a file writes them
  std::vector<float> scores;                         // of "llama"
  std::vector<int32_t> types;                        // PieceType
  std::vector<std::string> merges;                   // of "gpt2": "a b", best first
  std::vector<std::pair<std::string, int32_t>> ids;  // "bos_token_id"
  std::vector<std::pair<std::string, bool>> flags;   // "add_bos_token"
  std::string chat_template;
  std::vector<std::string> notes;  // what GGUF does not hold, for the user

  /// In the order of the file.
  std::vector<GgufVocabularyKey> keys() const;

  /// The same as metadata that Tokenizer::from_gguf reads.
  json::Value as_metadata() const;
};

/// `num_tokens`: rows of the model's embedding; ids without a token are filled up to it. `pre`: the name to write for
/// how a text splits into words; empty: the one that splits as the tokenizer does. Encodes a text with the tokenizer
/// and with what was made of it, and compares. Throws Error{invalid} naming the directory: no name splits so, the ids
/// differ (with `pre` given, that is a note), or more tokens than rows; and what Tokenizer::load refuses.
GgufVocabulary gguf_vocabulary(const std::filesystem::path& model_dir, int64_t num_tokens, const std::string& pre = "");

}  // namespace moxie::text
