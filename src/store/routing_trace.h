// The routing trace file: which experts each token of a text visited, layer by layer (docs/ROUTING_TRACE.md). Data
// only: who made the routing stands in moe, what it means in report.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace moxie {

/// One MoE layer over T tokens.
struct LayerTrace {
  int layer = 0;  // index in the model, dense layers counted
  int32_t num_experts = 0;
  int32_t top_k = 0;
  std::vector<int32_t> topk_ids;    // [T, K], -1 = dropped
  std::vector<float> topk_weights;  // [T, K]
  std::vector<float> margin;        // [T] score of the k-th expert minus that of the k+1-th; infinite if k = E
};

/// A trace in memory. `metadata` holds what is known of its making: "model_hash", "router_record" (JSON text),
/// "text_source". The keys "format", "format_version" and "layers.N.num_experts" belong to the file, not to it.
struct RoutingTrace {
  std::vector<int32_t> token_ids;  // [T]
  std::vector<LayerTrace> layers;  // by rising layer
  std::map<std::string, std::string> metadata;
};

/// Writes the trace as a safetensors file that appears whole or not at all. Throws Error{runtime} if the disk fails.
void write_routing_trace(const std::filesystem::path& path, const RoutingTrace& trace);

/// Reads a trace and checks it: format and version, every tensor present with its dtype and shape, the same T
/// everywhere, 1 <= top_k <= num_experts, ids from -1 to num_experts - 1. Throws Error{invalid} naming file and tensor.
RoutingTrace read_routing_trace(const std::filesystem::path& path);

}  // namespace moxie
