#include "text/tokenizer_json.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "text/byte_letters.h"

namespace moxie::text {
namespace {

constexpr int64_t kMaxId = (int64_t{1} << 24) - 1;  // far above any vocabulary; keeps tables by id small

int32_t checked_id(int64_t id, const std::string& where, size_t tokens) {
  // Holes are fine, but a lone huge id may not size a table.
  const int64_t highest = std::min<int64_t>(kMaxId, static_cast<int64_t>(tokens) * 8 + 65536);
  if (id < 0 || id > highest) {
    throw invalid(
        {.where = where, .expected = fmt::format("a token id of 0 to {}", highest), .got = fmt::format("{}", id)});
  }
  return static_cast<int32_t>(id);
}

std::vector<AddedToken> read_added_tokens(const Fields& root) {
  std::vector<AddedToken> added;
  if (root.find("added_tokens") == nullptr) return added;
  size_t index = 0;
  for (const json::Value& item : root.array("added_tokens")) {
    const Fields fields(item, root.source(), fmt::format("added_tokens[{}]", index++));
    added.push_back(read_added_token(fields, fields.integer("id")));
  }
  return added;
}

// The vocabulary without special tokens, which text may not reach, not even as a whole word.
Vocab read_vocab(const Fields& model, const std::vector<AddedToken>& added, bool byte_level) {
  std::unordered_map<std::string_view, const AddedToken*> added_by_content;
  std::unordered_map<int32_t, const AddedToken*> added_by_id;
  for (const AddedToken& token : added) {
    added_by_content.emplace(token.content, &token);
    added_by_id.emplace(token.id, &token);
  }
  Vocab vocab;
  const Fields entries = model.object("vocab");
  const json::Object& members = entries.value().members();
  for (const json::Member& member : members) {
    const auto where = [&] { return entries.where(member.value, fmt::format("[\"{}\"]", printable(member.key))); };
    const std::optional<int64_t> wide = member.value.as_int();
    if (!wide) {
      throw invalid(
          {.where = where(), .expected = "a token id", .got = std::string(json::type_name(member.value.type()))});
    }
    const int32_t id = *wide >= 0 && *wide < static_cast<int64_t>(members.size())
                           ? static_cast<int32_t>(*wide)
                           : checked_id(*wide, where(), members.size());
    const auto by_content = added_by_content.find(member.key);
    const auto by_id = added_by_id.find(id);
    const bool agrees =
        by_content == added_by_content.end() ? by_id == added_by_id.end() : by_content->second->id == id;
    if (!agrees) {
      throw invalid({.where = where(),
                     .expected = "the same token and id in vocab and added_tokens",
                     .got = fmt::format("id {} in vocab, and another pair in added_tokens", id)});
    }
    // No text reaches a special token, nor one that byte-level words cannot spell.
    const bool is_special = by_content != added_by_content.end() && by_content->second->special;
    const std::optional<std::string> bytes = byte_level ? bytes_of_letters(member.key) : std::optional(member.key);
    if (!(is_special || !bytes ? vocab.add_hidden(member.key, id) : vocab.add(*bytes, id))) {
      throw invalid({.where = where(), .expected = "each id once", .got = fmt::format("id {} again", id)});
    }
  }
  return vocab;
}

// "a b", or ["a", "b"].
std::pair<std::string_view, std::string_view> merge_sides(const json::Value& item) {
  if (item.is_string()) {
    const std::string_view text = item.as_string();
    const size_t space = text.find(' ');
    if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  } else if (item.is_array() && item.items().size() == 2 && item.items()[0].is_string() &&
             item.items()[1].is_string()) {
    return {item.items()[0].as_string(), item.items()[1].as_string()};
  }
  return {};
}

void refuse_unless_absent(const Fields& model, std::string_view key) {
  const json::Value* value = model.find(key);
  if (value == nullptr || (value->is_string() && value->as_string().empty())) return;
  if (value->is_number() && value->as_double() == 0) return;
  model.fail(key, "null", "a value", "Not supported.");
}

Bpe read_bpe(const Fields& model, const std::vector<AddedToken>& added, bool byte_level) {
  if (model.string("type", "BPE") != "BPE") model.unsupported("BPE");
  for (const std::string_view key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    refuse_unless_absent(model, key);
  }
  Vocab vocab = read_vocab(model, added, byte_level);
  PairTable merges = read_merges(model.array("merges"), vocab, byte_level, model.source(), "model.merges");
  BpeOptions options{.byte_level = byte_level,
                     .byte_fallback = model.boolean("byte_fallback", false),
                     .fuse_unk = model.boolean("fuse_unk", false),
                     .ignore_merges = model.boolean("ignore_merges", false)};
  if (model.find("unk_token") != nullptr) {
    const std::string unk = model.string("unk_token");
    options.unk = vocab.find(unk);
    for (const AddedToken& token : added) {
      if (token.content == unk) options.unk = token.id;
    }
    if (options.unk < 0) model.fail("unk_token", "a token of the vocabulary", fmt::format("\"{}\"", printable(unk)));
  }
  return {std::move(vocab), std::move(merges), options};
}

void check_added(const Fields& root, const std::vector<AddedToken>& added, size_t tokens) {
  std::unordered_map<std::string_view, int32_t> ids;
  std::unordered_map<int32_t, std::string_view> contents;
  for (const AddedToken& token : added) {
    const std::string where = fmt::format("{}: added_tokens: \"{}\"", root.source(), printable(token.content));
    checked_id(token.id, where, tokens + added.size());
    if (!ids.emplace(token.content, token.id).second || !contents.emplace(token.id, token.content).second) {
      throw invalid(
          {.where = where, .expected = "each token and each id once", .got = fmt::format("id {} again", token.id)});
    }
  }
}

}  // namespace

PairTable read_merges(const json::Array& items, const Vocab& vocab, bool byte_level, const std::string& source,
                      std::string_view name) {
  PairTable merges;
  merges.reserve(items.size());
  uint32_t rank = 0;
  for (const json::Value& item : items) {
    const auto where = [&] { return fmt::format("{}: byte {}: {}[{}]", source, item.offset(), name, rank); };
    const auto [left, right] = merge_sides(item);
    if (left.empty() || right.empty()) {
      throw invalid({.where = where(), .expected = "two tokens: \"a b\" or [\"a\", \"b\"]", .got = "something else"});
    }
    const auto id_of = [&](std::string_view token) {
      if (!byte_level) return vocab.find(token);
      const std::optional<std::string> bytes = bytes_of_letters(token);
      return bytes ? vocab.find(*bytes) : -1;
    };
    const std::string both = std::string(left) + std::string(right);
    const int32_t left_id = id_of(left), right_id = id_of(right), both_id = id_of(both);
    if (left_id < 0 || right_id < 0 || both_id < 0) {
      const std::string_view missing = left_id < 0 ? left : right_id < 0 ? right : std::string_view(both);
      throw invalid({.where = where(),
                     .expected = "tokens of the vocabulary",
                     .got = fmt::format("\"{}\", which is none", printable(missing))});
    }
    merges.insert(left_id, right_id, {rank, both_id});  // a pair listed again changes nothing
    ++rank;
  }
  return merges;
}

AddedToken read_added_token(const Fields& fields, int64_t id) {
  if (id < 0 || id > kMaxId) fields.fail("id", fmt::format("0 to {}", kMaxId), fmt::format("{}", id));
  AddedToken token{.id = static_cast<int32_t>(id),
                   .content = fields.string("content"),
                   .special = fields.boolean("special", false),
                   .lstrip = fields.boolean("lstrip", false),
                   .rstrip = fields.boolean("rstrip", false),
                   .single_word = fields.boolean("single_word", false)};
  token.normalized = fields.boolean("normalized", !token.special);
  if (token.content.empty() || token.content.size() > kMaxAddedBytes) {
    fields.fail("content", fmt::format("1 to {} bytes", kMaxAddedBytes), fmt::format("{}", token.content.size()));
  }
  return token;
}

Parts parts_from_json(std::string_view text, const std::string& source) {
  const json::Value document = json::parse(text, {.source = source});
  const Fields root(document, source, "");
  std::vector<AddedToken> added = read_added_tokens(root);
  PreTokenizer stages;
  bool byte_level = false;
  if (root.find("pre_tokenizer") != nullptr) read_pre_tokenizer(root.object("pre_tokenizer"), stages, byte_level);
  std::vector<DecoderStep> decoder_steps;
  if (root.find("decoder") != nullptr) read_decoder(root.object("decoder"), decoder_steps);
  std::vector<NormalizerStep> normalizer_steps;
  if (root.find("normalizer") != nullptr) read_normalizer(root.object("normalizer"), normalizer_steps);

  Parts parts(read_bpe(root.object("model"), added, byte_level),
              Decoder(std::move(decoder_steps), source + ": decoder"));
  check_added(root, added, static_cast<size_t>(parts.bpe.vocab().size()));
  parts.added = std::move(added);
  parts.normalizer = Normalizer(std::move(normalizer_steps), source);
  parts.pre_tokenizer = std::move(stages);
  if (root.find("post_processor") != nullptr) {
    read_post_processor(root.object("post_processor"), parts.bpe.vocab(), parts.added, parts.prefix, parts.suffix);
  }
  if (!byte_level) split_at_markers(parts, "\xe2\x96\x81");
  return parts;
}

}  // namespace moxie::text
