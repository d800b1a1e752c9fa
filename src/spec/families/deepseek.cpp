// DeepSeek-V2 (arXiv 2405.04434) and V3 (arXiv 2412.19437; also Kimi-K2): multi-head latent attention, dense first
// layers.
#include <cmath>

#include "spec/families/families.h"
#include "spec/families/parts.h"
#include "spec/families/sigmoid_router.h"

namespace moxie {
namespace {

void read_mla(const ConfigReader& config, ModelSpec& spec) {
  AttentionSpec& attention = spec.attention;
  attention.kind = AttentionKind::mla;
  attention.num_heads = attention.num_kv_heads = config.integer("num_attention_heads", parts::kHeads);
  attention.q_lora_rank = config.integer("q_lora_rank", parts::kWidth, config.has_null("q_lora_rank") ? 0 : 1536);
  attention.kv_lora_rank = config.integer("kv_lora_rank", parts::kWidth);
  attention.qk_nope_head_dim = config.integer("qk_nope_head_dim", parts::kHeads);
  attention.qk_rope_head_dim = config.integer("qk_rope_head_dim", parts::kHeads);
  attention.head_dim = attention.qk_nope_head_dim + attention.qk_rope_head_dim;
  attention.v_head_dim = config.integer("v_head_dim", parts::kHeads);
  attention.scale = 1 / std::sqrt(static_cast<double>(attention.head_dim));
  if (config.boolean("attention_bias", false)) config.fail("attention_bias", "false: latent attention has no biases");
  spec.rope = parts::read_rope(config, 10000, attention.qk_rope_head_dim, "qk_rope_head_dim", spec.max_position);
  spec.rope.interleaved = config.boolean("rope_interleave", true);
  // The authors sharpen the softmax too. transformers did so for V3 alone until its pull request 47435 (2026).
  if (spec.rope.scaling == RopeScaling::yarn) {
    const double mscale_all_dim = parts::rope_scaling_object(config)->number("mscale_all_dim", {0, 1e6, true}, 0);
    const double mscale = parts::yarn_mscale(spec.rope.factor, mscale_all_dim);
    attention.scale *= mscale * mscale;
  }
}

void set_deepseek_layers(const ConfigReader& config, ModelSpec& spec, const MoeSpec& routed, int64_t default_first) {
  const int64_t first = config.integer("first_k_dense_replace", {0, parts::kLayers.high}, default_first);
  const int64_t step = config.integer("moe_layer_freq", {1, INT32_MAX}, 1);
  parts::set_ffn(config, spec, routed, [&](int64_t layer) { return layer >= first && layer % step == 0; });
}

}  // namespace

ModelSpec read_deepseek_v2(const ConfigReader& config) {
  ModelSpec spec = parts::read_model(config, {.max_position = 2048, .norm_eps = 1e-6});
  read_mla(config, spec);
  MoeSpec routed = parts::read_routed_ffn(config, "moe_intermediate_size");
  config.choice("scoring_func", {"softmax"}, "softmax");
  routed.routed_scaling_factor = config.number("routed_scaling_factor", parts::kFactor, 1);
  if (config.boolean("norm_topk_prob", false)) {
    spec.notices.push_back("norm_topk_prob is ignored: transformers never renormalises in this family");
  }
  if (config.choice("topk_method", {"greedy", "group_limited_greedy"}, "greedy") == "group_limited_greedy") {
    read_groups(config, {1, 1, 1}, GroupScore::max, routed);
  }
  read_shared_experts(config, 2, routed);
  set_deepseek_layers(config, spec, routed, 0);
  return spec;
}

ModelSpec read_deepseek_v3(const ConfigReader& config) {
  ModelSpec spec = parts::read_model(config, {.max_position = 4096, .norm_eps = 1e-6});
  read_mla(config, spec);
  set_deepseek_layers(config, spec, read_sigmoid_router(config, {2.5, 8, 4}), 3);
  return spec;
}

}  // namespace moxie
