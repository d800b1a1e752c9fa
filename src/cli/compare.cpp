// moxie compare: an MoE model beside a dense one, measured here.
#include <algorithm>
#include <numeric>
#include <span>

#include "base/file.h"
#include "base/machine.h"
#include "cli/model_flags.h"
#include "infer/evaluate.h"
#include "infer/measure.h"
#include "report/comparison.h"

namespace moxie::cli {
namespace {

constexpr size_t kLargestText = size_t{1} << 30;
constexpr int64_t kEvalContext = 512, kEvalCache = 16384;

struct CompareFlags {
  std::string moe, dense, html, text;
  std::vector<std::string> runs;
  std::vector<int64_t> batch = {1, 4, 16, 64};
  int64_t prompt = 128, generate = 32;
  int threads = 0, repeats = 5;
  bool as_json = false;
};

// The last part of its path that tells it from others: a run's model lies in RUN/model.
std::string name_of(std::filesystem::path directory) {
  directory = directory.lexically_normal();
  if (directory.filename().empty()) directory = directory.parent_path();
  const std::string name = directory.filename().string(), parent = directory.parent_path().filename().string();
  return name == "model" && !parent.empty() ? parent : name;
}

ComparedModel sizes_of(const LoadedModel& loaded, const CompareFlags& flags) {
  const ModelSpec& spec = loaded.spec();
  ComparedModel model;
  model.name = name_of(loaded.path());
  model.family = spec.family;
  model.parameters = count_parameters(spec);
  model.active = count_active_parameters(spec);
  model.conventions = active_parameters(spec);
  for (const LayerSpec& layer : spec.layers) {
    if (layer.ffn.is_dense()) continue;
    ++model.moe_layers;
    model.num_experts = layer.ffn.num_experts;
    model.top_k = layer.ffn.top_k;
  }
  model.disk_bytes = loaded.model().checkpoint().total_bytes();
  model.kv_bytes_per_token = kv_bytes_per_token(spec, kDefaultKvFormat);
  model.max_context = loaded.model().max_context();
  model.context_kv_bytes = kv_cache_bytes(spec, model.max_context, kDefaultKvFormat);
  model.flops_per_token = forward_flops(spec, (flags.prompt + 1) / 2).total();
  return model;
}

// One of the two, with what is measured of it.
struct Contender {
  LoadedModel loaded;
  ComparedModel model;
  std::mt19937_64 random{1};
};

// The two take turns at everything: a machine drifts, a pair drifts together.
void measure_speed(std::span<Contender* const> pair, const CompareFlags& flags) {
  std::vector<std::vector<double>> seconds(pair.size());
  for (Contender* each : pair) {  // warm-up: pages in
    time_prefill(each->loaded.engine(), std::min<int64_t>(32, each->model.max_context), each->random);
  }
  for (int r = 0; r < flags.repeats; ++r) {
    for (size_t i = 0; i < pair.size(); ++i) {
      seconds[i].push_back(time_prefill(pair[i]->loaded.engine(), flags.prompt, pair[i]->random));
    }
  }
  for (size_t i = 0; i < pair.size(); ++i) pair[i]->model.first_token_seconds = median(seconds[i]);
  for (const int64_t batch : flags.batch) {
    std::vector<std::vector<double>> rates(pair.size());
    for (int r = 0; r < flags.repeats; ++r) {
      for (size_t i = 0; i < pair.size(); ++i) {
        const std::vector<double> taken = time_decode(pair[i]->loaded.engine(), flags.generate, batch, pair[i]->random);
        rates[i].push_back(static_cast<double>(flags.generate * batch) /
                           std::accumulate(taken.begin(), taken.end(), 0.0));
      }
    }
    for (size_t i = 0; i < pair.size(); ++i) {
      const ModelSpec& spec = pair[i]->loaded.spec();
      const MoeSpec* routed = nullptr;
      for (const LayerSpec& layer : spec.layers) routed = layer.ffn.is_dense() ? routed : &layer.ffn;
      const DecodeStep step = decode_step(spec, formats_of(pair[i]->loaded.source(), pair[i]->loaded.model()), batch,
                                          flags.generate / 2 + 1, kDefaultKvFormat);
      pair[i]->model.decode.push_back(
          {.batch = batch,
           .tokens_per_second = median(rates[i]),
           .step_bytes = step.weight_bytes + step.kv_bytes,
           .distinct_experts = routed == nullptr ? 0 : expected_distinct_experts(*routed, batch)});
    }
  }
}

double nats_per_byte(LoadedModel& loaded, const std::string& text, int64_t context) {
  const std::vector<int32_t> ids = loaded.tokenizer().encode(text);
  const EvalResult result = evaluate(loaded.engine(), ids, {.context = context, .stride = context}, [](double) {});
  int64_t bytes = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (result.predicted[i]) bytes += static_cast<int64_t>(loaded.tokenizer().token_bytes(ids[i]).size());
  }
  return result.nats / static_cast<double>(bytes);
}

Contender load(const std::string& argument, const CompareFlags& flags, bool wants_moe) {
  EngineOptions options{.threads = flags.threads, .pin = true};
  options.cache_tokens = std::max(flags.prompt, flags.batch.back() * (flags.generate + kKeyBlock)) + kKeyBlock;
  if (!flags.text.empty()) options.cache_tokens = std::max(options.cache_tokens, kEvalCache);
  Contender contender{.loaded = LoadedModel({.model = argument}, options, !flags.as_json)};
  contender.model = sizes_of(contender.loaded, flags);
  if ((contender.model.num_experts > 1) != wants_moe) {
    throw invalid({.where = argument,
                   .expected = wants_moe ? "an MoE model, named first" : "a dense model, named second",
                   .got = wants_moe ? "a dense one" : "one with experts"});
  }
  return contender;
}

void compare(const CompareFlags& given) {
  CompareFlags flags = given;
  flags.batch.push_back(1);  // one request is always among them
  std::sort(flags.batch.begin(), flags.batch.end());
  flags.batch.erase(std::unique(flags.batch.begin(), flags.batch.end()), flags.batch.end());
  Comparison comparison;
  for (const std::string& run : flags.runs) comparison.runs.push_back(read_run_log(run));
  if (!comparison.runs.empty() &&
      (comparison.runs[0].facts.num_experts <= 1 || comparison.runs[1].facts.num_experts > 1)) {
    throw invalid({.where = "--runs",
                   .expected = "the run of an MoE model, then that of a dense one",
                   .got = fmt::format("runs of {} and {} experts", comparison.runs[0].facts.num_experts,
                                      comparison.runs[1].facts.num_experts)});
  }
  const std::string text = flags.text.empty() ? "" : read_file(flags.text, kLargestText);
  comparison.text = std::filesystem::path(flags.text).filename().string();
  comparison.prompt_tokens = flags.prompt;
  comparison.decode_tokens = flags.generate;
  comparison.repeats = flags.repeats;
  comparison.memory_bytes = static_cast<double>(usable_memory(probe_machine()).value_or(0));
  Contender moe = load(flags.moe, flags, true), dense = load(flags.dense, flags, false);
  Contender* const pair[] = {&moe, &dense};
  measure_speed(pair, flags);
  for (Contender* each : pair) {
    if (text.empty()) break;
    each->model.nats_per_byte = nats_per_byte(each->loaded, text, std::min(kEvalContext, each->model.max_context));
  }
  const std::string brand = cpu_brand();
  const int threads = moe.loaded.engine().num_threads();
  comparison.machine =
      fmt::format("{}, {} thread{}", brand.empty() ? "this CPU" : brand, threads, threads == 1 ? "" : "s");
  comparison.kernels = moe.loaded.engine().kernels().name;
  comparison.moe = std::move(moe.model);
  comparison.dense = std::move(dense.model);
  if (!flags.html.empty()) {
    AtomicFile file(flags.html);
    file.write(comparison_page(comparison));
    file.commit();
  }
  if (flags.as_json) {
    print_json(comparison_json(comparison));
  } else {
    fmt::print("{}", comparison_text(comparison));
  }
}

}  // namespace

