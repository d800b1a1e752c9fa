// moxie bench: prefill and decode speed of a model, beside what this machine can do at most and beside another program,
// measured in the same run.
#include "infer/bench.h"

#include <cstdlib>

#include "cli/bench_report.h"
#include "cli/model_flags.h"
#include "cli/shape_flags.h"
#include "cli/stop.h"

namespace moxie::cli {
namespace {

struct BenchFlags {
  std::string model;
  ShapeFlags shape;
  std::vector<int64_t> prompt = {128, 512}, batch = {1};
  int64_t generate = 64;
  std::string output = "md";
  BenchOptions options;
};

/// A directory for a model that is made up; gone when the bench is.
class Workshop {
 public:
  Workshop() {
    std::string name = (std::filesystem::temp_directory_path() / "moxie-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      throw make_error(ErrorCode::runtime, "{}: no directory could be made there", name);
    }
    path_ = name;
  }
  ~Workshop() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The command with the model's path, quoted for the shell, where it says {model}.
std::string with_model(std::string command, const std::filesystem::path& path) {
  constexpr std::string_view kMark = "{model}";
  std::string quoted = "'";
  for (const char c : path.string()) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  quoted += "'";
  for (size_t at = command.find(kMark); at != std::string::npos; at = command.find(kMark, at + quoted.size())) {
    command.replace(at, kMark.size(), quoted);
  }
  return command;
}

void bench_model(BenchFlags& flags, const std::filesystem::path& path) {
  const ModelSource source = ModelSource::open(path);
  const Model model = Model::load(source);
  flags.options.peer = with_model(flags.options.peer, path);
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

void bench(BenchFlags& flags) {
  if (flags.model.empty() == flags.shape.shape.empty()) {
    throw make_error(ErrorCode::usage, "bench: expected a MODEL, or the --shape of one");
  }
  for (const int64_t n : flags.prompt) flags.options.tests.push_back({.decode = false, .tokens = n});
  for (const int64_t batch : flags.batch) {
    if (flags.generate > 0) {
      flags.options.tests.push_back({.decode = true, .tokens = flags.generate, .batch = batch});
    }
  }
  if (flags.options.threads.empty()) flags.options.threads = {0};
  if (flags.shape.shape.empty()) return bench_model(flags, find_model(flags.model));
  catch_stop();
  flags.options.between = throw_if_stopped;
  const Workshop workshop;
  const std::filesystem::path file = workshop.path() / flags.shape.file_name();
  flags.shape.write(file, 0);
  bench_model(flags, file);
}

}  // namespace

void add_bench(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("bench", "Prefill and decode speed, beside this machine's measured limits");
  auto flags = std::make_shared<BenchFlags>();
  verb->add_option("model", flags->model,
                   "Model directory, GGUF or .moxie file, or org/name in the Hugging Face cache");
  flags->shape.declare(*verb);
  CLI::Option* shape = verb->get_option("--shape");
  shape->description("Instead of MODEL: random weights, in $TMPDIR while it runs. " + shape->get_description());
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
                   "with equal prompt, tokens, batch and threads are set beside ours. {model} in it stands for the "
                   "path of the model");
  verb->add_option("-o,--output", flags->output, "md or json")
      ->check(CLI::IsMember({"md", "json"}))
      ->capture_default_str();
  verb->add_flag_callback(
      "--json", [flags] { flags->output = "json"; }, "The same as -o json");
  verb->callback([flags] { bench(*flags); });
}

}  // namespace moxie::cli
