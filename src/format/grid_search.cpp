#include "format/grid_search.h"

#include <algorithm>
#include <cmath>

namespace moxie::block {
namespace {

constexpr size_t kNear = 12;  // entries kept for a pattern that is none itself

}  // namespace

GridSearch::GridSearch(const std::vector<uint64_t>& entries, int dim, int) : dim_(dim) {
  find_levels(entries);
  for (const uint64_t entry : entries) {
    for (int i = 0; i < dim; ++i) values_.push_back(static_cast<float>(entry >> 8 * i & 0xff));
  }
  int num_patterns = 1;
  for (int i = 0; i < dim; ++i) num_patterns *= num_levels_;
  near_begin_.push_back(0);
  for (int pattern = 0; pattern < num_patterns; ++pattern) find_near(pattern);
}

void GridSearch::find_levels(const std::vector<uint64_t>& entries) {
  std::array<bool, 256> seen = {};
  for (const uint64_t entry : entries) {
    for (int i = 0; i < dim_; ++i) seen[entry >> 8 * i & 0xff] = true;
  }
  for (int level = 0; level < 256; ++level) {
    if (seen[static_cast<size_t>(level)]) levels_[static_cast<size_t>(num_levels_++)] = static_cast<float>(level);
  }
}

void GridSearch::find_near(int pattern) {
  std::array<float, 8> point = {};
  for (int i = 0, rest = pattern; i < dim_; ++i, rest /= num_levels_) {
    point[static_cast<size_t>(i)] = levels_[static_cast<size_t>(rest % num_levels_)];
  }
  std::array<std::pair<float, uint16_t>, kNear> best;
  best.fill({INFINITY, 0});
  const int num_entries = static_cast<int>(values_.size()) / dim_;
  for (int index = 0; index < num_entries; ++index) {
    const float* value = entry(index);
    float distance = 0;
    for (int i = 0; i < dim_; ++i) {
      const float difference = point[static_cast<size_t>(i)] - value[i];
      distance += difference * difference;
    }
    if (distance >= best.back().first) continue;
    best.back() = {distance, static_cast<uint16_t>(index)};
    std::inplace_merge(best.begin(), best.end() - 1, best.end());
  }
  // Where the pattern is an entry, nothing can be nearer to what rounds to it.
  const size_t num = best[0].first == 0 ? 1 : kNear;
  for (size_t i = 0; i < num; ++i) near_.push_back(best[i].second);
  near_begin_.push_back(static_cast<uint32_t>(near_.size()));
}

int GridSearch::nearest(const float* y, const float* weight) const noexcept {
  uint32_t pattern = 0;
  for (int i = dim_ - 1; i >= 0; --i) {
    uint32_t level = 0;
    for (int next = 1; next < num_levels_; ++next) {
      level += 2 * y[i] > levels_[static_cast<size_t>(next) - 1] + levels_[static_cast<size_t>(next)] ? 1 : 0;
    }
    pattern = pattern * static_cast<uint32_t>(num_levels_) + level;
  }
  const uint32_t begin = near_begin_[pattern], end = near_begin_[pattern + 1];
  if (end - begin == 1) return near_[begin];
  int best = 0;
  float least = INFINITY;
  for (uint32_t k = begin; k < end; ++k) {
    const float* value = entry(near_[k]);
    float error = 0;
    for (int i = 0; i < dim_; ++i) error += weight[i] * (y[i] - value[i]) * (y[i] - value[i]);
    if (error < least) least = error, best = near_[k];
  }
  return best;
}

}  // namespace moxie::block
