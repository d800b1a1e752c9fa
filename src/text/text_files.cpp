#include "text/text_files.h"

#include <algorithm>

#include "base/error.h"
#include "text/generation_config.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json_write.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

// What belongs to text and sampling, not to the weights.
bool goes_along(const std::string& name) {
  constexpr std::string_view names[] = {"vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json",
                                        "generation_config.json"};
  return name.starts_with("tokenizer") || name.starts_with("chat_template") || name.ends_with(".tiktoken") ||
         name.ends_with(".jinja") || std::find(std::begin(names), std::end(names), name) != std::end(names);
}

// One of several ids alone, as older readers want it.
json::Value ids_of(const std::vector<int64_t>& ids) {
  if (ids.size() == 1) return ids.front();
  json::Value list{json::Array{}};
  for (const int64_t id : ids) list.push(id);
  return list;
}

json::Value generation_config(const GenerationConfig& config) {
  json::Value out{json::Object{}};
  const auto set = [&](const char* field, const auto& value) {
    if (value) out.set(field, *value);
  };
  set("bos_token_id", config.bos_token_id);
  if (!config.eos_token_id.empty()) out.set("eos_token_id", ids_of(config.eos_token_id));
  set("pad_token_id", config.pad_token_id);
  // Readers apply the others only where sampling is asked for.
  if (config.temperature || config.top_k || config.top_p || config.min_p) out.set("do_sample", config.temperature != 0);
  if (config.temperature != 0) set("temperature", config.temperature);
  set("top_k", config.top_k);
  set("top_p", config.top_p);
  set("min_p", config.min_p);
  set("repetition_penalty", config.repetition_penalty);
  return out;
}

json::Value tokenizer_config(const text::GgufKeys& keys, const text::Parts& parts) {
  json::Value out;
  out.set("tokenizer_class", "PreTrainedTokenizerFast").set("clean_up_tokenization_spaces", false);
  out.set("add_bos_token", !parts.prefix.empty()).set("add_eos_token", !parts.suffix.empty());
  const auto token = [&](const char* field, std::optional<int32_t> id) {
    if (id && !parts.content(*id).empty()) out.set(field, parts.content(*id));
  };
  token("bos_token", parts.bos);
  token("eos_token", parts.eos);
  const size_t size = keys.list("tokenizer.ggml.tokens", true)->size();
  token("pad_token", keys.token_id("tokenizer.ggml.padding_token_id", size));
  if (parts.bpe.options().unk >= 0) token("unk_token", parts.bpe.options().unk);
  if (const auto chat = keys.string("tokenizer.chat_template")) out.set("chat_template", *chat);
  return out;
}

}  // namespace

void copy_text_files(const fs::path& from, const fs::path& to) {
  for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    std::error_code error;
    if (!goes_along(name) || !entry.is_regular_file(error)) continue;
    if (!fs::copy_file(entry.path(), to / name, error)) {
      throw make_error(ErrorCode::runtime, "copy {}: {}", entry.path().string(), error.message());
    }
  }
}

std::vector<TextFile> text_files_of_gguf(const json::Value& metadata, const std::string& source) {
  const text::GgufKeys keys(metadata, source);
  const GenerationConfig generation = GenerationConfig::from_gguf(metadata, source);
  std::vector<TextFile> files = {{"generation_config.json", generation_config(generation).dump(2) + "\n"}};
  if (keys.find("tokenizer.ggml.model") == nullptr) return files;  // a model without a tokenizer
  text::Parts parts = text::parts_from_gguf(metadata, source);
  parts.finish();
  files.push_back({"tokenizer.json", text::tokenizer_json_of(parts)});
  files.push_back({"tokenizer_config.json", tokenizer_config(keys, parts).dump(2) + "\n"});
  return files;
}

}  // namespace moxie
