#include "report/run_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace moxie {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

/// Mean over the last lines of those that say it.
double late_mean(const std::vector<StepLine>& steps, double StepLine::*field) {
  const size_t window = std::clamp<size_t>(steps.size() / 10, 1, 100);
  double sum = 0;
  int64_t count = 0;
  for (size_t i = steps.size() - std::min(window, steps.size()); i < steps.size(); ++i) {
    if (!std::isfinite(steps[i].*field)) continue;
    sum += steps[i].*field;
    ++count;
  }
  return count == 0 ? kMissing : sum / static_cast<double>(count);
}

double median(const std::vector<StepLine>& steps, double StepLine::*field) {
  std::vector<double> values;
  for (const StepLine& line : steps) {
    if (std::isfinite(line.*field)) values.push_back(line.*field);
  }
  if (values.empty()) return kMissing;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void add_warnings(const RunLog& log, RunSummary& summary) {
  std::map<std::string, int64_t> counts;
  for (const EventLine& event : log.events) ++counts[event.kind];
  summary.collapsed = counts["collapse"] > 0;
  for (const EventLine& event : log.events) {
    if (event.kind != "collapse" && event.kind != "bad_step") continue;
    summary.warnings.push_back(fmt::format("{}, step {}: {}", summary.name, event.step, event.text));
    if (counts[event.kind] > 1) summary.warnings.back() += fmt::format(" ({} times in all)", counts[event.kind]);
    if (event.kind == "collapse") break;
  }
  if (summary.warnings.size() > 4) summary.warnings.resize(4);
  if (counts["spike"] > 0) {
    summary.warnings.push_back(
        fmt::format("{}: {} loss spike{}", summary.name, counts["spike"], counts["spike"] == 1 ? "" : "s"));
  }
  if (!summary.collapsed && summary.dead_experts >= 0.5) {
    summary.warnings.push_back(
        fmt::format("{}: ends with about {:.0f} dead experts", summary.name, summary.dead_experts));
  }
  if (!log.notice.empty()) summary.warnings.push_back(log.notice);
}

/// Where the curve first comes down to `target`, on the axis `x`.
std::optional<double> reach(const LossCurve& curve, const std::vector<double>& x, double target) {
  for (size_t i = 0; i < x.size(); ++i) {
    if (!(curve.loss[i] <= target)) continue;
    if (i == 0) return x[0];
    const double part = (curve.loss[i - 1] - target) / (curve.loss[i - 1] - curve.loss[i]);
    return x[i - 1] + part * (x[i] - x[i - 1]);
  }
  return std::nullopt;
}

/// The loss at a place on the axis `x`.
std::optional<double> loss_at(const LossCurve& curve, const std::vector<double>& x, double place) {
  const auto after = std::lower_bound(x.begin(), x.end(), place);
  if (after == x.end() || (after == x.begin() && *after > place)) return std::nullopt;
  const auto i = static_cast<size_t>(after - x.begin());
  if (i == 0 || x[i] == place) return curve.loss[i];
  return curve.loss[i - 1] + (place - x[i - 1]) / (x[i] - x[i - 1]) * (curve.loss[i] - curve.loss[i - 1]);
}

using Axis = std::vector<double> LossCurve::*;

std::optional<double> finite(double value) {
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::optional<double> ratio_to_reach(const LossCurve& run, const LossCurve& baseline, Axis axis, double target) {
  const std::optional<double> at = reach(run, run.*axis, target);
  return at ? finite(*at / (baseline.*axis).back()) : std::nullopt;
}

std::optional<double> difference(const LossCurve& run, const LossCurve& baseline, Axis axis) {
  const double place = std::min((run.*axis).back(), (baseline.*axis).back());
  const std::optional<double> a = loss_at(run, run.*axis, place), b = loss_at(baseline, baseline.*axis, place);
  return a && b ? finite(*a - *b) : std::nullopt;
}

RunComparison compare(const std::vector<RunLog>& logs, size_t run, size_t baseline) {
  RunComparison out{.run = run, .baseline = baseline, .target_loss = kMissing};
  LossCurve a = eval_curve(logs[run]), b = eval_curve(logs[baseline]);
  out.by_eval = a.loss.size() >= 2 && b.loss.size() >= 2;
  if (!out.by_eval) {
    a = train_curve(logs[run]);
    b = train_curve(logs[baseline]);
  }
  if (a.loss.empty() || b.loss.empty()) return out;
  out.target_loss = b.loss.back();
  out.tokens_ratio = ratio_to_reach(a, b, &LossCurve::tokens, out.target_loss);
  out.flops_ratio = ratio_to_reach(a, b, &LossCurve::flops, out.target_loss);
  out.seconds_ratio = ratio_to_reach(a, b, &LossCurve::seconds, out.target_loss);
  out.difference_at_equal_tokens = difference(a, b, &LossCurve::tokens);
  out.difference_at_equal_flops = difference(a, b, &LossCurve::flops);
  out.difference_at_equal_seconds = difference(a, b, &LossCurve::seconds);
  return out;
}

}  // namespace

RunSummary summarize(const RunLog& log) {
  const RunFacts& facts = log.facts;
  RunSummary out{.name = facts.name.empty() ? log.source : facts.name, .source = log.source, .family = facts.family};
  out.is_moe = facts.num_experts > 1 && (!facts.moe_layers.empty() || !log.load.layers.empty());
  out.num_experts = facts.num_experts;
  out.top_k = facts.top_k;
  out.parameters_total = facts.parameters_total;
  out.parameters_active = facts.parameters_active;
  out.planned_steps = facts.steps;
  out.tokens = out.flops = out.seconds = kMissing;
  if (!log.steps.empty()) {
    out.step = log.steps.back().step;
    out.tokens = log.steps.back().tokens;
    out.flops = log.steps.back().flops;
    out.seconds = log.steps.back().seconds;
  }
  out.eval_loss = out.best_eval_loss = out.nats_per_byte = out.max_vio_global = kMissing;
  for (const EvalLine& eval : log.evals) {
    if (std::isfinite(eval.loss) && !(eval.loss >= out.best_eval_loss)) out.best_eval_loss = eval.loss;
  }
  if (!log.evals.empty()) {
    out.eval_loss = log.evals.back().loss;
    out.nats_per_byte = log.evals.back().nats_per_byte;
    out.max_vio_global = log.evals.back().max_vio_global;
  }
  out.train_loss = late_mean(log.steps, &StepLine::loss);
  out.max_vio = late_mean(log.steps, &StepLine::max_vio);
  out.max_over_mean = late_mean(log.steps, &StepLine::max_over_mean);
  out.entropy = late_mean(log.steps, &StepLine::entropy);
  out.dead_experts = late_mean(log.steps, &StepLine::dead_experts);
  out.dropped = late_mean(log.steps, &StepLine::dropped);
  out.rerouted = late_mean(log.steps, &StepLine::rerouted);
  out.tokens_per_second = median(log.steps, &StepLine::tokens_per_second);
  out.mfu = median(log.steps, &StepLine::mfu);
  if (!out.is_moe) {
    out.max_vio_global = out.max_vio = out.max_over_mean = out.entropy = out.dead_experts = kMissing;
    out.dropped = out.rerouted = kMissing;
  }
  add_warnings(log, out);
  return out;
}

LossCurve train_curve(const RunLog& log) {
  LossCurve out;
  std::vector<double> sums{0};
  for (const StepLine& line : log.steps) {
    if (!std::isfinite(line.loss) || !std::isfinite(line.tokens)) continue;
    out.tokens.push_back(line.tokens);
    out.flops.push_back(line.flops);
    out.seconds.push_back(line.seconds);
    sums.push_back(sums.back() + line.loss);
  }
  const size_t count = out.tokens.size(), half = count / 100;
  for (size_t i = 0; i < count; ++i) {
    // Even on both sides at the steep start, so that nothing lags; at the end a last step alone must not speak.
    const size_t before = std::min(half, i), after = std::min({half, i, count - 1 - i});
    out.loss.push_back((sums[i + after + 1] - sums[i - before]) / static_cast<double>(before + after + 1));
  }
  return out;
}

LossCurve eval_curve(const RunLog& log) {
  LossCurve out;
  for (const EvalLine& eval : log.evals) {
    if (!std::isfinite(eval.loss) || !std::isfinite(eval.tokens)) continue;
    out.tokens.push_back(eval.tokens);
    out.flops.push_back(eval.flops);
    out.seconds.push_back(eval.seconds);
    out.loss.push_back(eval.loss);
  }
  return out;
}

std::vector<RunComparison> compare(const std::vector<RunLog>& logs) {
  size_t baseline = 0;
  for (size_t i = logs.size(); i-- > 0;) {
    if (!summarize(logs[i]).is_moe) baseline = i;
  }
  std::vector<RunComparison> out;
  for (size_t i = 0; i < logs.size(); ++i) {
    if (i != baseline) out.push_back(compare(logs, i, baseline));
  }
  return out;
}

}  // namespace moxie
