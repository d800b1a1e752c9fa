// Phi-3.5-MoE: the sparsemixer router, LayerNorm with bias, biases on attention and head, longrope with two mscales.
#include "spec/families/families.h"
#include "spec/families/parts.h"

namespace moxie {

ModelSpec read_phimoe(const ConfigReader& config) {
  const parts::ModelDefaults defaults = {.max_position = 131072, .norm_eps = 1e-5, .rope_theta = 1e6};
  ModelSpec spec = parts::read_model(config, defaults);
  spec.norm = Norm::layer;
  spec.lm_head_bias = config.boolean("lm_head_bias", false);
  parts::read_attention(config, spec, defaults, {.num_kv_heads = 8});
  spec.attention.qkv_bias = spec.attention.o_bias = config.boolean("attention_bias", false);
  MoeSpec routed = parts::read_routed_ffn(config, "intermediate_size");
  if (routed.top_k != 2) config.fail("num_experts_per_tok", "2: sparsemixer chooses in two rounds");
  routed.score = Score::sparsemixer;
  routed.sparsemixer_eps = config.number("router_jitter_noise", {0, 1, true}, 0.01);
  for (LayerSpec& layer : spec.layers) layer.ffn = routed;
  parts::set_windows(config, spec, parts::read_window(config, 0), [](int64_t) { return true; });
  spec.names.ffn = "block_sparse_moe.";
  spec.names.expert_gate = "experts.{}.w1.weight";
  spec.names.expert_up = "experts.{}.w3.weight";
  spec.names.expert_down = "experts.{}.w2.weight";
  return spec;
}

}  // namespace moxie
