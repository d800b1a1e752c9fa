#include "infer/bench.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <sstream>

#include "base/command.h"
#include "base/machine.h"
#include "infer/measure.h"

namespace moxie {
namespace {

/// The engine of one number of threads, and its rows.
struct Turn {
  std::unique_ptr<Engine> engine;
  std::vector<BenchRow> rows;
  std::vector<ExpertVisits> visits;
};

int64_t cache_tokens(const std::vector<BenchTest>& tests) {
  int64_t most = 0;
  for (const BenchTest& test : tests) {
    most = std::max(most, test.decode ? test.batch * (test.tokens + kKeyBlock) : test.tokens);
  }
  return most + kKeyBlock;
}

std::vector<Turn> make_turns(const Model& model, const BenchOptions& options) {
  std::vector<Turn> turns;
  for (const int threads : options.threads) {
    const EngineOptions chosen{
        .threads = threads, .cache_tokens = cache_tokens(options.tests), .pin = true, .kv_format = options.kv_format};
    Turn& turn = turns.emplace_back();
    turn.engine = std::make_unique<Engine>(model, chosen);
    for (const BenchTest& test : options.tests) {
      turn.rows.push_back({.test = test, .threads = turn.engine->num_threads()});
      turn.visits.emplace_back(model, turn.engine->kernels());
    }
  }
  return turns;
}

/// Seconds of each step of decode, or of the one prefill.
std::vector<double> run_test(Engine& engine, const BenchTest& test, std::mt19937_64& random) {
  if (!test.decode) return {time_prefill(engine, test.tokens, random)};
  return time_decode(engine, test.tokens, test.batch, random);
}

void time_row(Engine& engine, BenchRow& row, ExpertVisits& visits, std::mt19937_64& random) {
  const bool fresh = reset_peak_memory();
  engine.set_routing_sink(&visits);
  const std::vector<double> seconds = run_test(engine, row.test, random);
  engine.set_routing_sink(nullptr);
  if (const auto peak = peak_memory(); fresh && peak) row.peak_bytes = std::max(row.peak_bytes.value_or(0), *peak);
  row.rates.push_back(static_cast<double>(row.test.tokens_a_run()) /
                      std::accumulate(seconds.begin(), seconds.end(), 0.0));
  if (row.test.decode) row.step_seconds.insert(row.step_seconds.end(), seconds.begin(), seconds.end());
}

void count_visits(const Engine& engine, int repeats, const ExpertVisits& visits, BenchRow& row) {
  const BenchTest& test = row.test;
  const int64_t chunk = engine.step_tokens();
  // decode has one more step, which is not timed; what a step reads is a mean over all
  const int64_t steps = test.decode ? test.tokens + 1 : (test.tokens + chunk - 1) / chunk;
  const auto mean = [&](int64_t sum, int64_t count) { return static_cast<double>(sum) / static_cast<double>(count); };
  const double head = mean(visits.bytes().head, test.decode ? 1 : steps);  // of a prompt the last chunk alone
  const double step_bytes =
      mean(visits.expert_bytes(), steps * repeats) + static_cast<double>(visits.bytes().every_step) + head;
  const double step_tokens = test.decode ? static_cast<double>(test.batch) : mean(test.tokens, steps);
  row.weight_bytes = step_bytes / step_tokens + static_cast<double>(visits.bytes().embedding_row);
  row.visits_per_layer = visits.visits_per_layer();
  row.rows_per_visit = visits.rows_per_visit();
  row.tile_occupancy = visits.tile_occupancy();
}

double mean_imbalance(const std::vector<MoeStats>& layers) {
  double sum = 0, count = 0;
  for (const MoeStats& layer : layers) {
    if (layer.num_tokens == 0) continue;
    sum += layer.max_over_mean();
    ++count;
  }
  return count == 0 ? 0 : sum / count;
}

// Reads something of every page of the weights.
void page_in(const Model& model) {
  constexpr int64_t kPage = 4096;
  char sum = 0;
  for (const TensorEntry& entry : model.checkpoint().entries()) {
    const auto* bytes = static_cast<const volatile char*>(entry.tensor.view.data);
    for (int64_t at = 0; at < entry.tensor.view.num_bytes(); at += kPage) sum = static_cast<char>(sum ^ bytes[at]);
  }
  const volatile char sink = sum;
  (void)sink;
}

std::string last_lines(const std::string& text) {
  constexpr size_t kMost = 2000;
  std::istringstream lines(text.size() <= kMost ? text : "..." + text.substr(text.size() - kMost));
  std::string out, line;
  while (std::getline(lines, line)) out += (out.empty() ? "" : "\n") + printable(line, kMost);
  return out;
}

PeerReport run_peer(const BenchOptions& options) {
  const std::string line = readable_peer_command(options.peer);
  const CommandOutput output = run_command(line);
  if (options.between) options.between();
  const std::string source = fmt::format("--compare {}", printable(line, 200));
  if (output.exit_code != 0) {
    throw make_error(ErrorCode::runtime, "{}: it ended with code {}. Its last words:\n{}", source, output.exit_code,
                     last_lines(output.err.empty() ? output.out : output.err));
  }
  try {
    return parse_peer(peer_report(output.out, output.err), source);
  } catch (const Error& error) {
    if (output.err.empty()) throw;
    throw Error(error.code(), fmt::format("{}\nIts stderr ended with:\n{}", error.text(), last_lines(output.err)));
  }
}

bool same_test(const BenchRow& row, const PeerTest& peer) {
  if (peer.threads >= 0 && peer.threads != row.threads) return false;
  if (!row.test.decode) return peer.generate == 0 && peer.prompt == row.test.tokens && peer.batch == 1;
  return peer.generate == row.test.tokens && peer.prompt <= 1 && peer.batch == row.test.batch;
}

void take_peer(const PeerReport& report, const std::string& command, std::vector<Turn>& turns) {
  bool found = false;
  for (Turn& turn : turns) {
    for (BenchRow& row : turn.rows) {
      const auto match = std::find_if(report.tests.begin(), report.tests.end(),
                                      [&](const PeerTest& test) { return same_test(row, test); });
      const bool is_there = match != report.tests.end();
      const bool was_there = !row.peer_rates.empty() || row.rates.size() == 1;
      if (is_there ? !was_there : !row.peer_rates.empty()) {  // ratios are of one round each
        throw invalid({.where = fmt::format("--compare {}", printable(command, 200)),
                       .expected = "the same tests in every round",
                       .got = "others in this one"});
      }
      if (!is_there) continue;
      row.peer_rates.push_back(match->tokens_per_second);
      found = true;
    }
  }
  if (found) return;
  const PeerTest& first = report.tests.front();
  throw invalid({.where = fmt::format("--compare {}", printable(command, 200)),
                 .expected = "a test that is run here too: equal prompt, generated tokens, batch and threads",
                 .got = fmt::format("{} others, the first with {} prompt tokens, {} generated, batch {}, {} threads",
                                    report.tests.size(), first.prompt, first.generate, first.batch, first.threads),
                 .hint = "Give both the same -p, -n and -t; llama-batched-bench: -npp 1 -ntg N -npl BATCH."});
}

}  // namespace

std::vector<double> BenchRow::ratios() const {
  std::vector<double> out;
  for (size_t i = 0; i < peer_rates.size(); ++i) out.push_back(rates[i] / peer_rates[i]);
  return out;
}

double percentile_99(std::vector<double> values) {
  MOXIE_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<size_t>(std::ceil(0.99 * static_cast<double>(values.size())));
  return values[rank - 1];
}

// A peer's processes warm up before each test, so a prefill of ours that follows one is run once before it is timed.
BenchResult run_bench(const Model& model, const BenchOptions& options) {
  std::mt19937_64 random(options.seed);
  std::vector<Turn> turns = make_turns(model, options);
  BenchResult result;
  for (Turn& turn : turns) time_prefill(*turn.engine, std::min<int64_t>(32, model.max_context()), random);
  for (int round = 0; round < options.repeats; ++round) {
    for (Turn& turn : turns) {
      const Ceilings now = measure_ceilings(turn.engine->num_threads(), 1);
      for (size_t i = 0; i < turn.rows.size(); ++i) {
        if (options.between) options.between();
        turn.rows[i].ceilings = better_of(turn.rows[i].ceilings, now);
        if (!options.peer.empty() && !turn.rows[i].test.decode) run_test(*turn.engine, turn.rows[i].test, random);
        time_row(*turn.engine, turn.rows[i], turn.visits[i], random);
      }
    }
    if (options.peer.empty()) continue;
    const PeerReport report = run_peer(options);
    result.peer_version = report.version;
    take_peer(report, options.peer, turns);
    page_in(model);
  }
  for (Turn& turn : turns) {
    for (size_t i = 0; i < turn.rows.size(); ++i) {
      BenchRow& row = turn.rows[i];
      if (options.between) options.between();
      count_visits(*turn.engine, options.repeats, turn.visits[i], row);
      turn.engine->reset_stats();
      turn.engine->set_profile(&row.profile);
      run_test(*turn.engine, row.test, random);
      turn.engine->set_profile(nullptr);
      row.max_over_mean = mean_imbalance(turn.engine->stats());
      result.rows.push_back(row);
    }
  }
  return result;
}

}  // namespace moxie
