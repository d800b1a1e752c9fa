#include "text/gguf_vocabulary.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "text/byte_letters.h"
#include "text/chat_template.h"
#include "text/json_fields.h"
#include "text/sentencepiece.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_parts.h"

namespace moxie::text {
namespace {

constexpr std::string_view kMarker = "\xe2\x96\x81";
constexpr size_t kMaxConfigBytes = size_t{512} << 20;

// What any two splits into words, spaces or numbers tell apart.
constexpr std::string_view kSample =
    "Hello, World!  It's 2024-05-17 and he'll pay $1234567.89 (that's 15%).\n\n\tint main() { return x_1 != 0x7F; }\r\n"
    "   caf\xc3\xa9 na\xc3\xafve \xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe3\x81\xae\xe6\x96\x87 "
    "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 \xf0\x9f\x98\x80 WE'RE camelCase HTMLParser  \n trailing   ";

/// Builds the lists from what the tokenizer's file says.
class Lister {
 public:
  Lister(const Parts& parts, int64_t num_tokens, GgufVocabulary& out) : parts_(parts), out_(out) {
    const auto size = static_cast<size_t>(num_tokens);
    out_.tokens.resize(size);
    out_.types.resize(size);
    for (size_t i = 0; i < size; ++i) {
      out_.tokens[i] = fmt::format("[PAD{}]", i);
      out_.types[i] = static_cast<int32_t>(PieceType::unused);
    }
  }

  void vocabulary() {
    const Vocab& vocab = parts_.bpe.vocab();
    const bool byte_level = parts_.bpe.options().byte_level;
    for (int32_t id = 0; id < vocab.size(); ++id) {
      if (!vocab.has(id)) continue;
      const std::string_view bytes = vocab.bytes(id);
      const bool hidden = vocab.find(bytes) != id;  // written as the file has it
      put(id, byte_level && !hidden ? letters_of_bytes(bytes) : std::string(bytes),
          parts_.bpe.options().byte_fallback && is_byte(bytes) ? PieceType::byte : PieceType::normal);
    }
    for (const AddedToken& token : parts_.added) {
      const bool unknown = token.special && token.id == parts_.bpe.options().unk;
      put(token.id, token.content,
          unknown         ? PieceType::unknown
          : token.special ? PieceType::control
                          : PieceType::user_defined);
    }
    if (const int32_t unk = parts_.bpe.options().unk; unk >= 0) out_.types[static_cast<size_t>(unk)] = 2;
  }

  // Merges as tokenizer.json lists them.
  std::vector<std::pair<std::string, std::string>> merges(const std::string& text, const std::string& source) const {
    const json::Value document = json::parse(text, {.source = source});
    const Fields model = Fields(document, source, "").object("model");
    std::vector<std::pair<std::string, std::string>> pairs;
    for (const json::Value& item : model.array("merges")) {  // read before: each is one of the two forms
      if (item.is_array()) {
        pairs.emplace_back(item.items()[0].as_string(), item.items()[1].as_string());
      } else {
        const std::string& both = item.as_string();
        const size_t space = both.find(' ');
        pairs.emplace_back(both.substr(0, space), both.substr(space + 1));
      }
    }
    return pairs;
  }

  // SentencePiece merges what makes the piece of the highest score: those that are made first score highest.
  void scores_of_merges(const std::vector<std::pair<std::string, std::string>>& pairs) {
    out_.scores.assign(out_.tokens.size(), -static_cast<float>(pairs.size()) - 1);
    for (size_t i = pairs.size(); i-- > 0;) {
      const int32_t id = parts_.bpe.vocab().find(pairs[i].first + pairs[i].second);
      out_.scores[static_cast<size_t>(id)] = -static_cast<float>(i);
    }
  }

  void scores_of_pieces(const SentencePieceModel& model) {
    out_.scores.assign(out_.tokens.size(), 0);
    for (size_t i = 0; i < model.pieces.size(); ++i) out_.scores[i] = model.pieces[i].score;
  }

 private:
  static bool is_byte(std::string_view text) {
    return text.size() == 6 && text.starts_with("<0x") && text.back() == '>';
  }

  void put(int32_t id, std::string text, PieceType type) {
    out_.tokens[static_cast<size_t>(id)] = std::move(text);
    out_.types[static_cast<size_t>(id)] = static_cast<int32_t>(type);
  }

