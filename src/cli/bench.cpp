// moxie bench: prefill and decode speed of a model, beside what this machine can do at most and beside another program,
// measured in the same run.
#include "infer/bench.h"

#include "cli/bench_report.h"
#include "cli/model_flags.h"

namespace moxie::cli {
namespace {

struct BenchFlags {
  std::string model;
  std::vector<int64_t> prompt = {128, 512}, batch = {1};
  int64_t generate = 64;
  std::string output = "md";
  BenchOptions options;
};

void bench(BenchFlags& flags) {
  const ModelSource source = ModelSource::open(find_model(flags.model));
  const Model model = Model::load(source);
  for (const int64_t n : flags.prompt) flags.options.tests.push_back({.decode = false, .tokens = n});
  for (const int64_t batch : flags.batch) {
    if (flags.generate > 0) {
      flags.options.tests.push_back({.decode = true, .tokens = flags.generate, .batch = batch});
    }
  }
  if (flags.options.threads.empty()) flags.options.threads = {0};
  const BenchResult result = run_bench(model, flags.options);
  const BenchFacts facts{.model = source.path().filename().string(),
                         .bytes = model.checkpoint().total_bytes(),
                         .spec = &model.spec(),
                         .formats = formats_of(source, model),
                          .kv_format = flags.options.kv_format,
                         .kernels = &choose_kernel_set()};
  if (flags.output == "json") {
    print_bench_json(facts, result);
  } else {
    print_bench_markdown(facts, result);
  }
}

}  // namespace

void add_bench(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("bench", "Prefill and decode speed, beside this machine's measured limits");
  auto flags = std::make_shared<BenchFlags>();
  verb->add_option("model", flags->model, "Model directory, GGUF file, or org/name in the Hugging Face cache")
      ->required();
  declare_kv(*verb, flags->options.kv_format);
  verb->add_option("-p,--prompt", flags->prompt, "Prefill lengths")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  verb->add_option("-n,--num-tokens", flags->generate, "Tokens to decode; 0: no decode test")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30))
      ->capture_default_str();
  verb->add_option("-b,--batch", flags->batch, "Sequences decoded together")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16))
      ->capture_default_str();
  verb->add_option("-t,--threads", flags->options.threads, "Thread counts (default: as many as this process may use)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 1024));
  verb->add_option("-r,--repeats", flags->options.repeats, "Rounds of all tests; medians are printed")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  verb->add_option("--compare", flags->options.peer,
                   "A llama-bench or llama-batched-bench command line, run in turn with ours, a round each; its tests "
                   "with equal prompt, tokens, batch and threads are set beside ours");
  verb->add_option("-o,--output", flags->output, "md or json")
      ->check(CLI::IsMember({"md", "json"}))
      ->capture_default_str();
  verb->add_flag_callback(
      "--json", [flags] { flags->output = "json"; }, "The same as -o json");
  verb->callback([flags] { bench(*flags); });
}

}  // namespace moxie::cli
