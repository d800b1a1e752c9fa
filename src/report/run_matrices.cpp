#include "report/run_matrices.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "report/page_files.h"
#include "report/page_pack.h"
#include "report/run_summary.h"
#include "report/token_text.h"

namespace moxie {
namespace {

constexpr int64_t kLoadBytes = 700'000, kDomainBytes = 150'000, kPairBytes = 225'000;  // before base64
constexpr int64_t kMostColumns = 160, kFewestColumns = 8;
constexpr double kLowestLoad = -5;  // log2 of load / mean; what lies below is drawn as this

/// A share of the even load as a byte: 0 = no token at all, else 1..255 = log2(ratio) from kLowestLoad to `highest`.
char load_code(double ratio, double highest) {
  if (!(ratio > 0)) return 0;
  const double part = (std::log2(ratio) - kLowestLoad) / (highest - kLowestLoad);
  return static_cast<char>(static_cast<unsigned char>(1 + std::lround(254 * std::clamp(part, 0.0, 1.0))));
}

/// A value from -most..most as 1..255, 128 = 0; 0 = nothing to show.
char signed_code(double value, double most) {
  if (!std::isfinite(value)) return 0;
  const double part = most > 0 ? std::clamp(value / most, -1.0, 1.0) : 0;
  return static_cast<char>(static_cast<unsigned char>(128 + std::lround(127 * part)));
}

/// Every how-many-th layer is shown so that `cells` of them all fit; 0: not even one.
int64_t layer_stride(int64_t cells, int64_t budget, int64_t layers) {
  const int64_t stride = std::max<int64_t>(1, (cells + budget - 1) / budget);
  return stride <= std::max<int64_t>(layers, 1) ? stride : 0;
}

json::Value panel(std::string_view kind, size_t run, int64_t layer, int64_t rows, int64_t columns, double most,
                  const std::string& bytes) {
  json::Value out;
  out.set("kind", kind).set("run", static_cast<int64_t>(run)).set("layer", layer).set("rows", rows);
  out.set("columns", columns).set("most", most).set("bits", base64(bytes));
  return out;
}

std::string figure(size_t number, std::string_view kind, int64_t rows, int64_t layer, const std::string& words,
                   const std::string& note, bool alarm) {
  return fmt::format(
      "<figure class=\"panel {}\"><figcaption><b>Layer {}</b> <span class=\"{}\">{}</span></figcaption>"
      "<canvas data-panel=\"{}\" data-rows=\"{}\" tabindex=\"0\" role=\"img\" aria-label=\"{}\"></canvas></figure>\n",
      kind, layer, alarm ? "alarm" : "muted", escape_html(note), number, rows, escape_html(words));
}

/// The loads of a run in `count` columns of about as many lines each.
std::vector<LoadColumn> columns_of(const LoadHistory& history, int64_t count) {
  const auto have = static_cast<int64_t>(history.columns.size());
  if (have <= count) return history.columns;
  std::vector<LoadColumn> out;
  for (int64_t i = 0; i < count; ++i) {
    LoadColumn sum = history.columns[static_cast<size_t>(i * have / count)];
    for (auto j = static_cast<size_t>(i * have / count) + 1; j < static_cast<size_t>((i + 1) * have / count); ++j) {
      const LoadColumn& next = history.columns[j];
      const float part = static_cast<float>(next.lines) / static_cast<float>(sum.lines + next.lines);
      for (size_t e = 0; e < sum.load.size(); ++e) sum.load[e] += part * (next.load[e] - sum.load[e]);
      sum.lines += next.lines;
      sum.last_step = next.last_step;
    }
    out.push_back(std::move(sum));
  }
  return out;
}

/// Share less chance: the mean of its row.
Matrix domain_lift(Matrix matrix) {
  for (int64_t r = 0; r < matrix.rows; ++r) {
    const auto begin = matrix.values.begin() + r * matrix.columns, end = begin + matrix.columns;
    double sum = 0;
    for (auto value = begin; value != end; ++value) sum += static_cast<double>(*value);
    for (auto value = begin; value != end; ++value)
      *value -= static_cast<float>(sum / static_cast<double>(matrix.columns));
  }
  return matrix;
}

/// Share less chance: top_k - 1 partners among the other experts. NaN on the diagonal and for an expert without tokens.
Matrix pair_lift(Matrix matrix, int64_t top_k) {
  const double chance =
      top_k > 1 && matrix.columns > 1 ? static_cast<double>(top_k - 1) / static_cast<double>(matrix.columns - 1) : 0;
  for (int64_t r = 0; r < matrix.rows; ++r) {
    float* row = matrix.values.data() + r * matrix.columns;
    const bool unused = r < matrix.columns && row[r] == 0;
    for (int64_t c = 0; c < matrix.columns; ++c) {
      row[c] = r == c || unused ? std::numeric_limits<float>::quiet_NaN() : row[c] - static_cast<float>(chance);
    }
  }
  return matrix;
}

double loudest(const Matrix& matrix) {
  double most = 0;
  for (const float value : matrix.values) {
    if (std::isfinite(value)) most = std::max(most, std::abs(static_cast<double>(value)));
  }
  return most;
}

class Maker {
 public:
  explicit Maker(const std::vector<RunLog>& logs) : logs_(logs) {
    for (const RunLog& log : logs_) {
      for (const LoadHistory::Layer& layer : log.load.layers) load_cells_ += layer.num_experts;
      load_layers_ = std::max(load_layers_, static_cast<int64_t>(log.load.layers.size()));
      for (const Matrix& matrix : log.specialisation) {
        domain_cells_ += matrix.rows * matrix.columns;
        out_.most_domains = std::max(out_.most_domains, loudest(domain_lift(matrix)));
      }
      for (const Matrix& matrix : log.co_activation) {
        pair_cells_ += matrix.rows * matrix.columns;
        out_.most_pairs = std::max(out_.most_pairs, loudest(pair_lift(matrix, log.facts.top_k)));
      }
    }
  }

