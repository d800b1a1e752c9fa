// What a GGUF file's metadata says of chatting and sampling: the chat template and the generation defaults.
#include <algorithm>

#include "base/error.h"
#include "text/chat_template.h"
#include "text/generation_config.h"
#include "text/tokenizer_gguf.h"

namespace moxie {
namespace {

constexpr int64_t kControl = 3;  // of tokenizer.ggml.token_type

// Control tokens that end an answer in the models that have them; a file's eos_token_id is often another one.
constexpr std::string_view kEnds[] = {"<|eot_id|>",    "<|eom_id|>", "<|im_end|>",    "<|end|>",
                                      "<|return|>",    "<|call|>",   "<|endoftext|>", "<|end_of_text|>",
                                      "<end_of_turn>", "<EOT>",      "_<EOT>",        "<｜end▁of▁sentence｜>"};

bool contains(const json::Array& tokens, std::string_view text) {
  return std::any_of(tokens.begin(), tokens.end(),
                     [&](const json::Value& token) { return token.is_string() && token.as_string() == text; });
}

void add(std::vector<int64_t>& ids, int64_t id) {
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
}

void add_known_ends(const json::Array& tokens, const json::Array& types, std::vector<int64_t>& ids) {
  const bool harmony = contains(tokens, "<|return|>");  // there <|end|> ends a message, not the answer
  size_t found = 0;  // tokens that repeat are refused elsewhere, and must cost nothing here
  for (size_t i = 0; i < std::min(tokens.size(), types.size()); ++i) {
    if (!tokens[i].is_string() || types[i].as_int() != kControl) continue;
    const std::string& text = tokens[i].as_string();
    if (harmony && text == "<|end|>") continue;
    if (std::find(std::begin(kEnds), std::end(kEnds), text) == std::end(kEnds)) continue;
    if (++found > std::size(kEnds)) return;
    add(ids, static_cast<int64_t>(i));
  }
}

}  // namespace

GenerationConfig GenerationConfig::from_gguf(const json::Value& metadata, const std::string& source) {
  const text::GgufKeys keys(metadata, source);
  const auto number = [&](std::string_view key, double least, double most) {
    const std::optional<double> value = keys.number(key);
    if (value && !(*value >= least && *value <= most)) {
      keys.fail(key, fmt::format("a number from {} to {}", least, most), fmt::format("{}", *value));
    }
    return value;
  };
  GenerationConfig config;
  config.temperature = number("general.sampling.temp", 0, 1e6);
  config.top_p = number("general.sampling.top_p", 0, 1);
  config.min_p = number("general.sampling.min_p", 0, 1);
  config.repetition_penalty = number("general.sampling.penalty_repeat", 1e-6, 1e6);
  if (const auto top_k = number("general.sampling.top_k", 0, INT32_MAX)) {
    config.top_k = static_cast<int64_t>(*top_k);
  }
  const json::Array* tokens = keys.list("tokenizer.ggml.tokens", false);
  if (tokens == nullptr) return config;
  for (const char* role : {"eos", "eot", "eom"}) {
    const auto id = keys.token_id(fmt::format("tokenizer.ggml.{}_token_id", role), tokens->size());
    if (id) add(config.eos_token_id, *id);
  }
  const json::Array* types = keys.list("tokenizer.ggml.token_type", false);
  if (types != nullptr) add_known_ends(*tokens, *types, config.eos_token_id);
  config.bos_token_id = keys.token_id("tokenizer.ggml.bos_token_id", tokens->size());
  config.pad_token_id = keys.token_id("tokenizer.ggml.padding_token_id", tokens->size());
  return config;
}

std::optional<ChatTemplate> ChatTemplate::from_gguf(const json::Value& metadata, const std::string& source) {
  const std::optional<std::string> text = text::GgufKeys(metadata, source).string("tokenizer.chat_template");
  if (!text) return std::nullopt;
  return parse(*text, source + ": tokenizer.chat_template");
}

}  // namespace moxie
