#include "text/sentencepiece.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"

namespace moxie::text {
namespace {

constexpr std::string_view kMarker = "\xe2\x96\x81";  // U+2581, which stands for a space

// The fields of one protobuf message, one at a time.
class Message {
 public:
  Message(std::string_view message, size_t offset, const std::string& source)
      : bytes_(message), offset_(offset), source_(source) {}

  int number = 0;          // of the field
  uint64_t value = 0;      // of a varint or fixed field
  std::string_view bytes;  // of a length-delimited field
  int wire = 0;

  bool next() {
    if (at_ == bytes_.size()) return false;
    const uint64_t tag = varint();
    number = static_cast<int>(std::min<uint64_t>(tag >> 3, INT32_MAX));
    wire = static_cast<int>(tag & 7);
    if (number == 0) fail("a field number", "0");
    switch (wire) {
      case 0:
        value = varint();
        break;
      case 1:
        value = fixed(8);
        break;
      case 2: {
        const uint64_t length = varint();
        if (length > bytes_.size() - at_)
          fail(fmt::format("a length of at most {}", bytes_.size() - at_), fmt::format("{}", length));
        bytes = bytes_.substr(at_, length);
        at_ += length;
        break;
      }
      case 5:
        value = fixed(4);
        break;
      default:
        fail("wire type 0, 1, 2 or 5", fmt::format("{}", wire));
    }
    return true;
  }

  uint64_t as_varint(std::string_view what) const {
    check_wire(0, what);
    return value;
  }
  bool as_bool(std::string_view what) const { return as_varint(what) != 0; }
  int32_t as_int32(std::string_view what) const { return static_cast<int32_t>(as_varint(what)); }
  float as_float(std::string_view what) const {
    check_wire(5, what);
    return std::bit_cast<float>(static_cast<uint32_t>(value));
  }
  std::string_view as_bytes(std::string_view what) const {
    check_wire(2, what);
    return bytes;
  }
  Message as_message(std::string_view what) const {
    check_wire(2, what);
    return {bytes, offset_ + at_ - bytes.size(), source_};
  }

  [[noreturn]] void fail(std::string expected, std::string got) const {
    throw invalid({.where = fmt::format("{}: byte {}", source_, offset_ + at_),
                   .expected = std::move(expected),
                   .got = std::move(got)});
  }

 private:
  void check_wire(int expected, std::string_view what) const {
    if (wire != expected) fail(fmt::format("{} of wire type {}", what, expected), fmt::format("wire type {}", wire));
  }
  uint64_t varint() {
    uint64_t result = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) fail("more bytes of a varint", "the end of the message");
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      result |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return result;
    }
    fail("a varint of at most 10 bytes", "a longer one");
  }
  uint64_t fixed(size_t size) {
    if (bytes_.size() - at_ < size) fail(fmt::format("{} bytes", size), "the end of the message");
    uint64_t result = 0;
    for (size_t i = 0; i < size; ++i)
      result |= static_cast<uint64_t>(static_cast<unsigned char>(bytes_[at_ + i])) << (8 * i);
    at_ += size;
    return result;
  }

  std::string_view bytes_;
  size_t offset_;
  const std::string& source_;
  size_t at_ = 0;
};

Piece read_piece(Message message, const std::string& source) {
  Piece piece;
  while (message.next()) {
    if (message.number == 1) piece.text = message.as_bytes("the piece");
    if (message.number == 2) piece.score = message.as_float("the score");
    if (message.number == 3) {
      const uint64_t type = message.as_varint("the type");
      if (type < 1 || type > 6) message.fail("a piece type of 1 to 6", fmt::format("{}", type));
      piece.type = static_cast<PieceType>(type);
    }
  }
  if (piece.text.empty() || piece.text.size() > kMaxMergedBytes) {
    message.fail(fmt::format("a piece of 1 to {} bytes", kMaxMergedBytes), fmt::format("{}", piece.text.size()));
  }
  if (first_invalid_utf8(piece.text) != std::string_view::npos) message.fail("a piece in UTF-8", "other bytes");
  if (!std::isfinite(piece.score)) message.fail("a finite score", fmt::format("{}", piece.score));
  if (piece.type == PieceType::unused) {
    throw invalid(
        {.where = source, .expected = "no unused pieces", .got = fmt::format("\"{}\"", printable(piece.text))});
  }
  return piece;
}

void read_trainer(Message message, SentencePieceModel& model) {
  while (message.next()) {
    switch (message.number) {
      case 3:
        model.model_type = message.as_int32("model_type");
        break;
      case 24:
        model.whitespace_as_suffix = message.as_bool("treat_whitespace_as_suffix");
        break;
      case 35:
        model.byte_fallback = message.as_bool("byte_fallback");
        break;
      case 41:
        model.bos_id = message.as_int32("bos_id");
        break;
      case 42:
        model.eos_id = message.as_int32("eos_id");
        break;
      default:
        break;
    }
  }
}

