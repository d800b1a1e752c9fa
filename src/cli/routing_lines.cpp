#include "cli/routing_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace moxie::cli {
namespace {

constexpr size_t kMostLayers = 8;
constexpr size_t kBusiest = 3;

std::string line(size_t layer, const MoeStats& stats) {
  const auto& counts = stats.tokens_per_expert;
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  std::vector<size_t> order(counts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return counts[a] > counts[b]; });
  std::string busiest;
  for (size_t i = 0; i < std::min(kBusiest, order.size()); ++i) {
    busiest += fmt::format(" E{} {:.0f}%", order[i], 100 * static_cast<double>(counts[order[i]]) / total);
  }
  const auto hit = static_cast<int64_t>(counts.size()) - stats.dead_experts();
  return fmt::format("route  layer {:2}  experts hit {}/{}  max/mean {:.1f}  entropy {:.2f}  margin {:.3f}  busiest{}",
                     layer, hit, counts.size(), stats.max_over_mean(), stats.entropy(), stats.mean_margin(), busiest);
}

}  // namespace

std::vector<std::string> stats_lines(const std::vector<MoeStats>& stats) {
  std::vector<size_t> layers;
  for (size_t layer = 0; layer < stats.size(); ++layer) {
    if (stats[layer].num_tokens > 0 && !stats[layer].tokens_per_expert.empty()) layers.push_back(layer);
  }
  const size_t all = layers.size();
  if (all > kMostLayers) {
    std::stable_sort(layers.begin(), layers.end(),
                     [&](size_t a, size_t b) { return stats[a].max_over_mean() > stats[b].max_over_mean(); });
    layers.resize(kMostLayers);
    std::sort(layers.begin(), layers.end());
  }
  std::vector<std::string> lines;
  for (const size_t layer : layers) lines.push_back(line(layer, stats[layer]));
  if (all > kMostLayers) lines.push_back(fmt::format("route  the {} least balanced of {} layers", kMostLayers, all));
  return lines;
}

json::Value stats_json(const std::vector<MoeStats>& stats) {
  json::Value out{json::Array{}};
  for (size_t layer = 0; layer < stats.size(); ++layer) {
    const MoeStats& s = stats[layer];
    if (s.tokens_per_expert.empty()) continue;
    json::Value tokens{json::Array{}}, mass{json::Array{}}, entry;
    for (const int64_t count : s.tokens_per_expert) tokens.push(count);
    for (const double weight : s.weight_mass) mass.push(weight);
    entry.set("layer", static_cast<int64_t>(layer)).set("tokens", s.num_tokens);
    entry.set("tokens_per_expert", std::move(tokens)).set("weight_mass", std::move(mass));
    entry.set("entropy", s.entropy()).set("max_over_mean", s.max_over_mean()).set("dead_experts", s.dead_experts());
    entry.set("mean_margin", s.mean_margin());
    entry.set("min_margin",
              std::isfinite(s.margin_min) ? json::Value(static_cast<double>(s.margin_min)) : json::Value());
    out.push(std::move(entry));
  }
  return out;
}

}  // namespace moxie::cli
