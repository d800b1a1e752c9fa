#include "report/run_plots.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/run_charts.h"
#include "report/run_summary.h"

namespace moxie {
namespace {

using Names = std::vector<std::string>;

/// Fewer points a curve where many runs share a page.
size_t points_of(const std::vector<RunLog>& logs) {
  return logs.size() > 4 ? 140 : 280;
}

double largest(const std::vector<Curve>& curves) {
  double most = 0;
  for (const Curve& curve : curves) {
    for (const double x : curve.x) most = std::isfinite(x) ? std::max(most, x) : most;
  }
  return most;
}

/// Where on the axis `field` a step lies.
double place_of(const RunLog& log, int64_t step, double StepLine::*field) {
  const auto at = std::lower_bound(log.steps.begin(), log.steps.end(), step,
                                   [](const StepLine& line, int64_t wanted) { return line.step < wanted; });
  if (at != log.steps.end()) return (*at).*field;
  return log.steps.empty() ? NAN : log.steps.back().*field;
}

/// The first collapse of each run.
std::vector<ChartMark> collapses(const std::vector<RunLog>& logs, const Names& names, double StepLine::*field) {
  std::vector<ChartMark> out;
  for (size_t run = 0; run < logs.size(); ++run) {
    for (const EventLine& event : logs[run].events) {
      if (event.kind != "collapse") continue;
      const double x = field == nullptr ? static_cast<double>(event.step) : place_of(logs[run], event.step, field);
      if (std::isfinite(x))
        out.push_back({run, x, names[run] + ", step " + std::to_string(event.step) + ": " + event.text});
      break;
    }
  }
  return out;
}

struct LossAxis {
  std::string title, note, name;
  std::vector<double> LossCurve::*along;
  double StepLine::*field;
  AxisUnit (*unit)(double most);
};

Chart loss_chart(const std::vector<RunLog>& logs, const Names& names, const LossAxis& axis) {
  Chart chart{.title = axis.title, .note = axis.note, .x_name = axis.name, .skip = 0.1};
  for (size_t run = 0; run < logs.size(); ++run) {
    const LossCurve train = train_curve(logs[run]), eval = eval_curve(logs[run]);
    Curve thin = thinned({.run = run, .name = names[run] + ", training", .x = train.*axis.along, .y = train.loss},
                         points_of(logs));
    thin.low.clear();  // smoothed already: a band would say nothing
    thin.high.clear();
    chart.curves.push_back(std::move(thin));
    if (eval.loss.empty()) continue;
    Curve bold = thinned({.run = run, .name = names[run] + ", validation", .x = eval.*axis.along, .y = eval.loss}, 120);
    bold.dots = true;
    bold.low.clear();
    bold.high.clear();
    chart.curves.push_back(std::move(bold));
  }
  chart.marks = collapses(logs, names, axis.field);
  chart.x_unit = axis.unit(largest(chart.curves));
  return chart;
}

/// One measure of the steps, against the step. `of_experts`: only runs that have some.
std::string step_plot(const std::vector<RunLog>& logs, const Names& names, double StepLine::*field, std::string title,
                      std::string note, const AxisUnit& unit, bool of_experts) {
  Chart chart{.title = std::move(title), .note = std::move(note), .x_name = "step", .y_unit = unit, .from_zero = true};
  for (size_t run = 0; run < logs.size(); ++run) {
    if (of_experts && !summarize(logs[run]).is_moe) continue;
    Curve curve{.run = run, .name = names[run]};
    for (const StepLine& line : logs[run].steps) {
      curve.x.push_back(static_cast<double>(line.step));
      curve.y.push_back(line.*field);
    }
    chart.curves.push_back(thinned(curve, points_of(logs)));
  }
  if (of_experts) chart.marks = collapses(logs, names, nullptr);
  chart.from_zero = field != &StepLine::aux;
  chart.x_unit = count_unit(largest(chart.curves));
  chart.skip = field == &StepLine::grad_norm || field == &StepLine::tokens_per_second ? 0.02 : 0;
  return draw_chart(chart);
}

/// Saturation: the mean over layers; the band reaches from the least to the most settled layer.
std::string saturation_plot(const std::vector<RunLog>& logs, const Names& names) {
  Chart chart{.title = "Saturation",
              .note = "share of experts kept since the evaluation before",
              .x_name = "step",
              .y_unit = {0.01, "%"},
              .from_zero = true};
  for (size_t run = 0; run < logs.size(); ++run) {
    Curve curve{.run = run, .name = names[run]};
    for (const EvalLine& eval : logs[run].evals) {
      double sum = 0, low = INFINITY, high = -INFINITY;
      int64_t count = 0;
      for (const EvalLayer& layer : eval.layers) {
        if (!std::isfinite(layer.saturation)) continue;
        sum += layer.saturation;
        low = std::min(low, layer.saturation);
        high = std::max(high, layer.saturation);
        ++count;
      }
      if (count == 0) continue;
      curve.x.push_back(static_cast<double>(eval.step));
      curve.y.push_back(sum / static_cast<double>(count));
      curve.low.push_back(low);
      curve.high.push_back(high);
    }
    if (!curve.x.empty()) chart.curves.push_back(curve.x.size() > 400 ? thinned(curve, 400) : curve);
  }
  chart.x_unit = count_unit(largest(chart.curves));
  return draw_chart(chart);
}

bool any_moe(const std::vector<RunLog>& logs) {
  return std::any_of(logs.begin(), logs.end(), [](const RunLog& log) { return summarize(log).is_moe; });
}

std::string section(std::string_view id, std::string_view title, std::string_view note, const std::string& plots) {
  return fmt::format(
      "<section aria-labelledby=\"{0}\"><h2 id=\"{0}\">{1}</h2><p class=\"muted\">{2}</p>{3}</section>\n", id, title,
      note, plots);
}

}  // namespace

std::string loss_plots(const std::vector<RunLog>& logs, const Names& names) {
  std::string plots;
  plots += draw_chart(loss_chart(logs, names,
                                 {"Loss against tokens", "what the data bought", "tokens", &LossCurve::tokens,
                                  &StepLine::tokens, count_unit}),
                      true);
  plots += draw_chart(loss_chart(
      logs, names,
      {"Loss against FLOPs", "what the arithmetic bought", "FLOPs", &LossCurve::flops, &StepLine::flops, count_unit}));
  plots += draw_chart(loss_chart(logs, names,
                                 {"Loss against training time", "what the hours bought", "time", &LossCurve::seconds,
                                  &StepLine::seconds, time_unit}));
  const bool evals = std::any_of(logs.begin(), logs.end(), [](const RunLog& log) { return !log.evals.empty(); });
  return section("loss", "Loss",
                 "Nats a token. Thin lines: training, smoothed. Bold with dots: validation. Dashed red: a collapse.",
                 fmt::format("<div class=\"plots{}\">{}</div>", evals ? " with-evals" : "", plots));
}

std::string balance_plots(const std::vector<RunLog>& logs, const Names& names) {
  if (!any_moe(logs)) return {};
  const AxisUnit share{0.01, "%"};
  std::string plots;
  plots += step_plot(logs, names, &StepLine::max_vio, "MaxVio", "busiest over mean, less 1; 0 is balance", {}, true);
  plots += step_plot(logs, names, &StepLine::dead_experts, "Dead experts", "without a token, all layers", {}, true);
  plots +=
      step_plot(logs, names, &StepLine::entropy, "Entropy of the load", "1 is even, 0 is one expert for all", {}, true);
  plots += step_plot(logs, names, &StepLine::max_over_mean, "Max / mean", "load of the busiest expert", {}, true);
  plots += step_plot(logs, names, &StepLine::dropped, "Dropped", "assignments over capacity", share, true);
  plots += step_plot(logs, names, &StepLine::rerouted, "Rerouted", "assignments moved to another expert", share, true);
  plots += step_plot(logs, names, &StepLine::aux, "Balance loss", "as the run logs it", {}, true);
  plots += saturation_plot(logs, names);
  return section("balance", "Balance over time",
                 "Mean over layers. Bands reach from the least to the greatest value of the steps a point stands for.",
                 "<div class=\"plots\">" + plots + "</div>");
}

std::string step_plots(const std::vector<RunLog>& logs, const Names& names) {
  double speed = 0;
  for (const RunLog& log : logs) {
    const double median = summarize(log).tokens_per_second;
    if (std::isfinite(median)) speed = std::max(speed, median);
  }
  std::string plots;
  plots += step_plot(logs, names, &StepLine::tokens_per_second, "Speed", "tokens a second", count_unit(speed), false);
  plots += step_plot(logs, names, &StepLine::mfu, "MFU", "share of the machine's peak", {0.01, "%"}, false);
  plots += step_plot(logs, names, &StepLine::grad_norm, "Gradient norm", "before clipping", {}, false);
  plots += step_plot(logs, names, &StepLine::lr, "Learning rate", "", {}, false);
  return section("steps", "Speed and optimisation", "Against the step.", "<div class=\"plots\">" + plots + "</div>");
}

}  // namespace moxie
