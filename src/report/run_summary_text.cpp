// Summaries of runs as JSON, as a terminal table and as words.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "report/run_summary.h"
#include "report/token_text.h"

namespace moxie {
namespace {

json::Value number(double value) {
  return std::isfinite(value) ? json::Value(value) : json::Value();
}

json::Value number(const std::optional<double>& value) {
  return value ? json::Value(*value) : json::Value();
}

json::Value run_json(const RunSummary& run) {
  json::Value out, warnings{json::Array{}};
  out.set("name", run.name).set("source", run.source).set("family", run.family).set("moe", run.is_moe);
  out.set("num_experts", run.num_experts).set("top_k", run.top_k);
  out.set("parameters_total", run.parameters_total).set("parameters_active", run.parameters_active);
  out.set("step", run.step).set("planned_steps", run.planned_steps).set("tokens", number(run.tokens));
  out.set("flops", number(run.flops)).set("seconds", number(run.seconds)).set("train_loss", number(run.train_loss));
  out.set("eval_loss", number(run.eval_loss)).set("best_eval_loss", number(run.best_eval_loss));
  out.set("nats_per_byte", number(run.nats_per_byte)).set("max_vio_global", number(run.max_vio_global));
  out.set("max_vio", number(run.max_vio)).set("max_over_mean", number(run.max_over_mean));
  out.set("entropy", number(run.entropy)).set("dead_experts", number(run.dead_experts));
  out.set("dropped", number(run.dropped)).set("rerouted", number(run.rerouted));
  out.set("tokens_per_second", number(run.tokens_per_second)).set("mfu", number(run.mfu));
  for (const std::string& warning : run.warnings) warnings.push(warning);
  out.set("collapsed", run.collapsed).set("warnings", std::move(warnings));
  return out;
}

std::vector<RunSummary> summaries(const std::vector<RunLog>& logs) {
  std::vector<RunSummary> out;
  for (const RunLog& log : logs) out.push_back(summarize(log));
  return out;
}

/// "7.34", `gap` and the letter of its thousand.
std::string with_prefix(double value, std::string_view letters, std::string_view gap = "") {
  size_t i = 0;
  while (std::abs(value) >= 999.5 && i + 1 < letters.size()) {
    value /= 1000;
    ++i;
  }
  const int digits = std::abs(value) >= 99.95 || value == std::floor(value) ? 0 : std::abs(value) >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}{}", value, digits, gap, letters[i] == ' ' ? "" : std::string(1, letters[i]));
}

/// A count of a run, of which 0 means that it did not say.
std::string told(int64_t count) {
  return count > 0 ? short_count(static_cast<double>(count)) : "–";
}

std::string signed_decimal(double value) {
  return fmt::format("{}{:.4f}", value < 0 ? "−" : "+", std::abs(value));
}

}  // namespace

std::string short_count(double value) {
  return std::isfinite(value) ? with_prefix(value, " KMBT") : "–";
}

std::string short_flops(double flops) {
  return std::isfinite(flops) ? with_prefix(flops, " KMGTPEZY", " ") + "FLOP" : "–";
}

std::string short_time(double seconds) {
  if (!std::isfinite(seconds) || std::abs(seconds) > 1e12) return "–";
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

std::string decimal(double value, int digits) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : "–";
}

std::string percent(double share) {
  return std::isfinite(share) ? fmt::format("{:.1f}%", 100 * share) : "–";
}

json::Value to_json(const std::vector<RunLog>& logs) {
  const std::vector<RunSummary> runs = summaries(logs);
  json::Value out, list{json::Array{}}, pairs{json::Array{}};
  for (const RunSummary& run : runs) list.push(run_json(run));
  for (const RunComparison& pair : compare(logs)) {
    json::Value item;
    item.set("run", runs[pair.run].name).set("baseline", runs[pair.baseline].name);
    item.set("run_index", static_cast<int64_t>(pair.run)).set("baseline_index", static_cast<int64_t>(pair.baseline));
    item.set("loss", pair.by_eval ? "eval" : "train").set("target_loss", number(pair.target_loss));
    item.set("tokens_ratio", number(pair.tokens_ratio)).set("flops_ratio", number(pair.flops_ratio));
    item.set("seconds_ratio", number(pair.seconds_ratio));
    item.set("difference_at_equal_tokens", number(pair.difference_at_equal_tokens));
    item.set("difference_at_equal_flops", number(pair.difference_at_equal_flops));
    item.set("difference_at_equal_seconds", number(pair.difference_at_equal_seconds));
    pairs.push(std::move(item));
  }
  out.set("schema_version", 1).set("runs", std::move(list)).set("comparisons", std::move(pairs));
  return out;
}

