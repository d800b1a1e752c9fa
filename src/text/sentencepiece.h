// Reading tokenizer.model (SentencePiece's protobuf) into Parts: models of type BPE. Not unigram models.
#pragma once

#include <string>
#include <string_view>

#include "text/tokenizer_parts.h"

namespace moxie::text {

/// Kudo, Richardson 2018 (arXiv:1808.06226). Throws Error{invalid} naming file, byte offset and field for anything
/// malformed; for a model type other than BPE, a normalisation table, unused pieces, and white space as suffix.
Parts parts_from_sentencepiece(std::string_view bytes, const std::string& source);

}  // namespace moxie::text
