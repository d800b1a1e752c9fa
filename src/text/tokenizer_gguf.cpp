#include "text/tokenizer_gguf.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "base/error.h"
#include "text/byte_letters.h"
#include "text/sentencepiece.h"
#include "text/tokenizer_json.h"

namespace moxie::text {
namespace {

constexpr std::string_view kTokens = "tokenizer.ggml.tokens", kScores = "tokenizer.ggml.scores";
constexpr std::string_view kTypes = "tokenizer.ggml.token_type", kMerges = "tokenizer.ggml.merges";

std::string shown(const json::Value& value) {
  if (value.is_string()) return fmt::format("\"{}\"", printable(value.as_string(), 80));
  return value.is_array() || value.is_object() ? std::string(json::type_name(value.type())) : value.dump();
}

// The vocabulary as the file lists it, texts by id.
std::vector<Piece> read_pieces(const GgufKeys& keys, bool scored) {
  const json::Array& tokens = *keys.list(kTokens, true);
  const json::Array* scores = keys.list(kScores, scored);
  const json::Array* types = keys.list(kTypes, false);
  const auto check_count = [&](std::string_view key, const json::Array* list) {
    if (list == nullptr || list->size() == tokens.size()) return;
    keys.fail(key, fmt::format("{} items, one a token", tokens.size()), fmt::format("{}", list->size()));
  };
  if (tokens.empty()) keys.fail(kTokens, "tokens", "none");
  check_count(kScores, scores);
  check_count(kTypes, types);
  std::vector<Piece> pieces(tokens.size());
  std::unordered_set<std::string_view> texts;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (!tokens[i].is_string()) keys.fail_item(kTokens, i, "a string", shown(tokens[i]));
    Piece& piece = pieces[i];
    piece.text = tokens[i].as_string();
    if (scored) {
      const json::Value& score = (*scores)[i];
      if (!score.is_number() || !std::isfinite(score.as_double())) {
        keys.fail_item(kScores, i, "a finite number", shown(score));
      }
      piece.score = static_cast<float>(score.as_double());
    }
    if (types != nullptr) {
      const std::optional<int64_t> type = (*types)[i].as_int();
      if (!type || *type < 0 || *type > 6) keys.fail_item(kTypes, i, "a token type of 0 to 6", shown((*types)[i]));
      piece.type = *type == 0 ? PieceType::normal : static_cast<PieceType>(*type);
    }
    if (piece.text.empty()) piece.type = PieceType::unused;  // some converters leave holes so
    if (piece.text.size() > kMaxMergedBytes) {
      keys.fail_item(kTokens, i, fmt::format("at most {} bytes", kMaxMergedBytes),
                     fmt::format("{}", piece.text.size()));
    }
    if (piece.type != PieceType::unused && !texts.insert(piece.text).second) {
      keys.fail_item(kTokens, i, "each token once", shown(tokens[i]) + " again");
    }
  }
  return pieces;
}

// BOS and EOS, and whether a text is put between them.
void read_roles(const GgufKeys& keys, size_t num_tokens, bool add_bos, Parts& parts) {
  constexpr std::string_view kBos = "tokenizer.ggml.bos_token_id", kEos = "tokenizer.ggml.eos_token_id";
  if (const auto id = keys.token_id(kBos, num_tokens)) parts.bos = id;
  if (const auto id = keys.token_id(kEos, num_tokens)) parts.eos = id;
  for (const char* role : {"eot", "eom", "unknown", "seperator", "padding", "mask"}) {
    keys.token_id(fmt::format("tokenizer.ggml.{}_token_id", role), num_tokens);  // an id that is no token is a fault
  }
  const auto decide = [&](std::string_view key, std::string_view role, bool otherwise, std::optional<int32_t> id,
                          std::vector<int32_t>& ids) {
    const std::optional<bool> stated = keys.boolean(key);
    ids.clear();
    if (!stated.value_or(otherwise)) return;
    if (id) ids.push_back(*id);
    if (!id && stated) keys.fail(key, fmt::format("false, without {}", role), "true");
  };
  decide("tokenizer.ggml.add_bos_token", kBos, add_bos, parts.bos, parts.prefix);
  decide("tokenizer.ggml.add_eos_token", kEos, false, parts.eos, parts.suffix);
}

// Byte-level BPE. Tokens are written in GPT-2's letters; those that are not, no text reaches.
Parts parts_of_gpt2(const GgufKeys& keys) {
  const GgufPreTokenizer pre = gguf_pre_tokenizer(keys);
  const std::vector<Piece> pieces = read_pieces(keys, false);
  Vocab vocab;
  std::vector<AddedToken> added;
  std::vector<uint32_t> ranks(pieces.size(), UINT32_MAX);
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const auto id = static_cast<int32_t>(i);
    const bool user_defined = piece.type == PieceType::user_defined;
    if (piece.type == PieceType::unused) continue;
    if (user_defined || piece.type == PieceType::control || piece.type == PieceType::unknown) {
      added.push_back({.id = id, .content = std::string(piece.text), .special = !user_defined});
      continue;
    }
    const std::optional<std::string> bytes = bytes_of_letters(piece.text);
    if (bytes && vocab.add(*bytes, id)) {
      ranks[i] = static_cast<uint32_t>(i);
    } else {
      vocab.add_hidden(piece.text, id);
    }
  }
  const json::Array* merges = keys.list(kMerges, false);
  // Without merges every split of a token into two merges, lower ids first, as in tiktoken's files (Kimi-K2).
  ranks.resize(static_cast<size_t>(vocab.size()));
  PairTable table =
      merges != nullptr ? read_merges(*merges, vocab, true, keys.source(), kMerges) : merges_from_ranks(vocab, ranks);
  const BpeOptions options{.byte_level = true, .ignore_merges = pre.ignore_merges || merges == nullptr};
  Parts parts(Bpe(std::move(vocab), std::move(table), options), Decoder({ByteLevelDecoder{}}, keys.source()));
  parts.added = std::move(added);
  parts.pre_tokenizer = pre.stages;
  if (pre.nfc) parts.normalizer = Normalizer({NormalForm::nfc}, keys.source());
  read_roles(keys, pieces.size(), pre.add_bos, parts);
  return parts;
}

