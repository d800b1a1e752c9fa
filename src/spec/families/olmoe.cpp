// OLMoE: softmax over all experts, weights as they are; RMSNorm over the whole q and k projections.
#include "spec/families/families.h"
#include "spec/families/parts.h"

namespace moxie {

ModelSpec read_olmoe(const ConfigReader& config) {
  const parts::ModelDefaults defaults = {.max_position = 4096, .norm_eps = 1e-5};
  ModelSpec spec = parts::read_model(config, defaults);
  parts::read_attention(config, spec, defaults, {});
  spec.attention.qkv_bias = spec.attention.o_bias = config.boolean("attention_bias", false);
  spec.attention.qk_norm = QkNorm::full;
  if (config.has("clip_qkv")) spec.attention.clip_qkv = config.number("clip_qkv", parts::kFactor);
  MoeSpec routed = parts::read_routed_ffn(config, "intermediate_size");
  routed.norm_topk_prob = config.boolean("norm_topk_prob", false);
  for (LayerSpec& layer : spec.layers) layer.ffn = routed;
  return spec;
}

}  // namespace moxie
