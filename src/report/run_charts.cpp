#include "report/run_charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "report/page_files.h"
#include "report/token_text.h"

namespace moxie {
namespace {

constexpr double kLeft = 52, kRight = 14, kTop = 10, kBottom = 40;

/// A range of data and where it lies on the paper.
struct Scale {
  double from = 0, to = 1, begin = 0, end = 1;
  double at(double value) const { return begin + (end - begin) * (value - from) / (to - from); }
};

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  void add(double value) {
    if (!(std::abs(value) <= 1e300)) return;  // spans must be numbers, too
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return !(low <= high); }
};

/// Distance of about `count` round ticks.
double tick_step(double span, int count) {
  const double rough = span / count, power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= rough * 0.999) return factor * power;
  }
  return 10 * power;
}

std::string text(double x, double y, std::string_view anchor, std::string_view words, std::string_view name = "tick") {
  return fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>", name, x, y, anchor,
                     escape_html(words));
}

std::string draw_axes(const Chart& chart, const Scale& x, const Scale& y) {
  std::string out;
  const double y_step = tick_step((y.to - y.from) / chart.y_unit.size, 5);
  const auto first = static_cast<int64_t>(std::ceil(y.from / chart.y_unit.size / y_step - 1e-9));
  for (int64_t i = first;
       static_cast<double>(i) * y_step * chart.y_unit.size <= y.to * (1 + 1e-9) + 1e-300 && i < first + 20; ++i) {
    const double value = static_cast<double>(i) * y_step, height = y.at(value * chart.y_unit.size);
    out += fmt::format("<line class=\"rule\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>", x.begin, x.end,
                       height, height);
    out += text(x.begin - 7, height + 4, "end", fmt::format("{:.4g}{}", value, chart.y_unit.suffix));
  }
  const double x_step = tick_step((x.to - x.from) / chart.x_unit.size, x.end > 700 ? 10 : 5);
  for (int64_t i = 0; i < 30; ++i) {
    const double value =
        std::ceil(x.from / chart.x_unit.size / x_step - 1e-9) * x_step + static_cast<double>(i) * x_step;
    if (value * chart.x_unit.size > x.to * (1 + 1e-9)) break;
    out += text(x.at(value * chart.x_unit.size), y.begin + 17, i == 0 && value == 0 ? "start" : "middle",
                fmt::format("{:.4g}{}", value, chart.x_unit.suffix), i % 2 == 0 ? "tick" : "tick minor");
  }
  out += text(x.end, y.begin + 34, "end", chart.x_name, "tick axis-name");
  return out;
}

/// "M x y L x y ...", cut where a value is missing.
std::string path(const std::vector<double>& xs, const std::vector<double>& ys, const Scale& x, const Scale& y) {
  std::string out;
  bool drawing = false;
  for (size_t i = 0; i < xs.size(); ++i) {
    if (!std::isfinite(xs[i]) || !std::isfinite(ys[i])) {
      drawing = false;
      continue;
    }
    out += fmt::format("{}{:.1f} {:.1f}", drawing ? "L" : "M", x.at(xs[i]), std::clamp(y.at(ys[i]), -1e4, 1e4));
    drawing = true;
  }
  return out;
}

std::string draw_band(const Curve& curve, const Scale& x, const Scale& y) {
  std::string there, back;
  for (size_t i = 0; i < curve.x.size(); ++i) {
    if (!std::isfinite(curve.low[i]) || !std::isfinite(curve.high[i])) continue;
    const double place = x.at(curve.x[i]);
    there +=
        fmt::format("{}{:.1f} {:.1f}", there.empty() ? "M" : "L", place, std::clamp(y.at(curve.high[i]), -1e4, 1e4));
    back.insert(0, fmt::format("L{:.1f} {:.1f}", place, std::clamp(y.at(curve.low[i]), -1e4, 1e4)));
  }
  return there.empty() ? "" : fmt::format("<path class=\"band run-{}\" d=\"{}{}Z\"/>", curve.run, there, back);
}

std::string draw_curve(const Curve& curve, const Scale& x, const Scale& y) {
  std::string points, dots;
  for (size_t i = 0; i < curve.x.size(); ++i) {
    if (!std::isfinite(curve.x[i]) || !std::isfinite(curve.y[i])) continue;
    points += fmt::format("{}{:.5g} {:.4g}", points.empty() ? "" : ",", curve.x[i], curve.y[i]);
    if (!curve.dots) continue;
    dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/>", x.at(curve.x[i]),
                        std::clamp(y.at(curve.y[i]), -1e4, 1e4));
  }
  if (points.empty()) return {};
  std::string out = fmt::format("<path class=\"curve {} run-{}\" data-name=\"{}\" data-points=\"{}\" d=\"{}\"/>",
                                curve.dots ? "bold" : "thin", curve.run, escape_html(visible_text(curve.name)), points,
                                path(curve.x, curve.y, x, y));
  if (!dots.empty()) out += fmt::format("<g class=\"dots run-{}\">{}</g>", curve.run, dots);
  return out;
}

/// What the chart shows, in words, for who cannot see it.
std::string description(const Chart& chart) {
  std::string out;
  for (const Curve& curve : chart.curves) {
    for (size_t i = curve.y.size(); i-- > 0;) {
      if (!std::isfinite(curve.y[i])) continue;
      out += fmt::format("{}{} ends at {:.4g}{}", out.empty() ? "" : "; ", visible_text(curve.name),
                         curve.y[i] / chart.y_unit.size, chart.y_unit.suffix);
      break;
    }
  }
  return out;
}

