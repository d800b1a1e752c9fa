#include "train/watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace moxie {
namespace {

double busiest_share(const MoeStats& stats) {
  const auto busiest = std::max_element(stats.tokens_per_expert.begin(), stats.tokens_per_expert.end());
  return static_cast<double>(*busiest) / static_cast<double>(stats.num_tokens);
}

std::string advice(const TrainConfig& config, const MoeSpec& ffn) {
  const std::string coef = fmt::format("Raise balance.coef (now {})", config.aux.coef);
  if (!ffn.select_bias) return coef + ", or use a family with a selection bias.";
  if (config.bias.rule == BiasRule::none) return coef + ", or set balance.bias_rule (now none).";
  return coef + fmt::format(", or balance.bias_rate (now {}).", config.bias.rate);
}

}  // namespace

std::optional<std::string> loss_spike(const TrainState& state, double loss) {
  const std::vector<double>& losses = state.recent_losses;
  if (losses.size() < kSpikeWindow) return std::nullopt;
  const auto count = static_cast<double>(losses.size());
  double mean = 0, variance = 0;
  for (const double each : losses) mean += each / count;
  for (const double each : losses) variance += (each - mean) * (each - mean) / count;
  if (loss <= mean + std::max(0.5, 6 * std::sqrt(variance))) return std::nullopt;
  return fmt::format("loss {:.3f}; the last {} had mean {:.3f}, deviation {:.3f}", loss, losses.size(), mean,
                     std::sqrt(variance));
}

void remember_loss(TrainState& state, double loss) {
  if (state.recent_losses.size() == kSpikeWindow) state.recent_losses.erase(state.recent_losses.begin());
  state.recent_losses.push_back(loss);
}

bool looks_collapsed(const MoeStats& stats, int64_t top_k) {
  const auto num_experts = static_cast<int64_t>(stats.tokens_per_expert.size());
  if (num_experts <= top_k || stats.num_tokens * top_k < 4 * num_experts) return false;
  const double balanced = static_cast<double>(top_k) / static_cast<double>(num_experts);
  return busiest_share(stats) > balanced + 0.6 * (1 - balanced) || 2 * stats.dead_experts() > num_experts - top_k;
}

std::vector<RunEvent> watch_collapse(TrainState& state, const TrainConfig& config, const std::vector<MoeStats>& stats) {
  std::vector<RunEvent> events;
  state.collapsed_steps.resize(stats.size());
  for (size_t layer = 0; layer < stats.size(); ++layer) {
    const MoeSpec& ffn = config.spec.layers[layer].ffn;
    int64_t& steps = state.collapsed_steps[layer];
    steps = ffn.routed && looks_collapsed(stats[layer], ffn.top_k) ? steps + 1 : 0;
    if (steps != kCollapseSteps) continue;
    const MoeStats& load = stats[layer];
    events.push_back({"collapse", fmt::format("layer {} sends {:.0f}% of its tokens to 1 of {} experts; {} {} dead. {}",
                                              layer, 100 * busiest_share(load), ffn.num_experts, load.dead_experts(),
                                              load.dead_experts() == 1 ? "is" : "are", advice(config, ffn))});
  }
  return events;
}

}  // namespace moxie