  const Parts& parts_;
  GgufVocabulary& out_;
};

// pad_token, unk_token: "<pad>", or {"content": "<pad>", ...}.
void put_role(const json::Value& config, std::string_view key, std::string name, const Parts& parts,
              GgufVocabulary& out) {
  const json::Value* value = config.find(key);
  if (value != nullptr && value->is_object()) value = value->find("content");
  if (value == nullptr || !value->is_string()) return;
  if (const auto id = parts.find(value->as_string())) out.ids.emplace_back(std::move(name), *id);
}

void put_roles(const std::filesystem::path& model_dir, const Parts& parts, GgufVocabulary& out) {
  // Without tokenizer_config.json the one token in front of a text is BOS, the one behind it EOS.
  const auto role = [&](std::optional<int32_t> id, const std::vector<int32_t>& around) {
    return !id && around.size() == 1 ? std::optional(around[0]) : id;
  };
  const std::optional<int32_t> bos = role(parts.bos, parts.prefix), eos = role(parts.eos, parts.suffix);
  if (bos) out.ids.emplace_back("bos_token_id", *bos);
  if (eos) out.ids.emplace_back("eos_token_id", *eos);
  std::error_code ignored;
  const std::filesystem::path path = model_dir / "tokenizer_config.json";
  if (std::filesystem::exists(path, ignored)) {
    const json::Value config = json::parse(read_file(path, kMaxConfigBytes), {.source = path.string()});
    put_role(config, "unk_token", "unknown_token_id", parts, out);
    put_role(config, "pad_token", "padding_token_id", parts, out);
  }
  const auto adds = [&](std::string name, std::optional<int32_t> id, const std::vector<int32_t>& around) {
    const bool known = id && around == std::vector<int32_t>{*id};
    if (!around.empty() && !known)
      out.notes.push_back(name + ": the tokens put around a text are others than that one");
    out.flags.emplace_back(std::move(name), known);
  };
  adds("add_bos_token", bos, parts.prefix);
  adds("add_eos_token", eos, parts.suffix);
}

void compare(const Tokenizer& want, const Tokenizer& got, const std::string& source, bool insist, GgufVocabulary& out) {
  if (want.encode(kSample) == got.encode(kSample)) return;
  const std::string what = fmt::format("a text gets other tokens with tokenizer.ggml.pre \"{}\"", out.pre);
  if (insist) throw invalid({.where = source, .expected = "a tokenizer that GGUF can hold", .got = what});
  out.notes.push_back(what);
}

}  // namespace

json::Value GgufVocabulary::as_metadata() const {
  json::Value metadata{json::Object{}};
  const auto list = [](const auto& items) {
    json::Array array;
    array.reserve(items.size());
    for (const auto& item : items) {
      if constexpr (std::is_same_v<std::decay_t<decltype(item)>, float>) {
        array.emplace_back(static_cast<double>(item));
      } else {
        array.emplace_back(item);
      }
    }
    return json::Value(std::move(array));
  };
  metadata.set("tokenizer.ggml.model", model).set("tokenizer.ggml.pre", pre);
  metadata.set("tokenizer.ggml.tokens", list(tokens)).set("tokenizer.ggml.token_type", list(types));
  if (model == "gpt2") metadata.set("tokenizer.ggml.merges", list(merges));
  if (!scores.empty()) metadata.set("tokenizer.ggml.scores", list(scores));
  for (const auto& [key, id] : ids) metadata.set("tokenizer.ggml." + key, int64_t{id});
  for (const auto& [key, value] : flags) metadata.set("tokenizer.ggml." + key, value);
  return metadata;
}

GgufVocabulary gguf_vocabulary(const std::filesystem::path& model_dir, int64_t num_tokens, const std::string& pre) {
  const std::string source = model_dir.string();
  std::string text;
  Parts parts = load_parts(model_dir, &text);
  parts.finish();
  if (static_cast<int64_t>(parts.added_of.size()) > num_tokens) {
    throw invalid({.where = source + ": the tokenizer",
                   .expected = fmt::format("at most {} tokens, the rows of the embedding", num_tokens),
                   .got = fmt::format("{}", parts.added_of.size())});
  }
  GgufVocabulary out;
  Lister lister(parts, num_tokens, out);
  lister.vocabulary();
  const Tokenizer tokenizer = Tokenizer::load(model_dir);
  if (parts.bpe.options().byte_level) {
    out.model = "gpt2";
    for (const auto& [left, right] : lister.merges(text, source)) out.merges.push_back(left + " " + right);
    // Bytes that nothing merges are the same tokens however a text is split.
    out.pre = !pre.empty() ? pre : out.merges.empty() ? "gpt-2" : gguf_pre_name(parts);
    if (out.pre.empty()) {
      throw invalid({.where = source + ": pre_tokenizer",
                     .expected = "a split into words that has a name in GGUF",
                     .got = "another one",
                     .hint = "--pre NAME writes that name all the same; readers will then split as it says."});
    }
    if (!parts.normalizer.steps().empty())
      out.notes.push_back("the tokenizer normalises texts (NFC): GGUF has no key for it, and most readers do not");
  } else {
    out.model = "llama";
    out.pre = "default";
    std::error_code ignored;
    if (std::filesystem::exists(model_dir / "tokenizer.json", ignored)) {  // the one that is loaded, then
      lister.scores_of_merges(lister.merges(text, source));
    } else {
      lister.scores_of_pieces(read_sentencepiece(text, source));
    }
    const std::vector<int32_t> ids = tokenizer.encode("a", {.add_special = false});
    out.flags.emplace_back("add_space_prefix", !ids.empty() && parts.content(ids[0]).starts_with(kMarker));
  }
  put_roles(model_dir, parts, out);
  if (const auto chat = ChatTemplate::load(model_dir)) out.chat_template = chat->source();
  compare(tokenizer, Tokenizer::from_gguf(out.as_metadata(), source), source, pre.empty(), out);
  return out;
}

}  // namespace moxie::text
