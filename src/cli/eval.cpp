// moxie eval: how well a model predicts a text, or the raw logits of given ids.
#include <chrono>
#include <cmath>

#include "base/file.h"
#include "cli/model_flags.h"
#include "infer/evaluate.h"
#include "store/safetensors.h"

namespace moxie::cli {
namespace {

constexpr size_t kLargestText = size_t{4} << 30;
constexpr int64_t kDefaultContext = 512;
constexpr int64_t kCacheTokens = 32768;  // room for many short windows side by side; pages are taken as used
constexpr double kLn2 = 0.6931471805599453;

struct EvalFlags {
  ModelFlags model;
  std::string text, ids, logits;
  int64_t context = 0, stride = 0;
  bool as_json = false;
};

void evaluate_text(const EvalFlags& flags) {
  ModelFlags model = flags.model;
  model.context = flags.context;  // some rotary tables depend on it
  LoadedModel loaded(model, {.cache_tokens = std::max(flags.context, kCacheTokens)}, !flags.as_json);
  const std::string text = read_file(flags.text, kLargestText);
  const std::vector<int32_t> ids = loaded.tokenizer().encode(text);
  EvalOptions options{.context = flags.context, .stride = flags.stride};
  if (options.context == 0) options.context = std::min(kDefaultContext, loaded.model().max_context());
  if (options.stride == 0) options.stride = options.context;
  const auto start = std::chrono::steady_clock::now();
  EvalResult result;
  {
    Progress progress;
    result = evaluate(loaded.engine(), ids, options, [&](double share) { progress.show("eval", share); });
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  int64_t bytes = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (result.predicted[i]) bytes += static_cast<int64_t>(loaded.tokenizer().token_bytes(ids[i]).size());
  }
  const double per_token = result.nats / static_cast<double>(result.tokens);
  const double per_byte = result.nats / static_cast<double>(bytes);
  if (flags.as_json) {
    json::Value out;
    out.set("schema_version", 1).set("model", flags.model.model).set("text", flags.text);
    out.set("nats_per_token", per_token).set("nats_per_byte", per_byte).set("bits_per_byte", per_byte / kLn2);
    out.set("perplexity", std::exp(per_token)).set("tokens", result.tokens).set("bytes", bytes);
    out.set("ctx", options.context).set("stride", options.stride).set("seconds", seconds);
    print_json(out);
    return;
  }
  fmt::print("nats/token  {:.6f}\nnats/byte   {:.6f}\nbits/byte   {:.6f}\nperplexity  {:.4f}\n", per_token, per_byte,
             per_byte / kLn2, std::exp(per_token));
  fmt::print("tokens      {} ({} bytes) in windows of {}, stride {}; {:.0f} tokens/s\n", result.tokens, bytes,
             options.context, options.stride, static_cast<double>(result.tokens) / seconds);
}

// input_ids [B, S] as i32.
std::vector<int32_t> read_ids(const View& view, const std::string& source, int64_t vocab_size) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < view.shape.num_elems(); ++i) {
    const int64_t id = view.format == FormatId::i64 ? static_cast<const int64_t*>(view.data)[i]
                                                    : int64_t{static_cast<const int32_t*>(view.data)[i]};
    if (id < 0 || id >= vocab_size) {
      throw invalid({.where = fmt::format("{}: input_ids: element {}", source, i),
                     .expected = fmt::format("an id from 0 to {}", vocab_size - 1),
                     .got = std::to_string(id)});
    }
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

void write_logits(const EvalFlags& flags) {
  const Checkpoint input = Checkpoint::open(flags.ids);
  const Tensor* tensor = input.find("input_ids");
  if (tensor == nullptr || tensor->view.shape.rank() != 2 || tensor->view.shape.num_elems() == 0 ||
      (tensor->view.format != FormatId::i32 && tensor->view.format != FormatId::i64)) {
    throw invalid({.where = flags.ids,
                   .expected = "a tensor input_ids [B, S] of i32 or i64",
                   .got = tensor == nullptr
                              ? "none of that name"
                              : fmt::format("{} {}", format_name(tensor->view.format), tensor->view.shape.str())});
  }
  const int64_t batch = tensor->view.shape[0], length = tensor->view.shape[1];
  ModelFlags model = flags.model;
  model.context = length;  // some rotary tables depend on it
  LoadedModel loaded(model, {}, !flags.as_json);
  const int64_t vocab_size = loaded.spec().vocab_size;
  const std::vector<int32_t> ids = read_ids(tensor->view, flags.ids, vocab_size);
  const auto [logits, data] = Tensor::zeros_f32({batch, length, vocab_size});
  Progress progress;
  for (int64_t b = 0; b < batch; ++b) {
    all_logits(loaded.engine(),
               std::span<const int32_t>(ids).subspan(static_cast<size_t>(b * length), static_cast<size_t>(length)),
               data + b * length * vocab_size);
    progress.show("eval", static_cast<double>(b + 1) / static_cast<double>(batch));
  }
  const NamedView named{"logits", logits.view};
  write_safetensors(flags.logits, {&named, 1});
  if (flags.as_json) {
    json::Value out;
    out.set("schema_version", 1).set("logits", flags.logits);
    out.set("shape", json::Value(json::Array{batch, length, vocab_size}));
    return print_json(out);
  }
  fmt::print("{}  logits [{}, {}, {}], f32\n", flags.logits, batch, length, vocab_size);
}

}  // namespace

void add_eval(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("eval", "How well a model predicts a text; or the raw logits of given ids");
  auto flags = std::make_shared<EvalFlags>();
  flags->model.declare_model(*verb);
  CLI::Option* text = verb->add_option("--text", flags->text, "Text file to predict");
  CLI::Option* context =
      verb->add_option("--ctx", flags->context, "Predictions a window (default: 512, or the model's context)")
          ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  CLI::Option* stride = verb->add_option("--stride", flags->stride,
                                         "Tokens from window to window; below --ctx they overlap (default: --ctx)")
                            ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  CLI::Option* ids = verb->add_option("--ids", flags->ids, "safetensors file with input_ids [B, S]")->excludes(text);
  ids->excludes(context)->excludes(stride);
  CLI::Option* logits = verb->add_option("--logits", flags->logits, "Where to write logits [B, S, V], f32")->needs(ids);
  ids->needs(logits);
  verb->add_option("-t,--threads", flags->model.threads, "Threads")
      ->check(CLI::Range(1, 1024))
      ->envname("MOXIE_THREADS");
  verb->add_flag("--json", flags->as_json, "Print one JSON object");
  verb->callback([flags] {
    if (!flags->text.empty()) {
      evaluate_text(*flags);
    } else if (!flags->ids.empty()) {
      write_logits(*flags);
    } else {
      throw make_error(ErrorCode::usage, "eval: give --text FILE, or --ids FILE with --logits FILE");
    }
  });
}

}  // namespace moxie::cli
