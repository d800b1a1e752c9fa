#include "model/model_source.h"

#include <algorithm>
#include <fstream>
#include <vector>

#include "base/file.h"
#include "model/gguf_weights.h"
#include "spec/config.h"
#include "text/text_files.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

// NAME-00002-of-00003.gguf and later ones, which the first part leads to.
bool is_later_part(const std::string& name) {
  constexpr std::string_view kTail = "-00001-of-00001.gguf";
  if (name.size() < kTail.size()) return false;
  const std::string_view tail = std::string_view(name).substr(name.size() - kTail.size());
  return tail[0] == '-' && tail.substr(6, 4) == "-of-" && tail.substr(1, 5) != "00001";
}

// The GGUF model in a directory without a config.json.
std::optional<fs::path> only_gguf(const fs::path& directory) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, ignored)) {
    const fs::path& file = entry.path();
    if (has_gguf_name(file) && !is_later_part(file.filename().string())) found.push_back(file);
  }
  if (found.size() < 2) return found.empty() ? std::nullopt : std::optional(found.front());
  std::sort(found.begin(), found.end());
  throw invalid({.where = directory.string(),
                 .expected = "a config.json, or one GGUF model",
                 .got = fmt::format("{} and {} more", found[0].filename().string(), found.size() - 1),
                 .hint = "Name the file."});
}

}  // namespace

bool is_gguf_file(const fs::path& file) {
  if (has_gguf_name(file)) return true;
  std::error_code failed;
  if (!fs::is_regular_file(file, failed)) return false;  // a pipe would keep us waiting
  char magic[4] = {};
  std::ifstream in(file, std::ios::binary);
  return in.read(magic, 4) && std::string_view(magic, 4) == "GGUF";
}

struct ModelSource::Gguf {
  GgufFile file;
  GgufTensorFacts facts;
};

ModelSource ModelSource::open(const fs::path& path) {
  ModelSource source;
  source.path_ = path;
  std::error_code ignored;
  fs::path file = path;
  if (fs::is_directory(path, ignored)) {
    if (fs::exists(path / "config.json", ignored)) return source;
    const std::optional<fs::path> found = only_gguf(path);
    if (!found) return source;  // the parts report what is missing
    file = *found;
  } else if (!is_gguf_file(path)) {
    return source;
  }
  GgufFile opened = GgufFile::open(file);
  GgufTensorFacts facts = gguf_tensor_facts(opened);
  source.path_ = file;
  source.gguf_ = std::make_shared<const Gguf>(Gguf{std::move(opened), std::move(facts)});
  return source;
}

ModelSpec ModelSource::spec() const {
  return is_gguf() ? gguf_spec(gguf_->file.metadata(), gguf_->facts, gguf_->file.source()) : load_config(path_);
}

json::Value ModelSource::config() const {
  return is_gguf() ? gguf_config(gguf_->file.metadata(), gguf_->facts, gguf_->file.source()).config
                   : config_tree(path_);
}

Checkpoint ModelSource::checkpoint(const ModelSpec& spec) const {
  return is_gguf() ? gguf_checkpoint(gguf_->file, spec) : Checkpoint::open(path_);
}

bool ModelSource::has_weights() const {
  std::error_code ignored;
  if (is_gguf()) return !gguf_->file.entries().empty();
  return fs::exists(path_ / "model.safetensors", ignored) ||
         fs::exists(path_ / "model.safetensors.index.json", ignored);
}

Tokenizer ModelSource::tokenizer() const {
  return is_gguf() ? Tokenizer::from_gguf(gguf_->file.metadata(), gguf_->file.source()) : Tokenizer::load(path_);
}

std::optional<ChatTemplate> ModelSource::chat_template() const {
  return is_gguf() ? ChatTemplate::from_gguf(gguf_->file.metadata(), gguf_->file.source()) : ChatTemplate::load(path_);
}

GenerationConfig ModelSource::generation_config() const {
  return is_gguf() ? GenerationConfig::from_gguf(gguf_->file.metadata(), gguf_->file.source())
                   : GenerationConfig::load(path_);
}

void ModelSource::write_text_files(const fs::path& directory) const {
  std::error_code ignored;
  if (!is_gguf()) return copy_text_files(fs::is_directory(path_, ignored) ? path_ : path_.parent_path(), directory);
  for (const TextFile& text : text_files_of_gguf(gguf_->file.metadata(), gguf_->file.source())) {
    AtomicFile file(directory / text.name);
    file.write(text.text);
    file.commit();
  }
}

}  // namespace moxie
