#include "train/run_tokenizer.h"

#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "text/byte_letters.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;
constexpr size_t kMaxFileBytes = size_t{256} << 20;

json::Value byte_level(const char* type = "ByteLevel") {
  json::Value part;
  part.set("type", type);
  part.set("add_prefix_space", false);
  part.set("trim_offsets", false);
  part.set("use_regex", false);
  return part;
}

json::Value byte_vocabulary() {
  json::Value vocab;
  for (int id = 0; id < 256; ++id) vocab.set(text::letters_of_bytes(std::string(1, static_cast<char>(id))), id);
  return vocab;
}

std::string byte_tokenizer_json() {
  json::Value model;
  model.set("type", "BPE");
  for (const char* absent : {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"}) {
    model.set(absent, json::Value());
  }
  model.set("fuse_unk", false);
  model.set("byte_fallback", false);
  model.set("vocab", byte_vocabulary());
  model.set("merges", json::Array());

  json::Value root;
  root.set("version", "1.0");
  root.set("truncation", json::Value());
  root.set("padding", json::Value());
  root.set("added_tokens", json::Array());
  root.set("normalizer", json::Value());
  root.set("pre_tokenizer", byte_level());
  root.set("post_processor", json::Value());
  root.set("decoder", byte_level());
  root.set("model", std::move(model));
  return root.dump(1);
}

std::string plain_tokenizer_config(int64_t max_position) {
  json::Value config;
  config.set("tokenizer_class", "PreTrainedTokenizerFast");
  config.set("model_max_length", max_position);
  config.set("clean_up_tokenization_spaces", false);
  return config.dump(1);
}

}  // namespace

bool is_byte_level(const std::string& tokenizer) {
  return tokenizer == "bytes";
}

Tokenizer open_tokenizer(const std::string& tokenizer) {
  std::error_code ignored;
  if (fs::is_directory(tokenizer, ignored)) return Tokenizer::load(tokenizer);
  return Tokenizer::from_json(read_file(tokenizer, kMaxFileBytes), tokenizer);
}

std::vector<std::string> tokenizer_paths(const std::string& tokenizer) {
  if (is_byte_level(tokenizer)) return {};
  std::error_code ignored;
  if (!fs::is_directory(tokenizer, ignored)) return {tokenizer};
  std::vector<std::string> paths;
  for (const char* name : {"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
                           "chat_template.jinja"}) {
    const fs::path path = fs::path(tokenizer) / name;
    if (fs::is_regular_file(path, ignored)) paths.push_back(path.string());
  }
  return paths;
}

std::vector<TrainData::ExportFile> export_tokenizer(const std::string& tokenizer, int64_t max_position) {
  std::vector<TrainData::ExportFile> files;
  bool has_config = false;
  for (const std::string& path : tokenizer_paths(tokenizer)) {
    std::error_code ignored;
    // A file given by itself may have any name; a model directory wants this one.
    const std::string name =
        fs::is_directory(tokenizer, ignored) ? fs::path(path).filename().string() : "tokenizer.json";
    has_config = has_config || name == "tokenizer_config.json";
    files.push_back({name, read_file(path, kMaxFileBytes)});
  }
  if (files.empty()) files.push_back({"tokenizer.json", byte_tokenizer_json()});
  if (!has_config) files.push_back({"tokenizer_config.json", plain_tokenizer_config(max_position)});
  return files;
}

}  // namespace moxie
