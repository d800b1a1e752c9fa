// A training run in a few numbers, and one run against another. Not how they are shown (run_page, run_terminal).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "report/run_log.h"

namespace moxie {

/// NaN where the run did not tell.
struct RunSummary {
  std::string name, source, family;
  bool is_moe = false;
  int64_t num_experts = 0, top_k = 0;
  int64_t parameters_total = 0, parameters_active = 0;
  int64_t step = 0, planned_steps = 0;
  double tokens, flops, seconds;  // at the last step
  double train_loss;              // mean of the last tenth of the step lines, at most 100
  double eval_loss, best_eval_loss, nats_per_byte, max_vio_global;  // of the last evaluation, and the lowest loss
  double max_vio, max_over_mean, entropy, dead_experts, dropped, rerouted;  // means over the same lines as train_loss
  double tokens_per_second, mfu;                                            // medians over all steps
  bool collapsed = false;                                                   // it said so itself
  std::vector<std::string> warnings;                                        // one plain sentence each
};

/// Loss along a run: ascending tokens, with FLOPs and seconds at the same points.
struct LossCurve {
  std::vector<double> tokens, flops, seconds, loss;
};

/// How `run` stands against `baseline` (indices into the runs). Ratios below 1 are in the run's favour. Empty where one
/// of the two never gets there or does not say.
struct RunComparison {
  size_t run = 0, baseline = 0;
  bool by_eval = true;                                             // else by the smoothed training loss
  double target_loss;                                              // the baseline's last
  std::optional<double> tokens_ratio, flops_ratio, seconds_ratio;  // to reach it: of the run / of the baseline
  std::optional<double> difference_at_equal_tokens, difference_at_equal_flops, difference_at_equal_seconds;
};

RunSummary summarize(const RunLog& log);

/// Training loss, each point the mean of the steps around it (a window of 2% of the lines); steps without a finite loss
/// are left out. Linear.
LossCurve train_curve(const RunLog& log);
/// Loss of the evaluations.
LossCurve eval_curve(const RunLog& log);

/// Every run against the first dense one, or the first of all where none is dense. Empty for one run.
std::vector<RunComparison> compare(const std::vector<RunLog>& logs);

/// One object with "schema_version": 1, "runs" and "comparisons"; what is not known is null.
json::Value to_json(const std::vector<RunLog>& logs);

/// The same for a terminal: a table of the runs, a sentence a comparison, the warnings. `color`: ANSI.
std::string run_terminal(const std::vector<RunLog>& logs, bool color);

/// The sentences that run_terminal and the page print below the table.
std::string comparison_sentence(const RunComparison& comparison, const std::vector<RunSummary>& runs);

/// Numbers as people write them; "–" for NaN: "7.34M", "1 h 02 min", "3.1 PFLOP", "2.345", "41.2%".
std::string short_count(double value);
std::string short_time(double seconds);
std::string short_flops(double flops);
std::string decimal(double value, int digits = 3);
std::string percent(double share);

}  // namespace moxie
