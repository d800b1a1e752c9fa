// Granite MoE: the top-k logits first, the softmax over those k; four multipliers; experts stacked in one tensor.
#include "spec/families/families.h"
#include "spec/families/parts.h"

namespace moxie {

ModelSpec read_granitemoe(const ConfigReader& config) {
  const parts::ModelDefaults defaults = {.max_position = 2048, .norm_eps = 1e-6};
  ModelSpec spec = parts::read_model(config, defaults);
  parts::read_attention(config, spec, defaults, {});
  spec.attention.qkv_bias = spec.attention.o_bias = config.boolean("attention_bias", false);
  spec.attention.scale = config.number("attention_multiplier", parts::kFactor, 1);
  spec.embedding_multiplier = config.number("embedding_multiplier", parts::kFactor, 1);
  spec.residual_multiplier = config.number("residual_multiplier", parts::kFactor, 1);
  spec.logits_scaling = config.number("logits_scaling", parts::kFactor, 1);
  MoeSpec routed = parts::read_routed_ffn(config, "intermediate_size");
  routed.score_before_topk = false;
  for (LayerSpec& layer : spec.layers) layer.ffn = routed;
  spec.names.ffn = "block_sparse_moe.";
  spec.names.router = "router.layer.weight";
  spec.names.expert_gate = spec.names.expert_up = spec.names.expert_down = "";
  spec.names.stacked_gate_up = "input_linear.weight";
  spec.names.stacked_down = "output_linear.weight";
  return spec;
}

}  // namespace moxie
