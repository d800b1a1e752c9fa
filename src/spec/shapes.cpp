#include "spec/shapes.h"

#include <algorithm>

namespace moxie {
namespace {

struct NamedShape {
  std::string_view name, config;
};

// From the published configs, keys that say nothing of the shape left out. "olmoe-as-qwen3moe": OLMoE's numbers in an
// architecture that more programs read; only its norms on q and k differ. "small": a Mixtral that fits in caches.
constexpr NamedShape kShapes[] = {
    {"olmoe-1b-7b",
     R"({"hidden_size": 2048, "intermediate_size": 1024, "max_position_embeddings": 4096, "model_type": "olmoe",
      "norm_topk_prob": false, "num_attention_heads": 16, "num_experts": 64, "num_experts_per_tok": 8,
      "num_hidden_layers": 16, "num_key_value_heads": 16, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
      "tie_word_embeddings": false, "vocab_size": 50304})"},
    {"olmoe-as-qwen3moe", R"({"decoder_sparse_step": 1, "head_dim": 128, "hidden_size": 2048, "intermediate_size": 8192,
      "max_position_embeddings": 4096, "model_type": "qwen3_moe", "moe_intermediate_size": 1024, "norm_topk_prob":
      true, "num_attention_heads": 16, "num_experts": 64, "num_experts_per_tok": 8, "num_hidden_layers": 16,
      "num_key_value_heads": 16, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "tie_word_embeddings": false,
      "vocab_size": 50304})"},
    {"olmoe-1b-7b-dense",
     R"({"head_dim": 128, "hidden_size": 2048, "intermediate_size": 8192, "max_position_embeddings": 4096, "model_type":
      "qwen3", "num_attention_heads": 16, "num_hidden_layers": 16, "num_key_value_heads": 16, "rms_norm_eps": 1e-05,
      "rope_theta": 10000.0, "tie_word_embeddings": false, "vocab_size": 50304})"},
    {"qwen3-30b-a3b", R"({"decoder_sparse_step": 1, "head_dim": 128, "hidden_size": 2048, "intermediate_size": 6144,
      "max_position_embeddings": 40960, "model_type": "qwen3_moe", "moe_intermediate_size": 768, "norm_topk_prob":
      true, "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48,
      "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "tie_word_embeddings": false,
      "vocab_size": 151936})"},
    {"qwen3-30b-a3b-dense",
     R"({"head_dim": 128, "hidden_size": 2048, "intermediate_size": 6144, "max_position_embeddings": 40960,
      "model_type": "qwen3", "num_attention_heads": 32, "num_hidden_layers": 48, "num_key_value_heads": 4,
      "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "tie_word_embeddings": false, "vocab_size": 151936})"},
    {"mixtral-8x7b",
     R"({"hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mixtral",
      "num_attention_heads": 32, "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8,
      "num_local_experts": 8, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "tie_word_embeddings": false,
      "vocab_size": 32000})"},
    {"mixtral-8x7b-dense",
     R"({"hidden_size": 4096, "intermediate_size": 28672, "max_position_embeddings": 32768, "model_type": "llama",
      "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05,
      "rope_theta": 1000000.0, "tie_word_embeddings": false, "vocab_size": 32000})"},
    {"deepseek-v2-lite",
     R"({"first_k_dense_replace": 1, "hidden_size": 2048, "intermediate_size": 10944, "kv_lora_rank": 512,
      "max_position_embeddings": 163840, "model_type": "deepseek_v2", "moe_intermediate_size": 1408, "moe_layer_freq":
      1, "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": false, "num_attention_heads":
      16, "num_experts_per_tok": 6, "num_hidden_layers": 27, "num_key_value_heads": 16, "qk_nope_head_dim": 128,
      "qk_rope_head_dim": 64, "q_lora_rank": null, "rms_norm_eps": 1e-06, "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40,
      "mscale": 0.707, "mscale_all_dim": 0.707, "original_max_position_embeddings": 4096, "type": "yarn"},
      "rope_theta": 10000, "routed_scaling_factor": 1.0, "scoring_func": "softmax", "tie_word_embeddings": false,
      "topk_group": 1, "topk_method": "greedy", "v_head_dim": 128, "vocab_size": 102400})"},
    {"gpt-oss-20b",
     R"({"head_dim": 64, "hidden_size": 2880, "intermediate_size": 2880, "max_position_embeddings": 131072,
      "model_type": "gpt_oss", "num_attention_heads": 64, "num_experts_per_tok": 4, "num_hidden_layers": 24,
      "num_key_value_heads": 8, "num_local_experts": 32, "rms_norm_eps": 1e-05, "rope_scaling": {"beta_fast": 32.0,
      "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096, "rope_type": "yarn", "truncate":
      false}, "rope_theta": 150000, "sliding_window": 128, "swiglu_limit": 7.0, "tie_word_embeddings": false,
      "vocab_size": 201088, "layer_types": ["sliding_attention", "full_attention", "sliding_attention",
      "full_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention",
      "sliding_attention", "full_attention", "sliding_attention", "full_attention", "sliding_attention",
      "full_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention",
      "sliding_attention", "full_attention", "sliding_attention", "full_attention", "sliding_attention",
      "full_attention"], "attention_bias": true})"},
    {"small", R"({"model_type": "mixtral", "vocab_size": 32000, "hidden_size": 512, "intermediate_size": 1408,
      "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 8, "num_local_experts": 8,
      "num_experts_per_tok": 2, "max_position_embeddings": 32768, "rope_theta": 10000.0, "rms_norm_eps": 1e-05,
      "tie_word_embeddings": false})"},
    {"small-dense", R"({"model_type": "llama", "vocab_size": 32000, "hidden_size": 512, "intermediate_size": 2816,
      "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 8, "max_position_embeddings": 32768,
      "rope_theta": 10000.0, "rms_norm_eps": 1e-05, "tie_word_embeddings": false})"},
};

}  // namespace

std::optional<std::string_view> find_shape(std::string_view name) {
  const auto* at =
      std::find_if(std::begin(kShapes), std::end(kShapes), [&](const NamedShape& shape) { return shape.name == name; });
  return at == std::end(kShapes) ? std::nullopt : std::optional(at->config);
}

std::vector<std::string> shape_names() {
  std::vector<std::string> names;
  for (const NamedShape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

}  // namespace moxie
