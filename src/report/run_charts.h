// Line charts as SVG text: axes, curves of several runs, marks. Colours come from the page's style (class run-N); knows
// nothing of what the curves mean.
#pragma once

#include <string>
#include <vector>

namespace moxie {

/// How a number of an axis is told: 1,500,000 with {1e6, "M"} is "1.5M".
struct AxisUnit {
  double size = 1;
  std::string suffix;
};

/// One curve. Points with a y that is not finite are left out; x ascends.
struct Curve {
  size_t run = 0;    // its colour
  std::string name;  // for the note that follows the pointer; any bytes
  std::vector<double> x, y;
  std::vector<double> low, high;  // a band around y, or empty
  bool dots = false;              // each point is an evaluation: bold, with dots
};

/// A vertical line where something happened.
struct ChartMark {
  size_t run = 0;
  double x = 0;
  std::string text;
};

struct Chart {
  std::string title, note;  // note: one short line of what it means
  std::string x_name;
  AxisUnit x_unit, y_unit;
  std::vector<Curve> curves;
  std::vector<ChartMark> marks;
  bool from_zero = false;  // the y axis begins at 0
  double skip = 0;         // share of each curve's points at its start that do not stretch the y axis
};

/// A unit that keeps numbers up to `most` short: thousands, millions ..., or seconds, minutes, hours.
AxisUnit count_unit(double most);
AxisUnit time_unit(double most);

/// At most `count` points of the curve, each the mean of its neighbours; the band holds their extremes. Linear.
Curve thinned(const Curve& curve, size_t count);

/// A <figure>: title, note, and the SVG, or a word that nothing was recorded. Every text is escaped.
std::string draw_chart(const Chart& chart, bool wide = false);

}  // namespace moxie