void add_compare(CLI::App& app) {
  CLI::App* verb =
      app.add_subcommand("compare", "An MoE model beside a dense one: size, memory, speed, when each wins");
  auto flags = std::make_shared<CompareFlags>();
  verb->add_option("moe", flags->moe, "MoE model directory, GGUF file, or org/name in the Hugging Face cache")
      ->required();
  verb->add_option("dense", flags->dense, "Dense model, likewise")->required();
  verb->add_option("--runs", flags->runs, "The two training runs: of the MoE, of the dense model")->expected(2);
  verb->add_option("--text", flags->text, "Text file that both predict");
  verb->add_option("--html", flags->html, "Write a page as well");
  verb->add_flag("--json", flags->as_json, "Print one JSON object");
  verb->add_option("-t,--threads", flags->threads, "Threads (default: as many as this process may use)")
      ->check(CLI::Range(1, 1024))
      ->envname("MOXIE_THREADS");
  verb->add_option("-p,--prompt", flags->prompt, "Tokens of the prompt")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  verb->add_option("-n,--num-tokens", flags->generate, "Tokens to decode")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  verb->add_option("-b,--batch", flags->batch, "Sequences decoded together, beside 1")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16))
      ->capture_default_str();
  verb->add_option("-r,--repeats", flags->repeats, "Repeats of each measurement; the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  verb->callback([flags] { compare(*flags); });
}

}  // namespace moxie::cli
