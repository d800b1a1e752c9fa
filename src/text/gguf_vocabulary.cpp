#include "text/gguf_vocabulary.h"

#include <type_traits>

#include "base/error.h"
#include "base/file.h"
#include "text/byte_letters.h"
#include "text/chat_template.h"
#include "text/sentencepiece.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_parts.h"

namespace moxie::text {
namespace {

constexpr std::string_view kMarker = "\xe2\x96\x81";
constexpr size_t kMaxFileBytes = size_t{512} << 20;

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

  // "a b", in the letters of the tokens.
  void merges() {
    const auto text = [&](int32_t id) { return letters_of_bytes(parts_.bpe.vocab().bytes(id)); };
    for (const ListedMerge& merge : list_merges(parts_.bpe.merges())) {
      out_.merges.push_back(text(merge.left) + " " + text(merge.right));
    }
  }

  // SentencePiece merges what makes the piece of the highest score: those that are made first score highest.
  void scores_of_merges() {
    const std::vector<ListedMerge> list = list_merges(parts_.bpe.merges());
    out_.scores.assign(out_.tokens.size(), -static_cast<float>(list.size()) - 1);
    for (size_t i = list.size(); i-- > 0;) out_.scores[static_cast<size_t>(list[i].whole)] = -static_cast<float>(i);
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
    const json::Value config = json::parse(read_file(path, kMaxFileBytes), {.source = path.string()});
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

template <typename T>
json::Value json_of(const T& value) {
  if constexpr (std::is_same_v<T, bool> || std::is_convertible_v<T, std::string_view>) {
    return json::Value(value);
  } else if constexpr (std::is_integral_v<T>) {
    return json::Value(static_cast<int64_t>(value));
  } else if constexpr (std::is_floating_point_v<T>) {
    return json::Value(static_cast<double>(value));
  } else {
    json::Array array;
    array.reserve(value.size());
    for (const auto& item : value) array.push_back(json_of(item));
    return json::Value(std::move(array));
  }
}

void compare(const Tokenizer& want, const Tokenizer& got, const std::string& source, bool insist, GgufVocabulary& out) {
  if (want.encode(kSample) == got.encode(kSample)) return;
  const std::string what = fmt::format("a text gets other tokens with tokenizer.ggml.pre \"{}\"", out.pre);
  if (insist) throw invalid({.where = source, .expected = "a tokenizer that GGUF can hold", .got = what});
  out.notes.push_back(what);
}

}  // namespace

std::vector<GgufVocabularyKey> GgufVocabulary::keys() const {
  std::vector<GgufVocabularyKey> keys;
  const auto add = [&](const std::string& name, decltype(GgufVocabularyKey::value) value) {
    keys.push_back({"tokenizer." + name, value});
  };
  add("ggml.model", model);
  add("ggml.pre", pre);
  add("ggml.tokens", std::span(tokens));
  if (!scores.empty()) add("ggml.scores", std::span(scores));
  add("ggml.token_type", std::span(types));
  if (model == "gpt2") add("ggml.merges", std::span(merges));
  for (const auto& [name, id] : ids) add("ggml." + name, static_cast<uint32_t>(id));
  for (const auto& [name, value] : flags) add("ggml." + name, value);
  if (!chat_template.empty()) add("chat_template", chat_template);
  return keys;
}

json::Value GgufVocabulary::as_metadata() const {
  json::Value metadata{json::Object{}};
  for (const GgufVocabularyKey& key : keys()) {
    metadata.set(key.name, std::visit([](const auto& value) { return json_of(value); }, key.value));
  }
  return metadata;
}

GgufVocabulary gguf_vocabulary(const std::filesystem::path& model_dir, int64_t num_tokens, const std::string& pre) {
  const std::string source = model_dir.string();
  const Tokenizer tokenizer = Tokenizer::load(model_dir);
  const Parts& parts = tokenizer.parts();
  if (static_cast<int64_t>(parts.added_of.size()) > num_tokens) {
    throw invalid({.where = source + ": the tokenizer",
                   .expected = fmt::format("at most {} tokens, the rows of the embedding", num_tokens),
                   .got = fmt::format("{}", parts.added_of.size())});
  }
  GgufVocabulary out;
  Lister lister(parts, num_tokens, out);
  lister.vocabulary();
  if (parts.bpe.options().byte_level) {
    out.model = "gpt2";
    lister.merges();
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
      lister.scores_of_merges();
    } else {
      const std::string bytes = read_file(model_dir / "tokenizer.model", kMaxFileBytes);
      lister.scores_of_pieces(read_sentencepiece(bytes, source));
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
