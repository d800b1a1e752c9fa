// Text to token ids and back, for tokenizers in Hugging Face, SentencePiece and tiktoken files. Not chat templates.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace moxie {

namespace text {
struct Parts;  // what a tokenizer file says (tokenizer_parts.h)
}

struct EncodeOptions {
  /// Add what the tokenizer puts around a text (BOS, EOS).
  bool add_special = true;
  /// Recognise special tokens in the text. false: text stays text, so that user data cannot become control tokens:
  /// neither special tokens nor added tokens written like markup ("<think>", "[INST]") are recognised.
  bool parse_special = true;
};

/// A stretch of a prompt, and whether it came from a user: then it stays text, as with parse_special = false.
struct MarkedText {
  std::string_view text;
  bool from_user;
};

/// One tokenizer; immutable, cheap to copy, safe to use from many threads.
class Tokenizer {
 public:
  /// tokenizer.json, else tokenizer.model, of a model directory, with bos/eos, add_bos_token, add_eos_token and
  /// added_tokens_decoder of tokenizer_config.json where there is one. Throws Error{invalid} naming file and field.
  static Tokenizer load(const std::filesystem::path& model_dir);

  /// tokenizer.json: BPE models, byte-level or with byte fallback. `source` names the text in errors.
  static Tokenizer from_json(std::string_view text, const std::string& source);

  /// tokenizer.model: a SentencePiece model of type BPE.
  static Tokenizer from_sentencepiece(std::string_view bytes, const std::string& source);

  /// tiktoken: lines "BASE64 RANK", the pattern that splits words, and special tokens with their ids.
  static Tokenizer from_tiktoken(std::string_view ranks, std::string_view pattern,
                                 const std::vector<std::pair<std::string, int32_t>>& specials,
                                 const std::string& source);

  /// tokenizer.ggml.* of a GGUF file's metadata (as GgufFile has it): models "gpt2" (byte-level BPE, split into words
  /// as tokenizer.ggml.pre says) and "llama" (SentencePiece BPE). Throws Error{invalid} naming source, key and byte
  /// offset for any other model, an unknown pre-tokenizer, lists that do not fit one another, ids that are no token.
  static Tokenizer from_gguf(const json::Value& metadata, const std::string& source);

  /// Linear time in the text. Bytes that are not UTF-8: a byte-level tokenizer encodes them as they are, so that the
  /// token_bytes of the ids join to the text; any other reads U+FFFD for each maximal broken sequence.
  /// Throws Error{invalid} if the file's own patterns or replacements run away on this text.
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;

  /// A prompt made of stretches, without special tokens around it. Control tokens are recognised only where a template
  /// wrote them whole; between them the text is encoded as one, so words may span the edges of stretches. Bytes that
  /// are not UTF-8 read as U+FFFD.
  std::vector<int32_t> encode(std::span<const MarkedText> stretches) const;

  /// Valid UTF-8 always: U+FFFD for each maximal broken sequence. Ids that are no token (padding rows of a model)
  /// add nothing.
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;

  /// What the token adds in the middle of a text: raw bytes, perhaps a part of a UTF-8 sequence.
  std::string token_bytes(int32_t id) const;

  bool is_special(int32_t id) const;
  /// Highest id + 1; the model may have more rows.
  int32_t vocab_size() const;
  std::optional<int32_t> bos() const;
  std::optional<int32_t> eos() const;
  /// The id of a token as its file writes it ("<|im_end|>", "Ġthe", "▁the").
  std::optional<int32_t> find(std::string_view token) const;

  /// What its file says, for those who write it in another form.
  const text::Parts& parts() const { return *parts_; }

 private:
  friend class StreamDecoder;
  explicit Tokenizer(std::shared_ptr<const text::Parts> parts) : parts_(std::move(parts)) {}
  std::shared_ptr<const text::Parts> parts_;
};

/// Turns ids into text piece by piece. Never emits a broken UTF-8 sequence: an incomplete one is held back, an invalid
/// one becomes U+FFFD. The pieces join to what decode() gives for all ids.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true);
  std::string push(int32_t id);
  /// What was held back (U+FFFD for an incomplete sequence); the decoder is then as new.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  bool skip_special_;
  bool first_ = true;         // no token has come yet
  size_t left_to_strip_ = 0;  // of the decoder's Strip
  std::string held_;          // the beginning of a UTF-8 sequence
};

}  // namespace moxie
