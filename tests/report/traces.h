// Small traces for the tests of report/.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "store/routing_trace.h"

namespace moxie::testing {

/// `tokens` tokens of a vocabulary of 50 through `layers` layers: each token id prefers some experts, as real ones do.
/// Experts of a token are distinct, strongest first, with weights that sum to 1.
inline RoutingTrace make_trace(int64_t tokens, int layers, int32_t experts, int32_t top_k, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(0.0f, 1.0f);
  RoutingTrace trace;
  for (int64_t t = 0; t < tokens; ++t) trace.token_ids.push_back(static_cast<int32_t>(random() % 50));
  for (int l = 0; l < layers; ++l) {
    LayerTrace layer{.layer = l, .num_experts = experts, .top_k = top_k};
    std::vector<int32_t> order(static_cast<size_t>(experts));
    for (int64_t t = 0; t < tokens; ++t) {
      std::iota(order.begin(), order.end(), 0);
      for (int32_t k = 0; k < top_k; ++k) {
        const auto liked = static_cast<int32_t>(trace.token_ids[static_cast<size_t>(t)]) * 7 + k * 3 + l;
        const int32_t pick = k + (random() % 2 == 0 ? liked : static_cast<int32_t>(random() % 4096)) % (experts - k);
        std::swap(order[static_cast<size_t>(k)], order[static_cast<size_t>(pick)]);
        layer.topk_ids.push_back(order[static_cast<size_t>(k)]);
      }
      std::vector<float> weights;
      for (int32_t k = 0; k < top_k; ++k) weights.push_back(uniform(random) + 0.01f);
      std::sort(weights.rbegin(), weights.rend());
      const float sum = std::accumulate(weights.begin(), weights.end(), 0.0f);
      for (const float weight : weights) layer.topk_weights.push_back(weight / sum);
      layer.margin.push_back(uniform(random) * 0.1f);
    }
    trace.layers.push_back(std::move(layer));
  }
  return trace;
}

inline std::vector<std::string> make_texts(const RoutingTrace& trace) {
  std::vector<std::string> texts;
  for (const int32_t id : trace.token_ids) texts.push_back(" w" + std::to_string(id));
  return texts;
}

}  // namespace moxie::testing
