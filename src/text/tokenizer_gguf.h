// Reading the tokenizer in a GGUF file's metadata into Parts. Not the file itself: store/gguf reads that.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "text/tokenizer_parts.h"

namespace moxie::text {

/// Throws Error{invalid} naming source, key and byte offset for anything malformed or not supported.
Parts parts_from_gguf(const json::Value& metadata, const std::string& source);

/// Typed access to metadata keys, with errors that name source, key and byte.
class GgufKeys {
 public:
  /// Both must outlive this.
  GgufKeys(const json::Value& metadata, const std::string& source) : metadata_(metadata), source_(source) {}

  const std::string& source() const { return source_; }
  const json::Value* find(std::string_view key) const { return metadata_.find(key); }
  /// Absent: empty.
  std::optional<std::string> string(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  /// A token's id, below `size`.
  std::optional<int32_t> token_id(std::string_view key, size_t size) const;
  /// A list; absent: an error if `required`, else nullptr.
  const json::Array* list(std::string_view key, bool required) const;

  [[noreturn]] void fail(std::string_view key, std::string expected, std::string got, std::string hint = "") const;
  /// The same about one item of a list.
  [[noreturn]] void fail_item(std::string_view key, size_t index, std::string expected, std::string got) const;

 private:
  const json::Value& metadata_;
  const std::string& source_;
};

/// How a name of tokenizer.ggml.pre splits a text into words.
struct GgufPreTokenizer {
  PreTokenizer stages;
  bool ignore_merges = false;  // a word that is a token as a whole is that token
  bool add_bos = false;        // where tokenizer.ggml.add_bos_token does not say it
  bool nfc = false;            // the model's own tokenizer normalises first
};

/// Throws Error{invalid} for a name it does not know, with those it knows. An empty name is "default".
GgufPreTokenizer gguf_pre_tokenizer(const GgufKeys& keys);

/// The name of tokenizer.ggml.pre that splits as these parts do, the one in most use where several do; empty if none
/// does. A row that differs in normalisation alone will do if no other does.
std::string gguf_pre_name(const Parts& parts);

}  // namespace moxie::text