std::string draw_svg(const Chart& chart, const Range& xs, const Range& ys, bool wide) {
  const double width = wide ? 1120 : 540, height = wide ? 380 : 270;
  const Scale x{xs.low, xs.high > xs.low ? xs.high : xs.low + 1, kLeft, width - kRight};
  const double margin = 0.04 * (ys.high - ys.low);
  double from = ys.low - margin, to = ys.high + margin;
  if (chart.from_zero && ys.low >= 0) from = 0;
  if (!(to > from)) {  // one value only
    const double around = ys.high == 0 ? 1 : 0.1 * std::abs(ys.high);
    to = ys.high + around;
    from = chart.from_zero && ys.low >= 0 ? 0 : ys.low - around;
  }
  const Scale y{from, to, height - kBottom, kTop};
  std::string out = fmt::format(
      "<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\" data-from=\"{:.6g}\" data-to=\"{:.6g}\" "
      "data-left=\"{:.0f}\" data-right=\"{:.0f}\" data-top=\"{:.0f}\" data-bottom=\"{:.0f}\" data-x-size=\"{:g}\" "
      "data-x-suffix=\"{}\" data-y-size=\"{:g}\" data-y-suffix=\"{}\" data-x-name=\"{}\">",
      width, height, escape_html(chart.title + ". " + description(chart)), x.from, x.to, x.begin, x.end, y.end, y.begin,
      chart.x_unit.size, chart.x_unit.suffix, chart.y_unit.size, chart.y_unit.suffix, escape_html(chart.x_name));
  out += draw_axes(chart, x, y);
  // An inner svg clips what leaves the plot.
  out += fmt::format(
      "<svg x=\"{0:.0f}\" y=\"{1:.0f}\" width=\"{2:.0f}\" height=\"{3:.0f}\" viewBox=\"{0:.0f} {1:.0f} "
      "{2:.0f} {3:.0f}\">",
      x.begin - 4, y.end - 4, x.end - x.begin + 8, y.begin - y.end + 8);
  for (const Curve& curve : chart.curves) {
    if (!curve.low.empty()) out += draw_band(curve, x, y);
  }
  for (const ChartMark& mark : chart.marks) {
    out += fmt::format(
        "<line class=\"event\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\"><title>{3}"
        "</title></line>",
        x.at(mark.x), y.end, y.begin, escape_html(visible_text(mark.text)));
  }
  for (const bool dots : {false, true}) {
    for (const Curve& curve : chart.curves) {
      if (curve.dots == dots) out += draw_curve(curve, x, y);
    }
  }
  return out + "</svg></svg>";
}

}  // namespace

AxisUnit count_unit(double most) {
  constexpr std::array<std::string_view, 7> kLetters{"", "K", "M", "G", "T", "P", "E"};
  size_t i = 0;
  double size = 1;
  for (; most >= 1000 * size && i + 1 < kLetters.size(); ++i) size *= 1000;
  return {size, std::string(kLetters[i])};
}

AxisUnit time_unit(double most) {
  if (most >= 2 * 3600) return {3600, " h"};
  if (most >= 120) return {60, " min"};
  return {1, " s"};
}

Curve thinned(const Curve& curve, size_t count) {
  if (curve.x.size() <= count) return curve;
  Curve out{.run = curve.run, .name = curve.name, .dots = curve.dots};
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = i * curve.x.size() / count, end = (i + 1) * curve.x.size() / count;
    double x = 0, y = 0, n = 0;
    Range range;
    for (size_t j = begin; j < end; ++j) {
      range.add(curve.y[j]);
      if (!std::isfinite(curve.y[j]) || !std::isfinite(curve.x[j])) continue;
      x += curve.x[j];
      y += curve.y[j];
      ++n;
    }
    if (n == 0) continue;
    out.x.push_back(x / n);
    out.y.push_back(y / n);
    out.low.push_back(range.low);
    out.high.push_back(range.high);
  }
  return out;
}

std::string draw_chart(const Chart& chart, bool wide) {
  Range xs, ys;
  for (const Curve& curve : chart.curves) {
    const auto skipped = static_cast<size_t>(chart.skip * static_cast<double>(curve.x.size()));
    for (size_t i = 0; i < curve.x.size(); ++i) {
      if (!std::isfinite(curve.y[i])) continue;
      xs.add(curve.x[i]);
      if (i >= skipped) ys.add(curve.y[i]);
    }
  }
  const std::string head =
      fmt::format("<figure class=\"plot{}\"><figcaption><b>{}</b> <span class=\"muted\">{}</span></figcaption>",
                  wide ? " wide" : "", escape_html(chart.title), escape_html(chart.note));
  if (xs.empty() || ys.empty()) return head + "<p class=\"muted empty\">not recorded</p></figure>\n";
  if (ys.low == 0 && ys.high == 0) return head + "<p class=\"muted empty\">0 throughout</p></figure>\n";
  return fmt::format("{}<div class=\"scroll-x\">{}</div></figure>\n", head, draw_svg(chart, xs, ys, wide));
}

}  // namespace moxie
