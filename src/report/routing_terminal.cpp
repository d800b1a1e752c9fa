#include "report/routing_terminal.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "base/error.h"
#include "report/token_text.h"

namespace moxie {
namespace {

constexpr int kLabel = 7;            // columns left of a row: "   L12 "
constexpr int kMaxLoadColumns = 64;  // of the load table; more experts share a column

/// Light backgrounds of the 6x6x6 cube, hues far apart side by side; black text reads on all of them, on any terminal.
constexpr std::array<int, 18> kExpertColors{117, 222, 150, 218, 189, 180, 123, 216, 193,
                                            183, 229, 115, 211, 153, 186, 223, 158, 146};
/// Pale to dark for the loads.
constexpr std::array<int, 8> kHeatColors{230, 193, 151, 115, 73, 31, 25, 18};

std::string paint(std::string_view text, int background, int foreground) {
  return fmt::format("\x1b[48;5;{};38;5;{}m{}\x1b[0m", background, foreground, text);
}

std::string bold(std::string_view text, bool color) {
  return color ? fmt::format("\x1b[1m{}\x1b[0m", text) : std::string(text);
}

std::string padded(std::string text, int width) {
  text.append(static_cast<size_t>(std::max(0, width - display_width(text))), ' ');
  return text;
}

// ---- tokens ----

/// One line under the tokens: a label, then the expert of each token (-1: none) and what is printed for it.
struct Row {
  std::string label;
  std::vector<int32_t> experts;
  std::vector<std::string> texts;
};

/// The slots of one token, strongest first; dropped ones last.
std::vector<int32_t> strongest_first(const LayerTrace& layer, int64_t token) {
  std::vector<int32_t> slots(static_cast<size_t>(layer.top_k));
  for (int32_t k = 0; k < layer.top_k; ++k) slots[static_cast<size_t>(k)] = k;
  const size_t row = static_cast<size_t>(token * layer.top_k);
  std::stable_sort(slots.begin(), slots.end(), [&](int32_t a, int32_t b) {
    const bool dropped_a = layer.topk_ids[row + a] < 0, dropped_b = layer.topk_ids[row + b] < 0;
    if (dropped_a != dropped_b) return dropped_b;
    return !layer.topk_weights.empty() && layer.topk_weights[row + a] > layer.topk_weights[row + b];
  });
  return slots;
}

void add_cell(Row& row, const LayerTrace& layer, int64_t token, int32_t slot, bool with_weight) {
  const size_t at = static_cast<size_t>(token * layer.top_k + slot);
  const int32_t expert = layer.topk_ids[at];
  row.experts.push_back(expert);
  std::string text = expert < 0 ? "-" : std::to_string(expert);
  if (with_weight && expert >= 0 && !layer.topk_weights.empty()) text += fmt::format(":{:.2f}", layer.topk_weights[at]);
  row.texts.push_back(std::move(text));
}

/// The rows of one chosen layer: its experts by rank with their weights, then the margin.
std::vector<Row> rows_of_layer(const LayerTrace& layer, int64_t tokens) {
  std::vector<Row> rows(static_cast<size_t>(layer.top_k));
  for (size_t k = 0; k < rows.size(); ++k) rows[k].label = fmt::format("#{}", k + 1);
  for (int64_t t = 0; t < tokens; ++t) {
    const std::vector<int32_t> slots = strongest_first(layer, t);
    for (size_t k = 0; k < rows.size(); ++k) add_cell(rows[k], layer, t, slots[k], true);
  }
  if (!layer.margin.empty()) {
    Row margins{.label = "margin", .experts = std::vector<int32_t>(static_cast<size_t>(tokens), -1)};
    for (int64_t t = 0; t < tokens; ++t) {
      const float margin = layer.margin[static_cast<size_t>(t)];
      margins.texts.push_back(std::isfinite(margin) ? fmt::format("{:.2g}", margin) : "-");
    }
    rows.push_back(std::move(margins));
  }
  return rows;
}

std::vector<Row> rows_of_all_layers(const RoutingTrace& trace, int64_t tokens, int max_layers) {
  const size_t shown = std::min(trace.layers.size(), static_cast<size_t>(std::max(1, max_layers)));
  std::vector<Row> rows;
  for (size_t i = 0; i < shown; ++i) {  // the first and the last are always among them
    const size_t l = shown == 1 ? 0 : i * (trace.layers.size() - 1) / (shown - 1);
    Row row{.label = fmt::format("L{}", trace.layers[l].layer)};
    for (int64_t t = 0; t < tokens; ++t) {
      add_cell(row, trace.layers[l], t, strongest_first(trace.layers[l], t)[0], false);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

/// A token cut to a column width that leaves several on a line.
std::string fitted(std::string text, int width) {
  if (text.empty()) return "∅";
  if (display_width(text) <= width) return text;
  while (display_width(text) > width - 1) {
    do {
      text.pop_back();
    } while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xc0) == 0x80);
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xc0) == 0xc0) text.pop_back();
  }
  return text + "…";
}

/// Interlinear print: blocks of a line of tokens over the rows, cut to the width.
std::string print_tokens(const std::vector<std::string>& tokens, const std::vector<Row>& rows,
                         const TerminalOptions& options) {
  const int room = std::max(24, options.width) - kLabel;
  std::vector<std::string> shown;
  std::vector<int> widths;
  for (size_t t = 0; t < tokens.size(); ++t) {
    shown.push_back(fitted(tokens[t], room / 2));
    int width = display_width(shown.back());
    for (const Row& row : rows) width = std::max(width, display_width(row.texts[t]));
    widths.push_back(width);
  }
  std::string out;
  for (size_t begin = 0; begin < tokens.size();) {
    size_t end = begin;
    for (int used = 0; end < tokens.size() && (end == begin || used + widths[end] + 1 <= room); ++end) {
      used += widths[end] + 1;
    }
    std::string line(kLabel, ' ');
    for (size_t t = begin; t < end; ++t) line += bold(padded(shown[t], widths[t]), options.color) + " ";
    out += line + "\n";
    for (const Row& row : rows) {
      line = fmt::format("{:>{}} ", row.label, kLabel - 1);
      for (size_t t = begin; t < end; ++t) {
        const std::string cell = padded(row.texts[t], widths[t]);
        const int32_t e = row.experts[t];
        line += (options.color && e >= 0 ? paint(cell, kExpertColors[static_cast<size_t>(e) % kExpertColors.size()], 16)
                                         : cell) +
                " ";
      }
      out += line + "\n";
    }
    out += "\n";
    begin = end;
  }
  return out;
}

std::string tokens_part(const RoutingTrace& trace, const std::vector<std::string>& texts,
                        const TerminalOptions& options) {
  const int64_t total = static_cast<int64_t>(trace.token_ids.size());
  const int64_t shown = std::clamp<int64_t>(options.max_tokens, 0, total);
  std::vector<Row> rows;
  std::string out;
  if (options.layer) {
    const auto layer = std::find_if(trace.layers.begin(), trace.layers.end(),
                                    [&](const LayerTrace& candidate) { return candidate.layer == *options.layer; });
    if (layer == trace.layers.end()) {
      throw make_error(ErrorCode::usage, "layer {} is no MoE layer; there are {}, from {} to {}", *options.layer,
                       trace.layers.size(), trace.layers.front().layer, trace.layers.back().layer);
    }
    rows = rows_of_layer(*layer, shown);
    out = bold(fmt::format("tokens and their experts in layer {}", layer->layer), options.color) +
          (layer->topk_weights.empty() ? "\n" : "  (expert:weight)\n");
  } else {
    rows = rows_of_all_layers(trace, shown, options.max_layers);
    out = bold("tokens and the strongest expert of each layer", options.color) +
          (rows.size() < trace.layers.size() ? fmt::format("  ({} of {} layers)\n", rows.size(), trace.layers.size())
                                             : "\n");
  }
  out += print_tokens(visible_tokens({texts.begin(), texts.begin() + shown}), rows, options);
  if (shown < total) out += fmt::format("       ... and {} more tokens, counted below\n\n", total - shown);
  return out;
}

// ---- loads ----

/// One row of the load table: a column per `group` experts, its height their mean load against `top` times the even
/// one.
std::string load_cells(const LayerSummary& layer, int group, double top, bool color) {
  constexpr std::array<std::string_view, 8> blocks{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::string out;
  for (int32_t first = 0; first < layer.num_experts; first += group) {
    const int32_t end = std::min(first + group, layer.num_experts);
    double share = 0;
    for (int32_t e = first; e < end; ++e) share += layer.experts[static_cast<size_t>(e)].share;
    const double ratio = share * layer.num_experts / (end - first);
    const size_t step = static_cast<size_t>(std::clamp(std::sqrt(ratio / top) * 8, 0.0, 7.0));
    const std::string_view block = share == 0 ? "×" : blocks[step];
    out += color ? paint(share == 0 ? "×" : " ", share == 0 ? 255 : kHeatColors[step], share == 0 ? 160 : 16)
                 : std::string(block);
  }
  return out;
}

std::string load_part(const RoutingSummary& summary, const TerminalOptions& options) {
  constexpr int kFigures = 29;  // the columns right of the cells
  int32_t most = 1;
  double top = 2;
  for (const LayerSummary& layer : summary.layers) {
    most = std::max(most, layer.num_experts);
    top = std::max(top, layer.max_over_mean);
  }
  top = std::min(top, 8.0);
  const int room = std::clamp(options.width - kLabel - kFigures, 8, kMaxLoadColumns);
  const int group = (most + room - 1) / room, columns = (most + group - 1) / group;
  std::string out = bold("load, layer by expert", options.color);
  if (options.color) {
    out += "  0 ";
    for (const int heat : kHeatColors) out += paint(" ", heat, 16);
    out += fmt::format(" {:.1f}x the even share, {} no token", top, paint("×", 255, 160));
  } else {
    out += fmt::format("  (█ = {:.1f}x the even share, × = no token)", top);
  }
  out += group > 1 ? fmt::format("; {} experts a column\n", group) : "\n";
  std::string axis(static_cast<size_t>(columns), ' ');
  for (int c = 0; c < columns; c += 8) {
    const std::string id = std::to_string(c * group);
    if (c + static_cast<int>(id.size()) <= columns) axis.replace(static_cast<size_t>(c), id.size(), id);
  }
  out += fmt::format("{:>{}} {} {:>7} {:>8} {:>4} {:>6}\n", "layer", kLabel - 1, axis, "entropy", "max/mean", "idle",
                     "margin");
  for (const LayerSummary& layer : summary.layers) {
    const std::string cells = load_cells(layer, group, top, options.color);
    const int width = (layer.num_experts + group - 1) / group;
    out += fmt::format("{:>{}} {}{} {:>7.3f} {:>8.2f} {:>4} {:>6}\n", layer.layer, kLabel - 1, cells,
                       std::string(static_cast<size_t>(columns - width), ' '), layer.entropy, layer.max_over_mean,
                       layer.dead.size(), layer.mean_margin ? fmt::format("{:.2g}", *layer.mean_margin) : "-");
  }
  return out + "\n";
}

std::string busiest_part(const RoutingSummary& summary, const std::vector<std::string>& texts,
                         const TerminalOptions& options) {
  constexpr size_t kTokensNamed = 5;
  std::string out =
      bold("busiest experts", options.color) + "  (share of the layer's load; the tokens they receive most)\n";
  for (const LayerSummary& layer : summary.layers) {
    const size_t count = std::min(layer.busiest.size(), static_cast<size_t>(std::max(0, options.busiest)));
    for (size_t i = 0; i < count; ++i) {
      const ExpertSummary& expert = layer.experts[static_cast<size_t>(layer.busiest[i])];
      std::string line = fmt::format("{:>{}} {:>5} {:>5.1f}% ", i == 0 ? fmt::format("L{}", layer.layer) : "",
                                     kLabel - 1, layer.busiest[i], 100 * expert.share);
      for (size_t w = 0; w < std::min(expert.by_count.size(), kTokensNamed); ++w) {
        const std::string word = " '" + visible_text(texts[static_cast<size_t>(expert.by_count[w].position)]) + "'";
        if (display_width(line) + display_width(word) > options.width) break;
        line += word;
      }
      out += line + "\n";
    }
  }
  return out + "\n";
}

}  // namespace

std::string routing_terminal(const RoutingTrace& trace, const RoutingSummary& summary,
                             const std::vector<std::string>& token_texts, const TerminalOptions& options) {
  MOXIE_CHECK(token_texts.size() == trace.token_ids.size() && summary.layers.size() == trace.layers.size());
  if (trace.layers.empty()) return "no MoE layer: a dense model routes nothing\n";
  if (trace.token_ids.empty()) return "no tokens\n";
  std::string out = tokens_part(trace, token_texts, options);
  out += load_part(summary, options);
  out += busiest_part(summary, token_texts, options);
  for (const std::string& warning : routing_warnings(summary)) {
    out += options.color ? fmt::format("\x1b[1;33m!\x1b[0m {}\n", warning) : fmt::format("! {}\n", warning);
  }
  return out;
}

}  // namespace moxie
