// Where the tokenizer tests find vocabularies, texts and expected ids (tests/data/tokenizers;
// tools/tokenizer_fixtures.py).
#pragma once

#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/tokenizer.h"

namespace moxie::tokenizer_data {

inline std::string path(const std::string& name) {
  return std::string(MOXIE_SOURCE_DIR) + "/tests/data/tokenizers/" + name;
}

/// The file's bytes, decompressed by gzip if its name ends in .gz.
inline std::string read(const std::string& name) {
  const std::string command = (name.ends_with(".gz") ? "gzip -dc '" : "cat '") + path(name) + "'";
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("cannot run " + command);
  std::string bytes;
  char buffer[65536];
  for (size_t count = 0; (count = fread(buffer, 1, sizeof buffer, pipe)) > 0;) bytes.append(buffer, count);
  if (pclose(pipe) != 0) throw std::runtime_error("failed: " + command);
  return bytes;
}

inline constexpr std::string_view kO200kPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

inline Tokenizer o200k() {
  return Tokenizer::from_tiktoken(read("o200k/o200k_base.tiktoken.gz"), kO200kPattern,
                                  {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}}, "o200k_base.tiktoken");
}

/// "gpt2" (tokenizer.json), "mistral_v1" and other SentencePiece vocabularies (tokenizer.model), "mistral_v1_json",
/// "o200k".
inline Tokenizer open(const std::string& name) {
  if (name == "o200k") return o200k();
  if (name == "mistral_v1_json") return Tokenizer::from_json(read("mistral_v1/tokenizer.json.gz"), name);
  if (name.starts_with("mistral") || name == "llama-spm" || name == "phi-3") {
    return Tokenizer::from_sentencepiece(read(name + "/tokenizer.model.gz"), name);
  }
  return Tokenizer::from_json(read(name + "/tokenizer.json.gz"), name);
}

/// The texts that every vocabulary is tested on.
inline std::vector<std::string> corpus() {
  std::vector<std::string> texts;
  const json::Value document = json::parse(read("corpus.json.gz"), {.source = "corpus.json"});
  for (const json::Value& text : document.items()) texts.push_back(text.as_string());
  return texts;
}

inline std::vector<int32_t> ids_of(const json::Value& list) {
  std::vector<int32_t> ids;
  for (const json::Value& id : list.items()) ids.push_back(static_cast<int32_t>(id.as_int().value()));
  return ids;
}

}  // namespace moxie::tokenizer_data
