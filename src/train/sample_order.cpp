#include "train/sample_order.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace moxie {
namespace {

// Whole numbers near the shares that sum to the period: rounded down, what is left to the largest remainders.
std::vector<int64_t> quotas(std::span<const double> weights) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> missing;
  std::vector<int64_t> quota;
  for (double weight : weights) {
    const double wanted = weight / total * static_cast<double>(SampleMix::kPeriod);
    quota.push_back(std::max<int64_t>(1, static_cast<int64_t>(std::floor(wanted))));
    missing.push_back(wanted - static_cast<double>(quota.back()));
  }
  int64_t left = SampleMix::kPeriod - std::accumulate(quota.begin(), quota.end(), int64_t{0});
  for (; left > 0; --left) {
    const auto most = std::max_element(missing.begin(), missing.end()) - missing.begin();
    ++quota[static_cast<size_t>(most)];
    missing[static_cast<size_t>(most)] -= 1;
  }
  for (; left < 0; ++left) --*std::max_element(quota.begin(), quota.end());
  return quota;
}

}  // namespace

SampleMix::SampleMix(std::span<const double> weights) {
  MOXIE_CHECK(!weights.empty() && static_cast<int64_t>(weights.size()) <= kPeriod);
  quota_ = quotas(weights);
  std::vector<int64_t> given(quota_.size());
  for (int64_t i = 0; i < kPeriod; ++i) {
    size_t next = 0;  // the domain that lags most: smallest (given + 1/2) / quota, the lower one of equals
    for (size_t d = 1; d < quota_.size(); ++d) {
      if ((2 * given[d] + 1) * quota_[next] < (2 * given[next] + 1) * quota_[d]) next = d;
    }
    slots_.push_back({static_cast<int32_t>(next), static_cast<int32_t>(given[next]++)});
  }
  MOXIE_CHECK(given == quota_);
}

int64_t permuted(const Rng& key, int64_t index, int64_t size) {
  MOXIE_CHECK(index >= 0 && index < size);
  constexpr uint64_t kRounds = 6;
  const int half = (std::bit_width(static_cast<uint64_t>(size - 1)) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  auto x = static_cast<uint64_t>(index);
  do {
    uint64_t left = x >> half, right = x & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t mixed = left ^ (key.at(round).bits(right) & mask);
      left = right;
      right = mixed;
    }
    x = left << half | right;
  } while (x >= static_cast<uint64_t>(size));
  return static_cast<int64_t>(x);
}

}  // namespace moxie