void read_normalizer_spec(Message message, SentencePieceModel& model) {
  while (message.next()) {
    switch (message.number) {
      case 2:
        model.has_charsmap = !message.as_bytes("precompiled_charsmap").empty();
        break;
      case 3:
        model.dummy_prefix = message.as_bool("add_dummy_prefix");
        break;
      case 4:
        model.remove_extra_spaces = message.as_bool("remove_extra_whitespaces");
        break;
      case 5:
        model.escape_spaces = message.as_bool("escape_whitespaces");
        break;
      default:
        break;
    }
  }
}

// Ranks: the higher the score the lower; equal scores share one, and position decides.
std::vector<uint32_t> ranks_of(const SentencePieceModel& model) {
  std::vector<float> scores;
  for (const Piece& piece : model.pieces) scores.push_back(piece.score);
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  std::vector<uint32_t> ranks;
  for (const Piece& piece : model.pieces) {
    const auto place = std::lower_bound(scores.begin(), scores.end(), piece.score, std::greater<>());
    ranks.push_back(piece.type == PieceType::normal ? static_cast<uint32_t>(place - scores.begin()) : UINT32_MAX);
  }
  return ranks;
}

}  // namespace

SentencePieceModel read_sentencepiece(std::string_view bytes, const std::string& source) {
  SentencePieceModel model;
  Message message(bytes, 0, source);
  while (message.next()) {
    if (message.number == 1) model.pieces.push_back(read_piece(message.as_message("pieces"), source));
    if (message.number == 2) read_trainer(message.as_message("trainer_spec"), model);
    if (message.number == 3) read_normalizer_spec(message.as_message("normalizer_spec"), model);
  }
  const auto refuse = [&](std::string expected, std::string got) {
    throw invalid({.where = source,
                   .expected = std::move(expected),
                   .got = std::move(got),
                   .hint = "A tokenizer.json beside it would be read first."});
  };
  if (model.pieces.empty()) refuse("pieces", "none");
  if (model.model_type != 2) {
    const char* name = model.model_type == 1   ? "unigram"
                       : model.model_type == 3 ? "word"
                       : model.model_type == 4 ? "char"
                                               : "unknown";
    refuse("trainer_spec.model_type 2 (BPE)", fmt::format("{} ({})", model.model_type, name));
  }
  if (model.has_charsmap) refuse("no normalizer_spec.precompiled_charsmap", "one");
  if (model.whitespace_as_suffix) refuse("treat_whitespace_as_suffix false", "true");
  if (!model.escape_spaces) refuse("escape_whitespaces true", "false");
  return model;
}

Parts parts_from_sentencepiece(std::string_view bytes, const std::string& source) {
  return parts_from_pieces(read_sentencepiece(bytes, source), source);
}

Parts parts_from_pieces(const SentencePieceModel& model, const std::string& source) {
  Vocab vocab;
  std::vector<AddedToken> added;
  BpeOptions options{.byte_fallback = model.byte_fallback, .fuse_unk = true};
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const Piece& piece = model.pieces[i];
    const auto id = static_cast<int32_t>(i);
    if (piece.type == PieceType::unused) continue;
    // Control pieces stay out of the vocabulary, so that no text can reach them.
    const bool is_text = piece.type == PieceType::normal || piece.type == PieceType::byte;
    if (is_text) {
      if (!vocab.add(piece.text, id)) {
        throw invalid({.where = fmt::format("{}: piece {}", source, i),
                       .expected = "each piece once",
                       .got = fmt::format("\"{}\" again", printable(piece.text))});
      }
      continue;
    }
    const bool user_defined = piece.type == PieceType::user_defined;
    added.push_back(
        {.id = id, .content = std::string(piece.text), .special = !user_defined, .normalized = user_defined});
    if (user_defined) added.back().sought = piece.text;  // as it is, without the dummy prefix
    if (piece.type == PieceType::unknown) options.unk = id;
  }
  std::vector<uint32_t> ranks = ranks_of(model);
  ranks.resize(static_cast<size_t>(vocab.size()));
  PairTable merges = merges_from_ranks(vocab, ranks);

  std::vector<DecoderStep> decoder{Replace{{.literal = std::string(kMarker)}, " "}, ByteFallbackDecoder{},
                                   FuseDecoder{}};
  if (model.dummy_prefix) decoder.emplace_back(StripDecoder{.content = " ", .start = 1});
  Parts parts(Bpe(std::move(vocab), std::move(merges), options), Decoder(std::move(decoder), source));
  parts.added = std::move(added);
  std::vector<NormalizerStep> steps;
  if (model.remove_extra_spaces) steps.emplace_back(CollapseSpaces{});
  if (model.dummy_prefix) steps.emplace_back(Prepend{std::string(kMarker)});
  steps.emplace_back(Replace{{.literal = " "}, std::string(kMarker)});
  parts.normalizer = Normalizer(std::move(steps), source);
  const auto role = [&](int32_t id) {
    const bool exists = id >= 0 && static_cast<size_t>(id) < model.pieces.size();
    const bool is_token = exists && model.pieces[static_cast<size_t>(id)].type != PieceType::unused;
    return is_token ? std::optional(id) : std::nullopt;
  };
  parts.bos = role(model.bos_id);
  parts.eos = role(model.eos_id);
  if (parts.bos) parts.prefix.push_back(*parts.bos);  // as the Hugging Face classes do by default
  split_at_markers(parts, kMarker);
  return parts;
}

}  // namespace moxie::text
