// moxie inspect: what a model is and what it costs, from its config alone; with weights beside it, also their bytes.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/machine.h"
#include "cli/cli.h"
#include "cli/inspection.h"
#include "cli/model_flags.h"
#include "cli/train_plan.h"
#include "kernels/ceilings.h"
#include "spec/names.h"
#include "store/checkpoint_checks.h"

namespace moxie::cli {
namespace {

constexpr int64_t kDefaultContext = 4096;

struct Options {
  std::string model;
  std::optional<int64_t> context;
  int64_t batch = 1;
  FormatId kv_format = kDefaultKvFormat;
  std::optional<double> bandwidth_gb;
  bool strict = false;
  bool json = false;
};

std::vector<LayerRun> runs_of(const ModelSpec& spec) {
  std::vector<LayerRun> runs;
  for (int64_t layer = 0; layer < spec.num_layers; ++layer) {
    const MoeSpec& ffn = spec.layers[static_cast<size_t>(layer)].ffn;
    if (!runs.empty() && runs.back().ffn == ffn) {
      runs.back().last = layer;
    } else {
      runs.push_back({layer, layer, ffn});
    }
  }
  return runs;
}

// What the weights beside a config take, and the formats they have.
void add_weights(const ModelSource& source, bool strict, Inspection& result) {
  if (!source.has_weights()) return;
  const Checkpoint checkpoint = source.checkpoint(result.spec);
  if (source.is_gguf()) result.formats = formats_by_part(checkpoint);
  if (strict) require_finite(checkpoint);
  WeightFiles files;
  files.bytes = checkpoint.total_bytes();
  files.tensors = static_cast<int64_t>(checkpoint.entries().size());
  for (const TensorEntry& entry : checkpoint.entries()) {
    const View& view = entry.tensor.view;
    files.bytes_by_format[std::string(format_name(view.format))] += view.num_bytes();
    if (view.packed) files.packed_bytes += view.num_bytes();
  }
  result.files = std::move(files);
}

// Bytes a second, best of a few reads: the load of other processes only lowers it.
double measured_bandwidth(int threads) {
  const ReadBuffer buffer;  // as bench reads
  double best = 0;
  for (int i = 0; i < 5; ++i) best = std::max(best, measure_read_gbps(threads, buffer.data(), buffer.bytes()));
  return best * 1e9;
}

Inspection inspect(const Options& options) {
  Inspection result;
  result.model = options.model;
  std::error_code ignored;
  const bool is_file = std::filesystem::is_regular_file(options.model, ignored);
  const std::filesystem::path path = is_file ? std::filesystem::path(options.model) : find_model(options.model);
  std::optional<ModelSource> source;
  if (path.extension() == ".toml") {
    result.training = load_train_config(path, {});
    result.spec = result.training->spec;
  } else {
    source = ModelSource::open(path);
    result.spec = source->spec();
  }
  const ModelSpec& spec = result.spec;
  result.runs = runs_of(spec);
  result.parameters = count_parameters(spec);
  result.active = count_active_parameters(spec);
  result.formats = stored_formats(spec);
  if (source) add_weights(*source, options.strict, result);
  result.bytes = part_bytes(spec, result.formats);
  result.context = options.context.value_or(std::min(spec.max_position, kDefaultContext));
  if (result.context > spec.max_position) {
    throw make_error(ErrorCode::usage, "--context {}: the model allows at most {}", result.context, spec.max_position);
  }
  result.kv_format = options.kv_format;
  result.decode = decode_step(spec, result.formats, options.batch, result.context, options.kv_format);
  if (options.bandwidth_gb) {
    result.bandwidth = *options.bandwidth_gb * 1e9;
    result.bandwidth_source = "given";
  } else {
    const int threads = usable_threads();
    result.bandwidth = measured_bandwidth(threads);
    result.bandwidth_source = fmt::format("measured here with {} thread{}", threads, threads == 1 ? "" : "s");
  }
  return result;
}

// ---- text for people ----

// 46.7 B, 13.9 M; and with a unit 93.4 GB, 25.5 GFLOP (powers of 1000).
std::string scaled(double value, const std::array<const char*, 6>& suffixes, const char* unit) {
  size_t step = 0;
  for (; value >= 999.5 && step + 1 < suffixes.size(); ++step) value /= 1000;
  const bool exact = step == 0 && value == std::floor(value);
  const int digits = exact ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  const std::string suffix = fmt::format("{}{}", suffixes[step], unit);
  return fmt::format("{:.{}f}{}{}", value, digits, suffix.empty() ? "" : " ", suffix);
}

std::string si(double value, const char* unit) {
  return scaled(value, {"", "k", "M", "G", "T", "P"}, unit);
}
std::string count(int64_t value) {
  return scaled(static_cast<double>(value), {"", "k", "M", "B", "T", "Q"}, "");
}
std::string exact_count(int64_t value) {
  return fmt::format("{} ({})", count(value), value);
}

std::string describe(const LayerRun& run) {
  const MoeSpec& ffn = run.ffn;
  const std::string layers =
      run.first == run.last ? fmt::format("layer {}", run.first) : fmt::format("layers {}-{}", run.first, run.last);
  const std::string_view activation = name_of(ffn.activation);
  if (ffn.is_dense()) return fmt::format("{}: dense, {} wide, {}", layers, ffn.moe_intermediate_size, activation);
  std::string text = fmt::format("{}: {} experts {} wide, top-{}; {}", layers, ffn.num_experts,
                                 ffn.moe_intermediate_size, ffn.top_k, name_of(ffn.score));
  if (!ffn.score_before_topk) text += " over the chosen";
  if (ffn.select_bias) text += ", chosen with a bias";
  if (ffn.groups != GroupScore::none) {
    text += fmt::format(", in {} of {} groups by {}", ffn.topk_groups, ffn.num_expert_groups, name_of(ffn.groups));
  }
  if (ffn.norm_topk_prob) text += ", renormalised";
  if (ffn.routed_scaling_factor != 1) text += fmt::format(", x {}", ffn.routed_scaling_factor);
  if (ffn.shared != SharedExpert::none) {
    text += fmt::format("; {}shared expert {} wide", ffn.shared == SharedExpert::sigmoid_gated ? "gated " : "",
                        ffn.shared_intermediate_size);
  }
  return text + fmt::format("; {}", activation);
}

std::string describe_attention(const ModelSpec& spec) {
  const AttentionSpec& a = spec.attention;
  std::string text =
      a.kind == AttentionKind::mla
          ? fmt::format("mla: {} heads of {} (values {}), latent {} + {}", a.num_heads, a.head_dim, a.v_head_dim,
                        a.kv_lora_rank, a.qk_rope_head_dim)
          : fmt::format("gqa: {} heads of {}, {} for keys and values", a.num_heads, a.head_dim, a.num_kv_heads);
  if (a.qk_norm != QkNorm::none) text += fmt::format(", q and k normalised ({})", name_of(a.qk_norm));
  if (a.sinks) text += ", sinks";
  return text;
}

std::string describe_window(const ModelSpec& spec) {
  int64_t layers = 0, window = 0;
  for (const LayerSpec& layer : spec.layers) {
    layers += layer.window > 0 ? 1 : 0;
    window = std::max(window, layer.window);
  }
  return layers == 0 ? "none" : fmt::format("{} tokens in {} of {} layers", window, layers, spec.num_layers);
}

void line(std::string_view name, const std::string& text) {
  fmt::print("{:<11} {}\n", name, text);
}

void print_parts(const Inspection& in) {
  fmt::print("\n{:<16}{:>11}{:>8}{:>12}  {:<8}{:>11}\n", "part", "parameters", "share", "bytes", "format", "active");
  for (int i = 0; i < kNumParts; ++i) {
    const auto part = static_cast<Part>(i);
    if (in.parameters[part] == 0) continue;
    const double share = 100 * static_cast<double>(in.parameters[part]) / static_cast<double>(in.parameters.total());
    fmt::print("{:<16}{:>11}{:>7.1f}%{:>12}  {:<8}{:>11}\n", part_name(part), count(in.parameters[part]), share,
               si(static_cast<double>(in.bytes[part]), "B"), format_name(in.formats[part]), count(in.active[part]));
  }
  fmt::print("{:<16}{:>11}{:>8}{:>12}  {:<8}{:>11}\n", "total", count(in.parameters.total()), "",
             si(static_cast<double>(in.bytes.total()), "B"), "", count(in.active.total()));
  for (const LayerRun& run : in.runs) {
    if (run.ffn.is_dense()) continue;
    fmt::print("{:<16}{:>11}{:>8}{:>12}  {}\n", "one expert", count(expert_parameters(in.spec, run.ffn)), "",
               si(static_cast<double>(expert_bytes(in.spec, run.ffn, in.formats)), "B"),
               format_name(in.formats[Part::routed_experts]));
    break;
  }
  fmt::print("\n");
}

void print_costs(const Inspection& in) {
  const ForwardFlops flops = forward_flops(in.spec, in.context);
  const TrainingBytes training = training_bytes(in.spec);
  const auto bytes = [](double value) { return si(value, "B"); };
  const auto kv_bytes = [&](FormatId format) { return static_cast<double>(kv_bytes_per_token(in.spec, format)); };
  line("cache", fmt::format("{} a token in {} ({} in f32); {} at context {}", bytes(kv_bytes(in.kv_format)),
                            kv_name(in.kv_format), bytes(kv_bytes(FormatId::f32)),
                            bytes(kv_bytes(in.kv_format) * static_cast<double>(in.context)), in.context));
  line("forward", fmt::format("{} a token, and {} of attention at context {}", si(flops.matmul, "FLOP"),
                              si(flops.attention, "FLOP"), in.context));
  line("training", fmt::format("{} with AdamW in mixed precision ({} with f32 gradients), activations apart",
                               bytes(training.mixed), bytes(training.mixed_f32_grads)));
  line("decode", fmt::format("batch {}, context {}: {} of weights and {} of cache a step", in.decode.batch, in.context,
                             bytes(in.decode.weight_bytes), bytes(in.decode.kv_bytes)));
  line("", fmt::format("at most {} at {:.1f} GB/s ({})", si(in.decode.max_tokens_per_second(in.bandwidth), "tokens/s"),
                       in.bandwidth / 1e9, in.bandwidth_source));
}

void print_text(const Inspection& in) {
  const ModelSpec& spec = in.spec;
  const ActiveParameters active = active_parameters(spec);
  line("model", in.model);
  line("family", fmt::format("{}: {} layers, hidden {}, vocabulary {}, context {}{}", spec.family, spec.num_layers,
                             spec.hidden_size, spec.vocab_size, spec.max_position,
                             spec.tie_word_embeddings ? ", tied embeddings" : ""));
  line("parameters", exact_count(in.parameters.total()));
  line("active", fmt::format("{} with all embeddings", exact_count(active.full)));
  line("", fmt::format("{} without the input embedding", exact_count(active.without_input_embedding)));
  line("", fmt::format("{} without embedding and head", exact_count(active.without_embeddings)));
  std::string_view name = "layers";
  for (const LayerRun& run : in.runs) {
    line(name, describe(run));
    name = "";
  }
  line("attention", describe_attention(spec));
  line("window", describe_window(spec));
  line("rope", fmt::format("{} dimensions, theta {:g}{}", spec.rope.dim, spec.rope.theta,
                           spec.rope.scaling == RopeScaling::none
                               ? ""
                               : fmt::format(", {} x {:g}", name_of(spec.rope.scaling), spec.rope.factor)));
  print_parts(in);
  print_costs(in);
  if (in.files) {
    std::string formats;
    for (const auto& [format, bytes] : in.files->bytes_by_format) {
      formats += fmt::format("{}{} {}", formats.empty() ? "" : ", ", si(static_cast<double>(bytes), "B"), format);
    }
    line("files", fmt::format("{} bytes in {} tensors: {}", in.files->bytes, in.files->tensors, formats));
    const auto packed = static_cast<double>(in.files->packed_bytes);
    if (packed > 0) line("", fmt::format("rows are packed in {} of them: a file for moxie alone", si(packed, "B")));
  }
  for (const std::string& notice : spec.notices) line("note", notice);
  if (in.training) {
    fmt::print("\n");
    print_train_plan(*in.training, train_peak_flops(*in.training));
  }
}

}  // namespace

void add_inspect(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("inspect", "What a model is and what it costs; works from a config.json alone");
  auto options = std::make_shared<Options>();
  verb->add_option("model", options->model,
                   "Model directory, GGUF or .moxie file, org/name in the Hugging Face cache, a config.json, or the "
                   "TOML of a training run")
      ->required();
  verb->add_option("--context", options->context, "Tokens in the cache for the estimates (default: up to 4096)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 48));
  verb->add_option("--batch", options->batch, "Sequences decoded together")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  declare_kv(*verb, options->kv_format);
  verb->add_option("--bandwidth", options->bandwidth_gb, "Memory bandwidth in GB/s (default: measured, 0.3 s)")
      ->check(CLI::Range(1e-3, 1e6));
  verb->add_flag("--strict", options->strict, "Read all weights and refuse NaN and infinity");
  verb->add_flag("--json", options->json, "Print one JSON object");
  verb->callback([options] {
    const Inspection inspection = inspect(*options);
    if (options->json) {
      print_json(to_json(inspection));
    } else {
      print_text(inspection);
    }
  });
}

}  // namespace moxie::cli
