// GLM-4.5: the router of DeepSeek-V3 on grouped-query attention that rotates half of each head.
#include "spec/families/families.h"
#include "spec/families/parts.h"
#include "spec/families/sigmoid_router.h"

namespace moxie {

ModelSpec read_glm4_moe(const ConfigReader& config) {
  const parts::ModelDefaults defaults = {.max_position = 131072, .norm_eps = 1e-5};
  ModelSpec spec = parts::read_model(config, defaults);
  const std::optional<ConfigReader> rope = config.object("rope_parameters");
  const double stated = config.number("partial_rotary_factor", {0, 1}, 0.5);
  parts::read_attention(config, spec, defaults, {.num_kv_heads = 8},
                        rope ? rope->number("partial_rotary_factor", {0, 1}, stated) : stated);
  spec.attention.qkv_bias = config.boolean("attention_bias", false);
  if (config.boolean("use_qk_norm", false)) spec.attention.qk_norm = QkNorm::per_head;
  const MoeSpec routed = read_sigmoid_router(config, {.routed_scaling_factor = 1, .groups = 1, .topk_groups = 1});
  const int64_t first = config.integer("first_k_dense_replace", {0, parts::kLayers.high}, 1);
  parts::set_ffn(config, spec, routed, [&](int64_t layer) { return layer >= first; });
  return spec;
}

}  // namespace moxie