Parts parts_of_llama(const GgufKeys& keys) {
  SentencePieceModel model{.pieces = read_pieces(keys, true)};
  const auto is_byte = [](const Piece& piece) { return piece.type == PieceType::byte; };
  model.byte_fallback = std::any_of(model.pieces.begin(), model.pieces.end(), is_byte);
  model.dummy_prefix = keys.boolean("tokenizer.ggml.add_space_prefix").value_or(true);
  model.remove_extra_spaces = keys.boolean("tokenizer.ggml.remove_extra_whitespaces").value_or(false);
  Parts parts = parts_from_pieces(model, fmt::format("{}: {}", keys.source(), kTokens));
  read_roles(keys, model.pieces.size(), true, parts);
  return parts;
}

}  // namespace

std::optional<std::string> GgufKeys::string(std::string_view key) const {
  const json::Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail(key, "a string", shown(*value));
  return value->as_string();
}

std::optional<bool> GgufKeys::boolean(std::string_view key) const {
  const json::Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) fail(key, "true or false", shown(*value));
  return value->as_bool();
}

std::optional<double> GgufKeys::number(std::string_view key) const {
  const json::Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) fail(key, "a number", shown(*value));
  return value->as_double();
}

std::optional<int32_t> GgufKeys::token_id(std::string_view key, size_t size) const {
  const json::Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> id = value->as_int();
  if (!id || *id < 0 || static_cast<uint64_t>(*id) >= size) {
    fail(key, fmt::format("the id of one of {} tokens", size), shown(*value));
  }
  return static_cast<int32_t>(*id);
}

const json::Array* GgufKeys::list(std::string_view key, bool required) const {
  const json::Value* value = find(key);
  if (value == nullptr && !required) return nullptr;
  if (value == nullptr) fail(key, "a list", "no such key");
  if (!value->is_array()) fail(key, "a list", shown(*value));
  return &value->items();
}

void GgufKeys::fail(std::string_view key, std::string expected, std::string got, std::string hint) const {
  const json::Value* value = find(key);
  std::string where = fmt::format("{}: {}", source_, key);
  if (value != nullptr) where += fmt::format(" at byte {}", value->offset());
  throw invalid({std::move(where), std::move(expected), std::move(got), std::move(hint)});
}

void GgufKeys::fail_item(std::string_view key, size_t index, std::string expected, std::string got) const {
  const json::Value& item = find(key)->items()[index];
  throw invalid(
      {fmt::format("{}: {}[{}] at byte {}", source_, key, index, item.offset()), std::move(expected), std::move(got)});
}

Parts parts_from_gguf(const json::Value& metadata, const std::string& source) {
  const GgufKeys keys(metadata, source);
  constexpr std::string_view kModel = "tokenizer.ggml.model";
  const std::string model = keys.string(kModel).value_or("");
  if (model == "gpt2") return parts_of_gpt2(keys);
  if (model == "llama") return parts_of_llama(keys);
  keys.fail(kModel, "gpt2 (byte-level BPE) or llama (SentencePiece BPE)",
            keys.find(kModel) == nullptr ? "no such key" : fmt::format("\"{}\"", printable(model)),
            "bert, t5 (unigram), rwkv and others are not supported.");
}

}  // namespace moxie::text
