// Dense models, a bank of one expert in every layer: Llama, Mistral, Qwen2, Qwen3.
#include "spec/families/families.h"
#include "spec/families/parts.h"

namespace moxie {
namespace {

constexpr auto kEveryLayer = [](int64_t) { return true; };
constexpr auto kNoLayer = [](int64_t) { return false; };

}  // namespace

ModelSpec read_llama(const ConfigReader& config) {
  const parts::ModelDefaults defaults = {.max_position = 2048, .norm_eps = 1e-6};
  ModelSpec spec = parts::read_model(config, defaults);
  parts::read_attention(config, spec, defaults, {});
  spec.attention.qkv_bias = spec.attention.o_bias = config.boolean("attention_bias", false);
  MoeSpec ffn = parts::read_dense_ffn(config);
  ffn.expert_bias = config.boolean("mlp_bias", false);
  for (LayerSpec& layer : spec.layers) layer.ffn = ffn;
  return spec;
}

ModelSpec read_mistral(const ConfigReader& config) {
  const parts::ModelDefaults defaults = {.max_position = 131072, .norm_eps = 1e-6};
  ModelSpec spec = parts::read_model(config, defaults);
  parts::read_attention(config, spec, defaults, {.num_kv_heads = 8});
  parts::set_ffn(config, spec, {}, kNoLayer);
  parts::set_windows(config, spec, parts::read_window(config, 4096), kEveryLayer);
  return spec;
}

ModelSpec read_qwen2(const ConfigReader& config) {
  const parts::ModelDefaults defaults = {.max_position = 32768, .norm_eps = 1e-6};
  ModelSpec spec = parts::read_model(config, defaults);
  parts::read_attention(config, spec, defaults, {.num_kv_heads = 32});
  spec.attention.qkv_bias = true;
  parts::set_ffn(config, spec, {}, kNoLayer);
  parts::set_qwen_windows(config, spec);
  return spec;
}

ModelSpec read_qwen3(const ConfigReader& config) {
  const parts::ModelDefaults defaults = {.max_position = 32768, .norm_eps = 1e-6};
  ModelSpec spec = parts::read_model(config, defaults);
  parts::read_attention(config, spec, defaults, {.num_kv_heads = 32, .head_dim = 128});
  spec.attention.qkv_bias = spec.attention.o_bias = config.boolean("attention_bias", false);
  spec.attention.qk_norm = QkNorm::per_head;
  parts::set_ffn(config, spec, {}, kNoLayer);
  parts::set_qwen_windows(config, spec);
  return spec;
}

}  // namespace moxie
