// Mixtral: softmax over all experts, the k weights renormalised; w1 is the gate, w3 up, w2 down.
#include "spec/families/families.h"
#include "spec/families/parts.h"

namespace moxie {

ModelSpec read_mixtral(const ConfigReader& config) {
  const parts::ModelDefaults defaults = {.max_position = 131072, .norm_eps = 1e-5, .rope_theta = 1e6};
  ModelSpec spec = parts::read_model(config, defaults);
  parts::read_attention(config, spec, defaults, {.num_kv_heads = 8});
  MoeSpec routed = parts::read_routed_ffn(config, "intermediate_size");
  routed.norm_topk_prob = true;
  for (LayerSpec& layer : spec.layers) layer.ffn = routed;
  parts::set_windows(config, spec, parts::read_window(config, 0), [](int64_t) { return true; });
  spec.names.ffn = "block_sparse_moe.";
  spec.names.expert_gate = "experts.{}.w1.weight";
  spec.names.expert_up = "experts.{}.w3.weight";
  spec.names.expert_down = "experts.{}.w2.weight";
  return spec;
}

}  // namespace moxie
