// What a tokenizer file says, in the form encode and decode use. Filled by the readers of the three file formats.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace moxie::text {

struct Parts {
  Parts(Bpe model, Decoder text_decoder) : bpe(std::move(model)), decoder(std::move(text_decoder)) {}

  std::vector<AddedToken> added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  Decoder decoder;
  std::vector<int32_t> prefix, suffix;  // ids around a text (BOS, EOS)
  std::optional<int32_t> bos, eos;

  // Made by finish():
  std::vector<std::string> pieces;  // by id: bytes in the middle of a text
  std::vector<bool> special;        // by id
  std::vector<int32_t> added_of;    // by id: index into `added`, or -1
  // Tokens to find in raw and in normalised text, where special tokens count and where text must stay text.
  std::optional<TokenFinder> raw, normalized, raw_plain, normalized_plain;

  /// The token as its file writes it; empty if there is none.
  std::string_view content(int32_t id) const;
  /// The id of a token as its file writes it.
  std::optional<int32_t> find(std::string_view token) const;
  /// Derives what is derived; called once, when all else is there.
  void finish();
};

/// The longest added token, in bytes: bounds the search for them.
inline constexpr size_t kMaxAddedBytes = 1024;

/// Splits before every marker if no merge could cross there, so that a text is many short words instead of one.
void split_at_markers(Parts& parts, std::string_view marker);

}  // namespace moxie::text
