#include "moe/stats.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace moxie {

void MoeStats::reset(int64_t num_experts) {
  num_tokens = 0;
  tokens_per_expert.assign(static_cast<size_t>(num_experts), 0);
  weight_mass.assign(static_cast<size_t>(num_experts), 0);
  margin_sum = 0;
  margin_min = INFINITY;
  dropped = rerouted = 0;
}

void MoeStats::add(const Routing& chosen, int64_t num_dropped, int64_t num_rerouted) {
  num_tokens += chosen.num_tokens;
  dropped += num_dropped;
  rerouted += num_rerouted;
  for (int64_t i = 0; i < chosen.num_tokens * chosen.top_k; ++i) {
    if (chosen.topk_ids[i] < 0) continue;
    const auto expert = static_cast<size_t>(chosen.topk_ids[i]);
    ++tokens_per_expert[expert];
    weight_mass[expert] += chosen.topk_weights[i];
  }
  for (int64_t t = 0; t < chosen.num_tokens; ++t) {
    if (std::isfinite(chosen.margin[t])) margin_sum += chosen.margin[t];
    margin_min = std::min(margin_min, chosen.margin[t]);
  }
}

double MoeStats::entropy() const {
  const auto total = std::accumulate(tokens_per_expert.begin(), tokens_per_expert.end(), int64_t{0});
  if (total == 0 || tokens_per_expert.size() < 2) return 1;
  double sum = 0;
  for (const int64_t count : tokens_per_expert) {
    if (count == 0) continue;
    const double share = static_cast<double>(count) / static_cast<double>(total);
    sum -= share * std::log(share);
  }
  return sum / std::log(static_cast<double>(tokens_per_expert.size()));
}

double MoeStats::max_over_mean() const {
  const auto total = std::accumulate(tokens_per_expert.begin(), tokens_per_expert.end(), int64_t{0});
  if (total == 0) return 1;
  const auto most = *std::max_element(tokens_per_expert.begin(), tokens_per_expert.end());
  return static_cast<double>(most) * static_cast<double>(tokens_per_expert.size()) / static_cast<double>(total);
}

int64_t MoeStats::dead_experts() const {
  return std::count(tokens_per_expert.begin(), tokens_per_expert.end(), 0);
}

}  // namespace moxie