  Panels make() {
    json::Value runs{json::Array{}};
    for (size_t run = 0; run < logs_.size(); ++run) {
      RunPanels to;
      json::Value facts;
      facts.set("columns", load(run, to)).set("domains", domains(run, to));
      pairs(run, to);
      runs.push(std::move(facts));
      out_.runs.push_back(std::move(to));
    }
    out_.data.set("panels", std::move(panels_)).set("runs", std::move(runs));
    return std::move(out_);
  }

 private:
  size_t add(json::Value value) {
    panels_.push(std::move(value));
    return panels_.items().size() - 1;
  }

  std::string note_of(int64_t stride) const {
    return stride > 1 ? fmt::format("Every {}th layer is shown.", stride) : "";
  }

  /// First and last step of each column.
  json::Value load(size_t run, RunPanels& to) {
    const LoadHistory& history = logs_[run].load;
    json::Value steps{json::Array{}};
    if (history.columns.empty()) return steps;
    const int64_t count = std::clamp(kLoadBytes / std::max<int64_t>(1, load_cells_), kFewestColumns, kMostColumns);
    const int64_t stride = std::max<int64_t>(1, layer_stride(load_cells_ * count, kLoadBytes, load_layers_));
    const std::vector<LoadColumn> columns = columns_of(history, count);
    for (const LoadColumn& column : columns) {
      steps.push(json::Array{json::Value(column.first_step), json::Value(column.last_step)});
    }
    for (size_t l = 0; l < history.layers.size(); l += static_cast<size_t>(stride)) {
      to.load += load_panel(run, history.layers[l], columns);
    }
    to.load_note = note_of(stride);
    return steps;
  }

