// Finds the entry of a codebook of magnitudes nearest to some weights; knows no block layout. For the encoders of this
// room.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace moxie::block {

/// One codebook, prepared: for each pattern of nearest levels, the entries that may be nearest to it. Making one takes
/// some 10 ms; searching is a matter of a few entries.
class GridSearch {
 public:
  /// `entries` as codebooks.h holds them, `dim` (4 or 8) magnitudes a piece.
  template <typename Entries>
  GridSearch(const Entries& entries, int dim) : GridSearch({entries.begin(), entries.end()}, dim, 0) {}

  /// The entry g with the least Σ weight (y - g)², of those near the pattern of y.
  int nearest(const float* y, const float* weight) const noexcept;

  const float* entry(int index) const noexcept { return values_.data() + static_cast<size_t>(index * dim_); }
  int dim() const noexcept { return dim_; }
  float smallest() const noexcept { return levels_[0]; }
  float largest() const noexcept { return levels_[static_cast<size_t>(num_levels_) - 1]; }

 private:
  GridSearch(const std::vector<uint64_t>& entries, int dim, int);
  void find_levels(const std::vector<uint64_t>& entries);
  void find_near(int pattern);

  int dim_, num_levels_ = 0;
  std::array<float, 8> levels_ = {};
  std::vector<float> values_;   // [entries, dim]
  std::vector<uint16_t> near_;  // entries of pattern p: near_begin_[p] .. near_begin_[p + 1]
  std::vector<uint32_t> near_begin_;
};

}  // namespace moxie::block