std::string comparison_sentence(const RunComparison& pair, const std::vector<RunSummary>& runs) {
  const std::string run = visible_text(runs[pair.run].name), baseline = visible_text(runs[pair.baseline].name);
  if (!std::isfinite(pair.target_loss)) return fmt::format("{} and {} cannot be compared: no loss.", run, baseline);
  const std::string loss =
      fmt::format("{}'s last {} loss of {:.4f}", baseline, pair.by_eval ? "validation" : "training", pair.target_loss);
  std::string out;
  if (pair.tokens_ratio) {
    out = fmt::format("{} reaches {} with {:.0f}% of the tokens", run, loss, 100 * *pair.tokens_ratio);
    if (pair.flops_ratio) out += fmt::format(", {:.0f}% of the FLOPs", 100 * *pair.flops_ratio);
    if (pair.seconds_ratio) out += fmt::format(", {:.0f}% of the training time", 100 * *pair.seconds_ratio);
  } else {
    out = fmt::format("{} does not reach {}", run, loss);
  }
  std::string differences;
  const auto add = [&](const std::optional<double>& value, std::string_view what) {
    if (value)
      differences += fmt::format("{}{} at equal {}", differences.empty() ? "" : ", ", signed_decimal(*value), what);
  };
  add(pair.difference_at_equal_tokens, "tokens");
  add(pair.difference_at_equal_flops, "FLOPs");
  add(pair.difference_at_equal_seconds, "training time");
  return differences.empty() ? out + "." : fmt::format("{}; its loss is {}.", out, differences);
}

std::string run_terminal(const std::vector<RunLog>& logs, bool color) {
  const std::vector<RunSummary> runs = summaries(logs);
  std::vector<std::array<std::string, 12>> rows{{"run", "experts", "params", "active", "tokens", "time", "train",
                                                 "eval", "nats/byte", "MaxVio", "dead", "tok/s"}};
  for (const RunSummary& run : runs) {
    const double vio = std::isfinite(run.max_vio_global) ? run.max_vio_global : run.max_vio;
    rows.push_back({visible_text(run.name), run.is_moe ? fmt::format("{}:{}", run.num_experts, run.top_k) : "dense",
                    told(run.parameters_total), told(run.parameters_active), short_count(run.tokens),
                    short_time(run.seconds), decimal(run.train_loss), decimal(run.eval_loss),
                    decimal(run.nats_per_byte), decimal(vio), decimal(run.dead_experts, 0),
                    short_count(run.tokens_per_second)});
  }
  std::array<int, 12> widths{};
  for (const auto& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], display_width(row[c]));
  }
  std::string out;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (size_t c = 0; c < rows[r].size(); ++c) {
      const std::string gap(static_cast<size_t>(widths[c] - display_width(rows[r][c])), ' ');
      line += c == 0 ? rows[r][c] + gap : "  " + gap + rows[r][c];
    }
    out += (r == 0 && color ? fmt::format("\x1b[1m{}\x1b[0m", line) : line) + "\n";
  }
  for (const RunComparison& pair : compare(logs)) out += "\n" + comparison_sentence(pair, runs);
  if (runs.size() > 1) out += "\n";
  for (const RunSummary& run : runs) {
    for (const std::string& warning : run.warnings) {
      const std::string text = "warning: " + visible_text(warning);
      out += (color ? fmt::format("\x1b[31m{}\x1b[0m", text) : text) + "\n";
    }
  }
  return out;
}

}  // namespace moxie
