// The flags of every verb that runs a model, and the model they lead to.
#pragma once

#include <filesystem>
#include <memory>

#include "cli/cli.h"
#include "infer/engine.h"
#include "plan/accounting.h"
#include "text/tokenizer.h"

namespace moxie::cli {

struct ModelFlags {
  std::string model;
  int64_t context = 0;
  int threads = 0;
  FormatId kv_format = kDefaultKvFormat;

  /// Declares MODEL, --ctx, -t and --kv.
  void declare(CLI::App& verb);
  /// MODEL and --kv without --ctx and -t, for verbs that give those a meaning of their own.
  void declare_model(CLI::App& verb);
};

/// --kv: the format of cached keys and values.
void declare_kv(CLI::App& verb, FormatId& kv_format);

/// What --kv calls a format.
std::string_view kv_name(FormatId kv_format);

/// The directory or GGUF file a MODEL argument stands for: itself, or the snapshot of `org/name[@revision]` in the
/// Hugging Face cache. Throws Error{invalid} saying where it looked.
std::filesystem::path find_model(const std::string& argument);

/// A model with its engine and tokenizer. With MOXIE_TAP=DIR every activation is written there.
class LoadedModel {
 public:
  /// `say_what`: prints the "load" line on stderr.
  LoadedModel(const ModelFlags& flags, const EngineOptions& options, bool say_what);

  const ModelSource& source() const { return source_; }
  /// The directory or file it came from.
  const std::filesystem::path& path() const { return source_.path(); }
  const Model& model() const { return *model_; }
  const ModelSpec& spec() const { return model_->spec(); }
  Engine& engine() { return *engine_; }
  /// Loaded on first use: raw evaluation needs none.
  const Tokenizer& tokenizer();

 private:
  void describe(double seconds) const;

  ModelSource source_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Tap> tap_;
  std::unique_ptr<Engine> engine_;
  std::optional<Tokenizer> tokenizer_;
};

/// The formats as the files have them: a config may announce another dtype, or none.
PartFormats formats_of(const ModelSource& source, const Model& model);

/// The format that most bytes of each part have, of a checkpoint that gguf_checkpoint made: its files mix them.
PartFormats formats_by_part(const Checkpoint& gguf);

}  // namespace moxie::cli
