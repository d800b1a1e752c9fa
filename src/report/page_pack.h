// The experts, weights and margins of a trace as few bits, for the page's script to unpack. Not a file format: page and
// script are always of one build.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "store/routing_trace.h"

namespace moxie {

/// What is kept of every token and layer.
struct Packing {
  int weight_bits = 8;
  int margin_bits = 8;
  int32_t max_slots = INT32_MAX;  // strongest experts kept
  int64_t tokens = 0;             // first tokens kept
};

/// The richest packing whose base64 texts fit in `budget` bytes together; at worst one token.
Packing choose_packing(const RoutingTrace& trace, int64_t max_tokens, int64_t budget);

/// How to read the bits of one layer: per token [margin] then per slot [id][weight], most significant bit first.
/// id = num_experts: dropped. margin: sqrt scale to margin_max, all ones: none. weight: linear, weight_min to
/// weight_max.
struct PackedLayer {
  int32_t slots = 0;
  int id_bits = 0, weight_bits = 0, margin_bits = 0;  // 0: not recorded
  float weight_min = 0, weight_max = 0, margin_max = 0;
  std::string base64;
};

/// Slots are ordered by weight, strongest first (as recorded where there are no weights); dropped ones come last.
PackedLayer pack_layer(const LayerTrace& layer, const Packing& packing);

std::string base64(std::string_view bytes);

}  // namespace moxie
