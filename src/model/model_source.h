// Where a model comes from: a Hugging Face directory or a GGUF file, and the parts of a model that either holds. The
// one place that tells the two apart.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "base/json.h"
#include "spec/model_spec.h"
#include "store/safetensors.h"
#include "text/chat_template.h"
#include "text/generation_config.h"
#include "text/tokenizer.h"

namespace moxie {

/// Whether a file is GGUF by its name or its first bytes.
bool is_gguf_file(const std::filesystem::path& file);

/// Cheap to copy; a GGUF file stays mapped. Each part is read when it is asked for.
class ModelSource {
 public:
  /// A directory (config.json and whatever else stands there, else its only GGUF model), a config.json, or a GGUF file:
  /// the first one of a split set. Throws Error{invalid}: anything else, and what GgufFile::open refuses.
  static ModelSource open(const std::filesystem::path& path);

  /// What was opened.
  const std::filesystem::path& path() const { return path_; }
  bool is_gguf() const { return gguf_ != nullptr; }

  /// As load_config or gguf_spec.
  ModelSpec spec() const;
  /// The config.json of the directory, or the one that stands behind the file (gguf_config).
  json::Value config() const;
  /// The weights, under the names that bind_weights looks for. `spec` as spec() gave it.
  Checkpoint checkpoint(const ModelSpec& spec) const;
  /// Whether there are weights at all: a directory may hold a config.json alone.
  bool has_weights() const;
  Tokenizer tokenizer() const;
  std::optional<ChatTemplate> chat_template() const;
  GenerationConfig generation_config() const;
  /// Writes the files of tokenizer, chat template and sampling defaults into a directory that exists: those of the
  /// directory as they are, or what the file's metadata says (text_files_of_gguf). Throws Error{runtime} too.
  void write_text_files(const std::filesystem::path& directory) const;

 private:
  struct Gguf;
  std::filesystem::path path_;
  std::shared_ptr<const Gguf> gguf_;
};

}  // namespace moxie
