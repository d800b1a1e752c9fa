// moxie bench: prefill and decode speed of a model, beside what this machine can do at most, measured in the same run.
#include <algorithm>
#include <cmath>

#include "cli/model_flags.h"
#include "infer/measure.h"
#include "kernels/ceilings.h"
#include "plan/accounting.h"

namespace moxie::cli {
namespace {

struct BenchFlags {
  ModelFlags model;
  std::vector<int64_t> prompt = {128, 512}, batch = {1};
  std::vector<int> threads;
  int64_t generate = 64;
  int repeats = 3;
  std::string output = "md";
  uint64_t seed = 1;
};

struct BenchRow {
  std::string test;
  int threads = 0;
  int64_t batch = 1;
  std::vector<double> rates;  // tokens a second of each repeat
  double gflops = 0;          // a token
  double bytes = 0;           // a token
  Ceilings ceilings;          // of this many threads, around the test
};

double deviation(const std::vector<double>& values) {
  double mean = 0, sum = 0;
  for (const double v : values) mean += v / static_cast<double>(values.size());
  for (const double v : values) sum += (v - mean) * (v - mean);
  return values.size() < 2 ? 0 : std::sqrt(sum / static_cast<double>(values.size() - 1));
}

std::vector<BenchRow> bench_threads(const BenchFlags& flags, int threads) {
  ModelFlags model = flags.model;
  model.threads = threads;
  const int64_t most_batch = *std::max_element(flags.batch.begin(), flags.batch.end());
  const int64_t most_prompt = flags.prompt.empty() ? 0 : *std::max_element(flags.prompt.begin(), flags.prompt.end());
  EngineOptions options{.pin = true};
  options.cache_tokens = std::max(most_prompt, most_batch * (flags.generate + kKeyBlock)) + kKeyBlock;
  LoadedModel loaded(model, options, false);
  const ModelSpec& spec = loaded.spec();
  std::mt19937_64 random(flags.seed);
  std::vector<BenchRow> rows;
  time_prefill(loaded.engine(), std::min<int64_t>(32, loaded.model().max_context()), random);  // warm-up: pages in
  for (const int64_t n : flags.prompt) {
    BenchRow row{.test = fmt::format("pp{}", n), .threads = loaded.engine().num_threads()};
    // every token runs the body, the last one the head as well
    const double head = 2.0 * static_cast<double>(spec.vocab_size * spec.hidden_size);
    row.gflops = (forward_flops(spec, (n + 1) / 2).total() - head * (1 - 1 / static_cast<double>(n))) / 1e9;
    row.ceilings = measure_ceilings(row.threads, 3);
    for (int r = 0; r < flags.repeats; ++r) {
      row.rates.push_back(static_cast<double>(n) / time_prefill(loaded.engine(), n, random));
    }
    rows.push_back(row);
  }
  if (flags.generate == 0) return rows;
  for (const int64_t batch : flags.batch) {
    BenchRow row{.test = fmt::format("tg{}", flags.generate), .threads = loaded.engine().num_threads(), .batch = batch};
    const int64_t depth = flags.generate / 2 + 1;
    row.gflops = forward_flops(spec, depth).total() / 1e9;
    row.bytes = decode_step(spec, formats_of(loaded), batch, depth, model.kv_format).bytes_per_token();
    row.ceilings = measure_ceilings(row.threads, 3);
    for (int r = 0; r < flags.repeats; ++r) {
      row.rates.push_back(static_cast<double>(flags.generate * batch) /
                          time_decode(loaded.engine(), flags.generate, batch, random));
    }
    rows.push_back(row);
  }
  return rows;
}

// The arithmetic peak the weights' format is held against.
double peak_gflops(const BenchRow& row, bool bf16_dot) {
  return bf16_dot && row.ceilings.bf16_gflops > 0 ? row.ceilings.bf16_gflops : row.ceilings.f32_gflops;
}

void print_markdown(const std::vector<BenchRow>& rows, const std::string& name, double megabytes, double params,
                    std::string_view kernels, bool bf16_dot) {
  fmt::print(
      "| model | size | params | backend | threads | batch | test | t/s | GFLOP/s | % of peak | GB/s | % of read |\n");
  fmt::print("| --- | ---: | ---: | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |\n");
  for (const BenchRow& row : rows) {
    const double rate = median(row.rates);
    const double gflops = rate * row.gflops, gbps = rate * row.bytes / 1e9;
    const std::string memory =
        row.bytes > 0 ? fmt::format("{:.1f} | {:.0f}", gbps, 100 * gbps / row.ceilings.read_gbps) : " | ";
    fmt::print("| {} | {:.1f} MB | {:.2f} M | {} | {} | {} | {} | {:.1f} ± {:.1f} | {:.1f} | {:.0f} | {} |\n", name,
               megabytes, params, kernels, row.threads, row.batch, row.test, rate, deviation(row.rates), gflops,
               100 * gflops / peak_gflops(row, bf16_dot), memory);
  }
  if (!rows.empty()) {
    const Ceilings& c = rows.back().ceilings;
    fmt::print("\nmeasured here, {} threads: f32 {:.0f} GFLOP/s, bf16 dot {:.0f} GFLOP/s, memory read {:.1f} GB/s\n",
               rows.back().threads, c.f32_gflops, c.bf16_gflops, c.read_gbps);
  }
}

void print_rows_json(const std::vector<BenchRow>& rows, const std::string& name, int64_t bytes, int64_t params,
                     std::string_view kernels, bool bf16_dot) {
  json::Value list{json::Array{}}, out;
  for (const BenchRow& row : rows) {
    json::Value rates{json::Array{}}, ceilings, entry;
    for (const double rate : row.rates) rates.push(rate);
    const double rate = median(row.rates);
    ceilings.set("f32_gflops", row.ceilings.f32_gflops).set("bf16_gflops", row.ceilings.bf16_gflops);
    ceilings.set("read_gbps", row.ceilings.read_gbps);
    entry.set("test", row.test).set("threads", row.threads).set("batch", row.batch);
    entry.set("tokens_per_second", rate).set("all_tokens_per_second", std::move(rates));
    entry.set("gflops", rate * row.gflops).set("share_of_peak", rate * row.gflops / peak_gflops(row, bf16_dot));
    entry.set("bytes_per_token", row.bytes).set("gbps", rate * row.bytes / 1e9);
    entry.set("share_of_read", rate * row.bytes / 1e9 / row.ceilings.read_gbps);
    list.push(entry.set("ceilings", std::move(ceilings)));
  }
  out.set("schema_version", 1).set("model", name).set("bytes", bytes).set("parameters", params);
  print_json(out.set("kernels", kernels).set("rows", std::move(list)));
}

void bench(const BenchFlags& flags) {
  std::vector<BenchRow> rows;
  for (const int threads : flags.threads.empty() ? std::vector<int>{0} : flags.threads) {
    const std::vector<BenchRow> some = bench_threads(flags, threads);
    rows.insert(rows.end(), some.begin(), some.end());
  }
  const LoadedModel loaded(flags.model, {}, false);
  const KernelSet& kernels = choose_kernel_set();
  const bool bf16_dot = kernels.activation_format(formats_of(loaded)[Part::routed_experts]) == FormatId::bf16;
  const int64_t bytes = loaded.model().checkpoint().total_bytes();
  const int64_t params = count_parameters(loaded.spec()).total();
  const std::string name = loaded.path().filename().string();
  if (flags.output == "json") {
    print_rows_json(rows, name, bytes, params, kernels.name, bf16_dot);
  } else {
    print_markdown(rows, name, static_cast<double>(bytes) / 1e6, static_cast<double>(params) / 1e6, kernels.name,
                   bf16_dot);
  }
}

}  // namespace

void add_bench(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("bench", "Prefill and decode speed, beside this machine's measured limits");
  auto flags = std::make_shared<BenchFlags>();
  flags->model.declare_model(*verb);
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
  verb->add_option("-t,--threads", flags->threads, "Thread counts (default: as many as this process may use)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 1024));
  verb->add_option("-r,--repeats", flags->repeats, "Repeats of each test; the median is printed")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  verb->add_option("-o,--output", flags->output, "md or json")
      ->check(CLI::IsMember({"md", "json"}))
      ->capture_default_str();
  verb->add_flag_callback(
      "--json", [flags] { flags->output = "json"; }, "The same as -o json");
  verb->callback([flags] { bench(*flags); });
}

}  // namespace moxie::cli
