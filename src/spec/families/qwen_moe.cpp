// Qwen MoE: qwen2_moe (Qwen1.5-MoE, Qwen2-57B-A14B; a shared expert behind a sigmoid gate) and qwen3_moe (none).
#include <algorithm>

#include "spec/families/families.h"
#include "spec/families/parts.h"

namespace moxie {
namespace {

// mlp_only_layers are dense, and of the others each decoder_sparse_step-th is routed.
void set_sparse_layers(const ConfigReader& config, ModelSpec& spec, const MoeSpec& routed) {
  const std::vector<int64_t> listed = config.integers("mlp_only_layers", {0, parts::kLayers.high});
  std::vector<bool> dense(static_cast<size_t>(parts::kLayers.high + 1));
  for (int64_t layer : listed) dense[static_cast<size_t>(layer)] = true;
  const int64_t step = config.integer("decoder_sparse_step", {1, INT32_MAX}, 1);
  parts::set_ffn(config, spec, routed,
                 [&](int64_t layer) { return !dense[static_cast<size_t>(layer)] && (layer + 1) % step == 0; });
}

}  // namespace

ModelSpec read_qwen2_moe(const ConfigReader& config) {
  const parts::ModelDefaults defaults = {.max_position = 32768, .norm_eps = 1e-6};
  ModelSpec spec = parts::read_model(config, defaults);
  parts::read_attention(config, spec, defaults, {.num_kv_heads = 16});
  spec.attention.qkv_bias = config.boolean("qkv_bias", true);
  MoeSpec routed = parts::read_routed_ffn(config, "moe_intermediate_size");
  routed.norm_topk_prob = config.boolean("norm_topk_prob", false);
  routed.shared = SharedExpert::sigmoid_gated;
  routed.shared_intermediate_size = config.integer("shared_expert_intermediate_size", parts::kWidth, 5632);
  set_sparse_layers(config, spec, routed);
  spec.names.shared = "shared_expert.";
  parts::set_qwen_windows(config, spec);
  return spec;
}

ModelSpec read_qwen3_moe(const ConfigReader& config) {
  const parts::ModelDefaults defaults = {.max_position = 32768, .norm_eps = 1e-6};
  ModelSpec spec = parts::read_model(config, defaults);
  parts::read_attention(config, spec, defaults, {.num_kv_heads = 4});
  spec.attention.qkv_bias = spec.attention.o_bias = config.boolean("attention_bias", false);
  spec.attention.qk_norm = QkNorm::per_head;
  MoeSpec routed = parts::read_routed_ffn(config, "moe_intermediate_size");
  routed.norm_topk_prob = config.boolean("norm_topk_prob", false);
  set_sparse_layers(config, spec, routed);
  // Unlike its siblings it has one window for all layers, and transformers ignores max_window_layers.
  const bool sliding = config.boolean("use_sliding_window", false);
  if (sliding) parts::set_windows(config, spec, parts::read_window(config, 4096), [](int64_t) { return true; });
  return spec;
}

}  // namespace moxie
