#include "report/page_pack.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

namespace moxie {
namespace {

int32_t kept_slots(const LayerTrace& layer, const Packing& packing) {
  return std::min(layer.top_k, packing.max_slots);
}

int id_bits(const LayerTrace& layer) {
  const bool drops = std::find(layer.topk_ids.begin(), layer.topk_ids.end(), -1) != layer.topk_ids.end();
  return std::max(1, static_cast<int>(std::bit_width(static_cast<uint32_t>(layer.num_experts - (drops ? 0 : 1)))));
}

/// The shape of every layer, found once: choosing asks for the size many times.
struct LayerBits {
  int32_t top_k;
  int id_bits;
  bool has_weights, has_margin;
};

int64_t packed_bytes(const std::vector<LayerBits>& layers, const Packing& packing) {
  int64_t bytes = 0;
  for (const LayerBits& layer : layers) {
    const int64_t slot_bits = layer.id_bits + (layer.has_weights ? packing.weight_bits : 0);
    const int64_t bits =
        (layer.has_margin ? packing.margin_bits : 0) + slot_bits * std::min(layer.top_k, packing.max_slots);
    bytes += ((packing.tokens * bits + 7) / 8 + 2) / 3 * 4;
  }
  return bytes;
}

class BitWriter {
 public:
  void put(uint32_t value, int bits) {
    held_ = held_ << bits | value;
    num_held_ += bits;
    while (num_held_ >= 8) {
      num_held_ -= 8;
      bytes_ += static_cast<char>(held_ >> num_held_ & 0xff);
    }
  }
  std::string finish() {
    if (num_held_ > 0) put(0, 8 - num_held_);
    return std::move(bytes_);
  }

 private:
  uint64_t held_ = 0;  // at most 7 + 32 bits count
  int num_held_ = 0;
  std::string bytes_;
};

uint32_t quantize(double part, uint32_t steps) {
  return static_cast<uint32_t>(std::lround(std::clamp(part, 0.0, 1.0) * steps));
}

}  // namespace

Packing choose_packing(const RoutingTrace& trace, int64_t max_tokens, int64_t budget) {
  std::vector<LayerBits> layers;
  int32_t top_k = 1;
  for (const LayerTrace& layer : trace.layers) {
    layers.push_back({layer.top_k, id_bits(layer), !layer.topk_weights.empty(), !layer.margin.empty()});
    top_k = std::max(top_k, layer.top_k);
  }
  Packing packing{.tokens = std::min(max_tokens, static_cast<int64_t>(trace.token_ids.size()))};
  for (const int bits : {8, 6, 4}) {
    packing.weight_bits = packing.margin_bits = bits;
    if (packed_bytes(layers, packing) <= budget) return packing;
  }
  const int32_t fewest = std::max(1, top_k / 3);  // below that, fewer tokens say more than fewer experts
  for (packing.max_slots = top_k - 1; packing.max_slots >= fewest; --packing.max_slots) {
    if (packed_bytes(layers, packing) <= budget) return packing;
  }
  packing.max_slots = fewest;
  int64_t fits = 1, too_many = packing.tokens + 1;
  while (too_many - fits > 1) {
    packing.tokens = fits + (too_many - fits) / 2;
    (packed_bytes(layers, packing) <= budget ? fits : too_many) = packing.tokens;
  }
  packing.tokens = fits;
  return packing;
}

PackedLayer pack_layer(const LayerTrace& layer, const Packing& packing) {
  PackedLayer out;
  out.slots = kept_slots(layer, packing);
  out.id_bits = id_bits(layer);
  if (!layer.topk_weights.empty()) {
    out.weight_bits = packing.weight_bits;
    const auto [low, high] = std::minmax_element(layer.topk_weights.begin(), layer.topk_weights.end());
    out.weight_min = std::min(0.0f, *low);
    out.weight_max = *high;
  }
  if (!layer.margin.empty()) {
    out.margin_bits = packing.margin_bits;
    for (const float margin : layer.margin) {
      if (std::isfinite(margin)) out.margin_max = std::max(out.margin_max, margin);
    }
  }
  const uint32_t weight_steps = (1u << out.weight_bits) - 1, no_margin = (1u << out.margin_bits) - 1;
  const double weight_range = out.weight_max > out.weight_min ? double{out.weight_max} - out.weight_min : 1;
  const double margin_range = out.margin_max > 0 ? out.margin_max : 1;
  BitWriter writer;
  std::vector<int32_t> order(static_cast<size_t>(layer.top_k));
  for (int64_t t = 0; t < packing.tokens; ++t) {
    const int32_t* ids = layer.topk_ids.data() + t * layer.top_k;
    const float* weights = out.weight_bits > 0 ? layer.topk_weights.data() + t * layer.top_k : nullptr;
    if (out.margin_bits > 0) {
      const float margin = layer.margin[static_cast<size_t>(t)];
      writer.put(
          std::isfinite(margin) ? quantize(std::sqrt(std::max(margin, 0.0f) / margin_range), no_margin - 1) : no_margin,
          out.margin_bits);
    }
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      if ((ids[a] < 0) != (ids[b] < 0)) return ids[b] < 0;
      return weights != nullptr && weights[a] > weights[b];
    });
    for (int32_t s = 0; s < out.slots; ++s) {
      const int32_t k = order[static_cast<size_t>(s)];
      writer.put(static_cast<uint32_t>(ids[k] < 0 ? layer.num_experts : ids[k]), out.id_bits);
      if (weights)
        writer.put(quantize((double{weights[k]} - out.weight_min) / weight_range, weight_steps), out.weight_bits);
    }
  }
  out.base64 = base64(writer.finish());
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    for (size_t j = 0; j < 3; ++j)
      word = word << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0);
    for (size_t j = 0; j < 4; ++j) out += i + j <= bytes.size() ? digits[word >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

}  // namespace moxie
