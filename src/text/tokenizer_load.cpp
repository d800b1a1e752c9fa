// Tokenizers from files: which file of a model directory counts, and what tokenizer_config.json adds to it.
#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/file.h"
#include "text/sentencepiece.h"
#include "text/tiktoken.h"
#include "text/tokenizer.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_parts.h"

namespace moxie {
namespace {

using text::AddedToken;
using text::Fields;
using text::Parts;

constexpr size_t kMaxFileBytes = size_t{512} << 20;

std::shared_ptr<const Parts> finished(Parts parts) {
  parts.finish();
  return std::make_shared<const Parts>(std::move(parts));
}

// "<s>", or {"content": "<s>", ...}; absent and null leave `id` as it is.
void read_role(const Fields& config, std::string_view key, const Parts& parts, std::optional<int32_t>& id) {
  const json::Value* value = config.find(key);
  if (value == nullptr) return;
  const std::string content = value->is_object() ? config.object(key).string("content") : config.string(key);
  const std::optional<int32_t> found = parts.find(content);
  if (!found) config.fail(key, "a token of the tokenizer", fmt::format("\"{}\"", printable(content)));
  id = found;
}

// Tokens that only tokenizer_config.json names. Those of the tokenizer itself stay as they are.
void read_added_tokens_decoder(const Fields& config, Parts& parts) {
  if (config.find("added_tokens_decoder") == nullptr) return;
  const Fields table = config.object("added_tokens_decoder");
  for (const json::Member& member : table.value().members()) {
    int64_t id = -1;
    const char* end = member.key.data() + member.key.size();
    if (const auto result = std::from_chars(member.key.data(), end, id);
        result.ptr != end || result.ec != std::errc()) {
      table.fail(member.key, "a token id as key", printable(member.key));
    }
    const Fields fields(member.value, config.source(), fmt::format("added_tokens_decoder.{}", printable(member.key)));
    const AddedToken token = text::read_added_token(fields, id);
    const int32_t in_vocab = parts.bpe.find(token.content);
    const auto same = [&](const AddedToken& other) { return other.id == token.id || other.content == token.content; };
    const auto known = std::find_if(parts.added.begin(), parts.added.end(), same);
    const bool clash = known != parts.added.end()
                           ? known->id != token.id || known->content != token.content
                           : (in_vocab >= 0 ? in_vocab != token.id : parts.bpe.vocab().has(token.id));
    if (clash)
      fields.fail("content", "the token this id has in the tokenizer", fmt::format("\"{}\"", printable(token.content)));
    if (known == parts.added.end()) parts.added.push_back(token);
  }
}

// add_bos_token decides, where it is there, whether a text begins with BOS; add_eos_token likewise.
void read_add_flags(const Fields& config, Parts& parts) {
  const auto decide = [&](std::string_view key, std::optional<int32_t> id, std::vector<int32_t>& ids) {
    if (config.find(key) == nullptr || !id) return;
    const bool wanted = config.boolean(key, false);
    const bool there = std::find(ids.begin(), ids.end(), *id) != ids.end();
    if (wanted && !there) ids.push_back(*id);
    if (!wanted && there) std::erase(ids, *id);
  };
  decide("add_bos_token", parts.bos, parts.prefix);
  decide("add_eos_token", parts.eos, parts.suffix);
}

void apply_config(const std::filesystem::path& path, Parts& parts) {
  const std::string source = path.string();
  const json::Value document = json::parse(read_file(path, kMaxFileBytes), {.source = source});
  const Fields config(document, source, "");
  read_added_tokens_decoder(config, parts);
  read_role(config, "bos_token", parts, parts.bos);
  read_role(config, "eos_token", parts, parts.eos);
  read_add_flags(config, parts);
}

}  // namespace

Tokenizer Tokenizer::from_json(std::string_view text, const std::string& source) {
  return Tokenizer(finished(text::parts_from_json(text, source)));
}

Tokenizer Tokenizer::from_sentencepiece(std::string_view bytes, const std::string& source) {
  return Tokenizer(finished(text::parts_from_sentencepiece(bytes, source)));
}

Tokenizer Tokenizer::from_tiktoken(std::string_view ranks, std::string_view pattern,
                                   const std::vector<std::pair<std::string, int32_t>>& specials,
                                   const std::string& source) {
  return Tokenizer(finished(text::parts_from_tiktoken(ranks, pattern, specials, source)));
}

Tokenizer Tokenizer::from_gguf(const json::Value& metadata, const std::string& source) {
  return Tokenizer(finished(text::parts_from_gguf(metadata, source)));
}

Tokenizer Tokenizer::load(const std::filesystem::path& model_dir) {
  const std::filesystem::path json_path = model_dir / "tokenizer.json";
  const std::filesystem::path model_path = model_dir / "tokenizer.model";
  std::error_code ignored;  // a file that cannot be looked at is reported when it is read
  const bool has_json = std::filesystem::exists(json_path, ignored);
  if (!has_json && !std::filesystem::exists(model_path, ignored)) {
    throw invalid({.where = model_dir.string(), .expected = "tokenizer.json or tokenizer.model", .got = "neither"});
  }
  const std::filesystem::path& path = has_json ? json_path : model_path;
  const std::string bytes = read_file(path, kMaxFileBytes);
  Parts parts =
      has_json ? text::parts_from_json(bytes, path.string()) : text::parts_from_sentencepiece(bytes, path.string());
  const std::filesystem::path config_path = model_dir / "tokenizer_config.json";
  if (std::filesystem::exists(config_path, ignored)) apply_config(config_path, parts);
  return Tokenizer(finished(std::move(parts)));
}

}  // namespace moxie
