// The metrics.jsonl of a training run, read back: what the run said of itself, line by line. Not what it means
// (run_summary) and not how it is shown (run_page).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moxie {

/// What a run is. A number the run did not tell is NaN, a count 0, a word empty.
struct RunFacts {
  std::string name, family, started, moxie, kernels, precision;
  int64_t threads = 0, parameters_total = 0, parameters_active = 0;
  double flops_per_token = 0;
  int64_t num_layers = 0, num_experts = 0, top_k = 0;
  int64_t seq_len = 0, tokens_per_step = 0, steps = 0;
  std::vector<int64_t> moe_layers;                           // their numbers in the model
  std::vector<std::pair<std::string, std::string>> balance;  // flattened: "method" "aux"
  std::vector<std::pair<std::string, std::string>> router;
};

/// Of training steps. Missing and null numbers are NaN.
struct StepLine {
  int64_t step = 0;
  double tokens, flops, seconds;  // since the start of the run
  double loss, aux, z, grad_norm, lr, tokens_per_second, mfu;
  double max_vio, max_over_mean, entropy, dead_experts, dropped, rerouted;
};

struct EvalLayer {
  int64_t layer = 0;
  double max_vio, entropy, dead, saturation;
};

struct EvalDomain {
  std::string name;
  double loss, nats_per_byte, tokens;
};

struct EvalLine {
  int64_t step = 0;
  double tokens, flops, seconds, loss, nats_per_byte, max_vio_global;
  std::vector<EvalDomain> domains;
  std::vector<EvalLayer> layers;
};

struct EventLine {
  int64_t step = 0;
  std::string kind, text;
};

/// A matrix of an evaluation, row by row.
struct Matrix {
  int64_t rows = 0, columns = 0;
  std::vector<float> values;  // [rows, columns]
};

/// Mean load of the experts over `lines` routing lines from first_step to last_step.
struct LoadColumn {
  int64_t first_step = 0, last_step = 0, lines = 0;
  std::vector<float> load;  // [sum of experts over layers], shares of their layer
};

/// Load over time, in at most kMaxColumns columns: when they are full, neighbours become one.
struct LoadHistory {
  static constexpr size_t kMaxColumns = 256;
  struct Layer {
    int64_t layer = 0, num_experts = 0, begin = 0;  // begin: in LoadColumn::load
  };
  std::vector<Layer> layers;
  std::vector<LoadColumn> columns;
};

struct RunLog {
  std::string source;  // the file, as errors and the page name it
  RunFacts facts;
  std::vector<StepLine> steps;  // steps ascend
  std::vector<EvalLine> evals;  // likewise
  std::vector<EventLine> events;
  LoadHistory load;
  std::vector<Matrix> specialisation;  // of the last eval that has it, per MoE layer: [domain, expert]
  std::vector<Matrix> co_activation;   // likewise: [expert, expert]
  std::vector<double> vocabulary;      // likewise: per MoE layer
  int64_t times_started = 0;           // lines of type "run"
  std::string notice;                  // about a last line that is cut short: empty, or one sentence
};

/// Reads the text of a metrics.jsonl. A step that comes again (a resumed run) replaces what was said of it and of
/// later ones; members and types that are not known are passed over; a last line without its end that cannot be read
/// is left out with a notice. Throws Error{invalid} naming source, line and byte of any other fault, or if no line
/// tells what the run is. Linear time; memory does not grow with the routing lines.
RunLog parse_run_log(std::string_view text, const std::string& source);

/// parse_run_log of RUN/metrics.jsonl; `run` may also be that file.
RunLog read_run_log(const std::filesystem::path& run);

}  // namespace moxie
