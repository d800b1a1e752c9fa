// The order of training samples by closed form: which domain sample i takes, the how-manieth of it that is, and a
// permutation of windows. No state; knows no text.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/rng.h"

namespace moxie {

/// Deals samples to domains in a fixed pattern that repeats: every stretch of it holds each domain nearly in its share
/// (Sainte-Lague's rule), so that no draw of luck stands between two runs. Shares are whole numbers of kPeriod.
class SampleMix {
 public:
  static constexpr int64_t kPeriod = 16384;

  /// Weights are above 0, at most kPeriod of them; each domain gets at least one place. O(kPeriod * domains), once.
  explicit SampleMix(std::span<const double> weights);

  struct Place {
    int64_t domain;
    int64_t index;  // samples of that domain before this one
  };
  Place place(int64_t sample) const {
    const Slot& slot = slots_[static_cast<size_t>(sample % kPeriod)];
    return {slot.domain, sample / kPeriod * quota_[static_cast<size_t>(slot.domain)] + slot.rank};
  }
  double share(int64_t domain) const {
    return static_cast<double>(quota_[static_cast<size_t>(domain)]) / static_cast<double>(kPeriod);
  }

 private:
  struct Slot {
    int32_t domain, rank;
  };
  std::vector<int64_t> quota_;
  std::vector<Slot> slots_;
};

/// Where `index` of [0, size) goes in the permutation of that key: a Feistel network over the next power of four,
/// walked until it falls inside (Black and Rogaway, CT-RSA 2002). O(1) expected: at most four rounds of it.
int64_t permuted(const Rng& key, int64_t index, int64_t size);

}  // namespace moxie
