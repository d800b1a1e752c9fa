#include "cli/model_flags.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>

namespace moxie::cli {
namespace {

const std::map<std::string, FormatId> kKvFormats = {
    {"f32", FormatId::f32}, {"bf16", FormatId::bf16}, {"f16", FormatId::f16}, {"q8", FormatId::q8_0}};

std::filesystem::path environment_path(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// In the order huggingface_hub looks.
std::filesystem::path hub_cache() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const auto path = environment_path(name); !path.empty()) return path;
  }
  if (const auto home = environment_path("HF_HOME"); !home.empty()) return home / "hub";
  if (const auto cache = environment_path("XDG_CACHE_HOME"); !cache.empty()) return cache / "huggingface/hub";
  return environment_path("HOME") / ".cache/huggingface/hub";
}

// Of a tensor of a GGUF file, under the name gguf_checkpoint gives it.
Part part_of(std::string_view name) {
  constexpr std::pair<std::string_view, Part> kMarks[] = {
      {"embed_tokens", Part::embedding},   {"lm_head", Part::head},
      {".self_attn.", Part::attention},    {"norm.", Part::norms},
      {".experts.", Part::routed_experts}, {".shared_expert", Part::shared_experts},
      {".mlp.gate.", Part::router}};
  for (const auto& [mark, part] : kMarks) {
    if (name.find(mark) != std::string_view::npos) return part;
  }
  return Part::dense_ffn;
}

// 7.5M, 46.7B
std::string short_count(int64_t n) {
  const auto value = static_cast<double>(n);
  if (n < 1'000'000) return fmt::format("{:.0f}K", value / 1e3);
  return n < 1'000'000'000 ? fmt::format("{:.1f}M", value / 1e6) : fmt::format("{:.1f}B", value / 1e9);
}

}  // namespace

std::filesystem::path find_model(const std::string& argument) {
  std::error_code ignored;
  if (std::filesystem::is_directory(argument, ignored)) {
    const std::filesystem::path directory = argument, trained = directory / "model";  // of a run directory
    const auto is_model = [&](const std::filesystem::path& at) { return exists(at / "config.json", ignored); };
    return !is_model(directory) && is_model(trained) ? trained : directory;
  }
  if (std::filesystem::exists(argument, ignored)) {
    if (is_gguf_file(argument)) return argument;
    throw invalid({.where = argument,
                   .expected = "a model directory (config.json and safetensors) or a GGUF or .moxie file",
                   .got = "another file"});
  }
  const size_t slash = argument.find('/');
  if (slash == std::string::npos || argument.find('/', slash + 1) != std::string::npos || argument.starts_with('.')) {
    throw invalid({.where = argument, .expected = "a model directory or GGUF file", .got = "nothing of that name"});
  }
  std::string name = argument, revision = "main";
  if (const size_t at = argument.find('@', slash); at != std::string::npos) {
    name = argument.substr(0, at);
    revision = argument.substr(at + 1);
  }
  const std::filesystem::path repo =
      hub_cache() / fmt::format("models--{}--{}", name.substr(0, slash), name.substr(slash + 1));
  std::string commit = revision;
  if (std::ifstream ref(repo / "refs" / revision); ref) ref >> commit;
  const std::filesystem::path snapshot = repo / "snapshots" / commit;
  if (std::filesystem::is_directory(snapshot, ignored)) return snapshot;
  throw invalid({.where = argument,
                 .expected = "a model directory, or a model in the Hugging Face cache",
                 .got = fmt::format("neither ({} does not exist)", snapshot.string()),
                 .hint = "Download it first, e.g. with `hf download`."});
}

void declare_kv(CLI::App& verb, FormatId& kv_format) {
  verb.add_option_function<std::string>(
          "--kv", [&kv_format](const std::string& name) { kv_format = kKvFormats.at(name); },
          fmt::format("Format of cached keys and values; q8: int8 with a scale for 32 (default: {})",
                      kv_name(kDefaultKvFormat)))
      ->check(CLI::IsMember(kKvFormats))
      ->type_name("FORMAT");
}

std::string_view kv_name(FormatId kv_format) {
  return kv_format == FormatId::q8_0 ? "q8" : format_name(kv_format);
}

void ModelFlags::declare_model(CLI::App& verb) {
  verb.add_option("model", model, "Model or run directory, GGUF or .moxie file, or org/name in the Hugging Face cache")
      ->required();
  declare_kv(verb, kv_format);
}