  std::string load_panel(size_t run, const LoadHistory::Layer& layer, const std::vector<LoadColumn>& columns) {
    const auto experts = static_cast<double>(layer.num_experts);
    const double highest = std::max(1.0, std::log2(experts));
    std::string bytes;
    double peak = 0;
    int64_t dead = 0;
    for (int64_t e = 0; e < layer.num_experts; ++e) {
      double ratio = 0;
      for (const LoadColumn& column : columns) {
        ratio = experts * static_cast<double>(column.load[static_cast<size_t>(layer.begin + e)]);
        bytes += load_code(ratio, highest);
      }
      peak = std::max(peak, ratio);  // of the last column
      dead += ratio > 0 ? 0 : 1;
    }
    const std::string note =
        fmt::format("max/mean {}{}", decimal(peak, 2), dead > 0 ? fmt::format(", {} dead", dead) : "");
    const size_t number =
        add(panel("load", run, layer.layer, layer.num_experts, static_cast<int64_t>(columns.size()), highest, bytes));
    return figure(
        number, "load", layer.num_experts, layer.layer,
        fmt::format("Load of {} experts over time in layer {}; at the end {}", layer.num_experts, layer.layer, note),
        note, dead > 0 || peak >= 3);
  }

  int64_t layer_number(size_t run, size_t index) const {
    const std::vector<int64_t>& layers = logs_[run].facts.moe_layers;
    return index < layers.size() ? layers[index] : static_cast<int64_t>(index);
  }

  /// Names of the rows.
  json::Value domains(size_t run, RunPanels& to) {
    const std::vector<Matrix>& matrices = logs_[run].specialisation;
    json::Value names{json::Array{}};
    if (!logs_[run].evals.empty()) {
      for (const EvalDomain& domain : logs_[run].evals.back().domains) names.push(visible_text(domain.name));
    }
    const int64_t stride = layer_stride(domain_cells_, kDomainBytes, static_cast<int64_t>(matrices.size()));
    if (stride == 0) to.domains_note = "Too large to be shown here.";
    if (stride == 0 || matrices.empty()) return names;
    for (size_t l = 0; l < matrices.size(); l += static_cast<size_t>(stride)) {
      to.domains += signed_panel("domains", run, l, domain_lift(matrices[l]), out_.most_domains);
    }
    to.domains_note = note_of(stride);
    return names;
  }

  std::string signed_panel(std::string_view kind, size_t run, size_t index, const Matrix& matrix, double most) {
    std::string bytes;
    double peak = 0;
    for (const float value : matrix.values) {
      bytes += signed_code(static_cast<double>(value), most);
      if (std::isfinite(value)) peak = std::max(peak, static_cast<double>(value));
    }
    const int64_t layer = layer_number(run, index);
    const std::string note = fmt::format("up to {} above chance", percent(peak));
    return figure(add(panel(kind, run, layer, matrix.rows, matrix.columns, most, bytes)), kind, matrix.rows, layer,
                  fmt::format("{} of layer {}: {} rows by {} experts, {}",
                              kind == "pairs" ? "Pairs of experts" : "Domains by experts", layer, matrix.rows,
                              matrix.columns, note),
                  note, false);
  }

  void pairs(size_t run, RunPanels& to) {
    const std::vector<Matrix>& matrices = logs_[run].co_activation;
    const int64_t stride = layer_stride(pair_cells_, kPairBytes, static_cast<int64_t>(matrices.size()));
    if (stride == 0) to.pairs_note = "Too large to be shown here.";
    if (stride == 0 || matrices.empty()) return;
    for (size_t l = 0; l < matrices.size(); l += static_cast<size_t>(stride)) {
      to.pairs += signed_panel("pairs", run, l, pair_lift(matrices[l], logs_[run].facts.top_k), out_.most_pairs);
    }
    to.pairs_note = note_of(stride);
  }

  const std::vector<RunLog>& logs_;
  int64_t load_cells_ = 0, load_layers_ = 0, domain_cells_ = 0, pair_cells_ = 0;
  json::Value panels_{json::Array{}};
  Panels out_;
};

}  // namespace

Panels make_panels(const std::vector<RunLog>& logs) {
  return Maker(logs).make();
}

}  // namespace moxie
