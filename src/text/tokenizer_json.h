// Reading tokenizer.json (the format of Hugging Face tokenizers) into Parts. One function a component.
#pragma once

#include <string>
#include <string_view>

#include "text/json_fields.h"
#include "text/tokenizer_parts.h"

namespace moxie::text {

/// Throws Error{invalid} naming file, byte offset and field for anything malformed or not supported.
Parts parts_from_json(std::string_view text, const std::string& source);

// The components, each from its JSON object; read by parts_from_json.
void read_normalizer(const Fields& fields, std::vector<NormalizerStep>& steps);
void read_pre_tokenizer(const Fields& fields, PreTokenizer& stages, bool& byte_level);
void read_decoder(const Fields& fields, std::vector<DecoderStep>& steps);
/// The ids around one text.
void read_post_processor(const Fields& fields, const Vocab& vocab, const std::vector<AddedToken>& added,
                         std::vector<int32_t>& prefix, std::vector<int32_t>& suffix);
/// One element of added_tokens, or one value of added_tokens_decoder (`id` is then its key).
AddedToken read_added_token(const Fields& fields, int64_t id);

/// Merges as a list of "a b" or ["a", "b"], best first, of a vocabulary that may be byte-level. `source` and
/// `name` call the file and the list in errors.
PairTable read_merges(const json::Array& items, const Vocab& vocab, bool byte_level, const std::string& source,
                      std::string_view name);

/// GPT-2's own split into words, as ByteLevel applies it.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace moxie::text
