// Reading tokenizer.model (SentencePiece's protobuf) into Parts: models of type BPE. Not unigram models.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_parts.h"

namespace moxie::text {

/// What a piece is; the numbers are those of sentencepiece_model.proto, and of tokenizer.ggml.token_type in GGUF.
enum class PieceType { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

struct Piece {
  std::string_view text;
  float score = 0;
  PieceType type = PieceType::normal;
};

/// The parts of ModelProto that encoding needs, with the defaults of sentencepiece_model.proto.
struct SentencePieceModel {
  std::vector<Piece> pieces;  // by id
  int model_type = 1;         // unigram
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  int32_t bos_id = 1, eos_id = 2;
  bool dummy_prefix = true, remove_extra_spaces = true, escape_spaces = true;
  bool has_charsmap = false;
};

/// Throws Error{invalid} as parts_from_sentencepiece does. Pieces point into `bytes`.
SentencePieceModel read_sentencepiece(std::string_view bytes, const std::string& source);

/// A BPE model's tokenizer, which begins a text with BOS. The texts are valid UTF-8 of at most kMaxMergedBytes, the
/// scores finite; unused pieces become holes. Throws Error{invalid} if two pieces have one text.
Parts parts_from_pieces(const SentencePieceModel& model, const std::string& source);

/// Kudo, Richardson 2018 (arXiv:1808.06226). Throws Error{invalid} naming file, byte offset and field for anything
/// malformed; for a model type other than BPE, a normalisation table, unused pieces, and white space as suffix.
Parts parts_from_sentencepiece(std::string_view bytes, const std::string& source);

}  // namespace moxie::text
