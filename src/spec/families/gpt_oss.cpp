// gpt-oss: softmax over the k logits, biases everywhere, attention sinks, a window on every other layer, clamped
// SwiGLU.
#include "spec/families/families.h"
#include "spec/families/parts.h"

namespace moxie {
namespace {

// What transformers' config class assumes if rope_scaling is absent (null means none).
RopeSpec released_rope(RopeSpec rope) {
  rope.scaling = RopeScaling::yarn;
  rope.factor = 32;
  rope.truncate = false;
  rope.original_max_position = 4096;
  rope.attention_factor = parts::yarn_mscale(rope.factor, 1);
  return rope;
}

}  // namespace

ModelSpec read_gpt_oss(const ConfigReader& config) {
  const parts::ModelDefaults defaults = {.max_position = 131072, .norm_eps = 1e-5, .rope_theta = 150000};
  ModelSpec spec = parts::read_model(config, defaults);
  parts::read_attention(config, spec, defaults, {.num_kv_heads = 8, .head_dim = 64});
  if (!parts::rope_scaling_object(config) && !config.has_null("rope_scaling")) spec.rope = released_rope(spec.rope);
  spec.attention.qkv_bias = spec.attention.o_bias = config.boolean("attention_bias", true);
  spec.attention.sinks = true;
  MoeSpec routed = parts::read_routed_ffn(config, "intermediate_size");
  config.choice("hidden_act", {"silu"}, "silu");
  routed.score_before_topk = false;
  routed.router_bias = true;
  routed.expert_bias = true;
  routed.activation = Activation::clamped_swiglu;
  routed.activation_limit = config.number("swiglu_limit", parts::kFactor, 7);
  for (LayerSpec& layer : spec.layers) layer.ffn = routed;
  parts::set_windows(config, spec, parts::read_window(config, 128), [](int64_t layer) { return layer % 2 == 0; });
  spec.names.router = "router.weight";
  spec.names.expert_gate = spec.names.expert_up = spec.names.expert_down = "";
  spec.names.stacked_interleaved = true;
  return spec;
}

}  // namespace moxie