void ModelFlags::declare(CLI::App& verb) {
  declare_model(verb);
  verb.add_option("--ctx", context, "Context in tokens (default: the model's)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->envname("MOXIE_CTX");
  verb.add_option("-t,--threads", threads, "Threads (default: as many as this process may use)")
      ->check(CLI::Range(1, 1024))
      ->envname("MOXIE_THREADS");
}

LoadedModel::LoadedModel(const ModelFlags& flags, const EngineOptions& options, bool say_what)
    : source_(ModelSource::open(find_model(flags.model))) {
  const auto start = std::chrono::steady_clock::now();
  model_ = std::make_unique<Model>(Model::load(source_, flags.context));
  EngineOptions chosen = options;
  if (chosen.threads == 0) chosen.threads = flags.threads;
  chosen.kv_format = flags.kv_format;
  engine_ = std::make_unique<Engine>(*model_, chosen);
  if (const auto directory = environment_path("MOXIE_TAP"); !directory.empty()) {
    tap_ = std::make_unique<DirectoryTap>(directory);
    engine_->set_tap(tap_.get());
  }
  if (!say_what) return;
  for (const std::string& notice : spec().notices) say("note   " + notice);
  describe(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

void LoadedModel::describe(double seconds) const {
  int64_t moe_layers = 0;
  const MoeSpec* moe = nullptr;
  for (const LayerSpec& layer : spec().layers) {
    if (layer.ffn.is_dense()) continue;
    ++moe_layers;
    moe = &layer.ffn;
  }
  const std::string experts =
      moe == nullptr ? "dense" : fmt::format("{} MoE x {} experts, top-{}", moe_layers, moe->num_experts, moe->top_k);
  say(fmt::format("load   {}  {} layers ({})  {} total / {} active  {:.1f} MB  {:.2f} s", path().string(),
                  spec().num_layers, experts, short_count(count_parameters(spec()).total()),
                  short_count(active_parameters(spec()).full),
                  static_cast<double>(model_->checkpoint().total_bytes()) / 1e6, seconds));
  say(fmt::format("plan   {} thread{}  {} kernels  ctx {} of {}  kv {}", engine_->num_threads(),
                  engine_->num_threads() == 1 ? "" : "s", engine_->kernels().name, model_->max_context(),
                  spec().max_position, kv_name(engine_->kv_format())));
}

const Tokenizer& LoadedModel::tokenizer() {
  if (!tokenizer_) {
    tokenizer_ = source_.tokenizer();
    if (tokenizer_->vocab_size() > spec().vocab_size) {
      throw invalid({.where = path().string() + ": tokenizer",
                     .expected = fmt::format("at most {} tokens, the model's vocabulary", spec().vocab_size),
                     .got = fmt::format("{}", tokenizer_->vocab_size())});
    }
  }
  return *tokenizer_;
}

PartFormats formats_of(const ModelSource& source, const Model& model) {
  const Checkpoint& checkpoint = model.checkpoint();
  if (source.is_gguf()) return formats_by_part(checkpoint);
  std::map<FormatId, int64_t> bytes;
  for (const TensorEntry& entry : checkpoint.entries()) {
    bytes[entry.tensor.view.format] += entry.tensor.view.num_bytes();
  }
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  const FormatId format = most->first;
  const bool plain = format == FormatId::f32 || format == FormatId::bf16 || format == FormatId::f16;
  return plain ? all_in(format) : stored_formats(model.spec());  // mxfp4 lies in the files as u8
}

PartFormats formats_by_part(const Checkpoint& gguf) {
  std::map<FormatId, int64_t> bytes[kNumParts], all;
  for (const TensorEntry& entry : gguf.entries()) {
    const View& view = entry.tensor.view;
    bytes[static_cast<size_t>(part_of(entry.name))][view.format] += view.num_bytes();
    all[view.format] += view.num_bytes();
  }
  const auto most = [](const std::map<FormatId, int64_t>& sizes, FormatId otherwise) {
    const auto largest =
        std::max_element(sizes.begin(), sizes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    return sizes.empty() ? otherwise : largest->first;
  };
  PartFormats formats;
  for (int i = 0; i < kNumParts; ++i) {
    formats[static_cast<Part>(i)] = most(bytes[static_cast<size_t>(i)], most(all, FormatId::f32));
  }
  return formats;
}

}  // namespace moxie::cli
