// The comparison as one self-contained HTML page with two charts, drawn here as SVG: the page needs no script.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "report/comparison.h"
#include "report/page_files.h"
#include "report/run_summary.h"
#include "report/token_text.h"

namespace moxie {
namespace {

constexpr double kWidth = 860, kLeft = 70, kRight = 130;

std::string shown(std::string_view text) {
  return escape_html(visible_text(text));
}

/// The least of 1, 2, 5 times a power of ten that is not below `value`.
double round_up(double value) {
  const double power = std::pow(10, std::floor(std::log10(std::max(value, 1e-9))));
  for (const double step : {1.0, 2.0, 5.0}) {
    if (step * power >= value) return step * power;
  }
  return 10 * power;
}

std::string text_at(double x, double y, std::string_view anchor, std::string_view text, std::string_view kind) {
  return fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>", kind, x, y, anchor,
                     text);
}

// Batches stand at equal distances: they are few, and grow by factors.
std::string throughput_chart(const Comparison& c) {
  constexpr double kHeight = 300, kTop = 14, kBottom = 40;
  const size_t points = c.moe.decode.size();
  double most = 0;
  for (const ComparedModel* m : {&c.moe, &c.dense}) {
    for (const BatchSpeed& speed : m->decode) most = std::max(most, speed.tokens_per_second);
  }
  const double top = round_up(most);
  const auto x = [&](size_t i) {
    return kLeft +
           (points < 2 ? 0.5 : static_cast<double>(i) / static_cast<double>(points - 1)) * (kWidth - kLeft - kRight);
  };
  const auto y = [&](double rate) { return kHeight - kBottom - rate / top * (kHeight - kTop - kBottom); };
  std::string svg =
      fmt::format("<svg class=\"plot\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Tokens a second over batch\">",
                  kWidth, kHeight);
  for (int i = 0; i <= 4; ++i) {
    const double rate = top * i / 4;
    svg += fmt::format("<line class=\"rule\" x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/>", kLeft,
                       kWidth - kRight, y(rate));
    svg += text_at(kLeft - 8, y(rate) + 4, "end", short_count(rate), "tick");
  }
  for (size_t i = 0; i < points; ++i) {
    svg += text_at(x(i), kHeight - kBottom + 18, "middle", fmt::format("{}", c.moe.decode[i].batch), "tick");
  }
  svg += text_at((kLeft + kWidth - kRight) / 2, kHeight - 4, "middle", "sequences decoded together", "tick");
  // Names at the ends of the curves, kept apart.
  double at[2] = {y(c.moe.decode.back().tokens_per_second) + 4, y(c.dense.decode.back().tokens_per_second) + 4};
  if (std::abs(at[0] - at[1]) < 16) (at[0] <= at[1] ? at[1] : at[0]) = std::min(at[0], at[1]) + 16;
  int index = 0;
  for (const ComparedModel* m : {&c.moe, &c.dense}) {
    std::string path, dots;
    for (size_t i = 0; i < points; ++i) {
      const double rate = m->decode[i].tokens_per_second;
      path += fmt::format("{}{:.1f},{:.1f}", i == 0 ? "M" : " L", x(i), y(rate));
      dots += fmt::format(
          "<circle class=\"dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"><title>{} at {}: {:.1f} tok/s</title></circle>",
          x(i), y(rate), shown(m->name), m->decode[i].batch, rate);
    }
    svg +=
        fmt::format("<g class=\"{}\"><path class=\"curve\" d=\"{}\"/>{}</g>", index == 0 ? "moe" : "dense", path, dots);
    svg += text_at(kWidth - kRight + 12, at[index], "start", index == 0 ? "MoE" : "dense", "name");
    ++index;
  }
  return svg + "</svg>";
}

std::string memory_chart(const Comparison& c) {
  constexpr double kRow = 64;
  const double most = std::max(c.moe.memory_bytes(), c.dense.memory_bytes());
  const double scale = (kWidth - kLeft - kRight) / most;
  std::string svg = fmt::format("<svg class=\"plot\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Memory by part\">",
                                kWidth, 2 * kRow);
  double y = 8;
  for (const ComparedModel* m : {&c.moe, &c.dense}) {
    const double weights = static_cast<double>(m->disk_bytes);
    const double share =
        static_cast<double>(m->ffn_parameters()) / static_cast<double>(std::max<int64_t>(1, m->parameters.total()));
    const std::array<std::pair<const char*, double>, 3> parts = {{{"feed-forward weights", weights * share},
                                                                  {"other weights", weights * (1 - share)},
                                                                  {"cache of one context", m->context_kv_bytes}}};
    double x = kLeft;
    svg += text_at(kLeft - 8, y + 19, "end", m == &c.moe ? "MoE" : "dense", "name");
    std::string caption;
    for (size_t i = 0; i < parts.size(); ++i) {
      const double width = parts[i].second * scale;
      const std::string label = fmt::format("{}: {}B", parts[i].first, short_count(parts[i].second));
      svg += fmt::format(
          "<g class=\"{}\"><rect class=\"own share-{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"28\">"
          "<title>{}</title></rect></g>",
          m == &c.moe ? "moe" : "dense", i, x, y, width, label);
      x += width;
      caption += (i == 0 ? "" : " · ") + label;
    }
    svg += text_at(x + 8, y + 19, "start", short_count(m->memory_bytes()) + "B", "name");
    svg += text_at(kLeft, y + 44, "start", caption, "tick");
    y += kRow;
  }
  return svg + "</svg>";
}

std::string table(const Comparison& c) {
  std::string out = fmt::format(
      "<div class=\"scroll-x\"><table class=\"table rows\"><thead><tr><th scope=\"col\"></th><th scope=\"col\" "
      "class=\"number\">{}</th><th scope=\"col\" class=\"number\">{}</th><th scope=\"col\" class=\"number\">Ratio</th>"
      "<th scope=\"col\">From</th></tr></thead>",
      shown(c.moe.name), shown(c.dense.name));
  std::string section;
  for (const ComparisonRow& row : comparison_rows(c)) {
    if (row.section != section) {
      out += section.empty() ? "<tbody>" : "</tbody><tbody>";
      out += fmt::format("<tr><th scope=\"rowgroup\" colspan=\"5\">{}</th></tr>\n", escape_html(row.section));
      section = row.section;
    }
    out += fmt::format(
        "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td "
        "class=\"origin\">{}</td></tr>\n",
        escape_html(row.label), escape_html(row.moe), escape_html(row.dense), row.ratio, name_of(row.origin));
  }
  return out + "</tbody></table></div>";
}

}  // namespace

std::string comparison_page(const Comparison& c) {
  std::string sentences;
  for (const std::string& sentence : comparison_sentences(c)) sentences += "<li>" + escape_html(sentence) + "</li>\n";
  const std::string title = shown(c.moe.name) + " and " + shown(c.dense.name);
  const std::string subtitle = escape_html(fmt::format("{}, {} kernels; medians of {}, {} decode steps each", c.machine,
                                                       c.kernels, c.repeats, c.decode_tokens));
  const std::string throughput = throughput_chart(c), memory = memory_chart(c), rows = table(c);
  return build_page("compare.html", {{"title", title},
                                     {"subtitle", subtitle},
                                     {"sentences", sentences},
                                     {"throughput", throughput},
                                     {"memory", memory},
                                     {"table", rows}});
}

}  // namespace moxie
