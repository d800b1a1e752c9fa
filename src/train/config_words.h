// Words of a configuration: the nearest known one to a wrong one.
#pragma once

#include <algorithm>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moxie {

/// Edits (insert, remove, replace) between two words. O(product of their lengths): words, not texts.
inline size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replace = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replace, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

/// "Did you mean NAME?", or empty if none is near.
inline std::string nearest_hint(std::string_view word, std::span<const std::string_view> known) {
  if (word.size() > 100 || known.empty()) return "";
  const auto distance = [&](std::string_view one) { return edit_distance(word, one); };
  const std::string_view best = *std::min_element(
      known.begin(), known.end(), [&](auto left, auto right) { return distance(left) < distance(right); });
  if (distance(best) > std::max<size_t>(2, best.size() / 3)) return "";
  return "Did you mean " + std::string(best) + "?";
}

}  // namespace moxie
