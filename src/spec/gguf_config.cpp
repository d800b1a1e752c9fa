#include "spec/gguf_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "base/error.h"
#include "spec/config.h"
#include "spec/families/parts.h"
#include "spec/gguf_draft.h"

namespace moxie {
namespace {

// The numbers of expert_gating_func.
constexpr int64_t kSoftmax = 1, kSigmoid = 2, kSoftmaxOfChosen = 3;

// Two of the three spellings of the number of experts.
constexpr std::string_view kLocal = "num_local_experts", kRouted = "n_routed_experts";

// ---- what several architectures share ----

// Every part of the file that counts tokens must count the same.
void put_vocabulary(GgufDraft& draft) {
  const int64_t rows = draft.tensors().embedding_rows;
  const json::Value* tokens = draft.find_global("tokenizer.ggml.tokens");
  const int64_t listed = tokens != nullptr && tokens->is_array() ? static_cast<int64_t>(tokens->items().size()) : 0;
  const int64_t stated = draft.integer("vocab_size", parts::kWidth, 0);
  if (rows > 0 && stated > 0 && rows != stated) {
    draft.fail("vocab_size", fmt::format("{}, the rows of token_embd.weight", rows), fmt::format("{}", stated));
  }
  const int64_t size = rows > 0 ? rows : stated > 0 ? stated : listed;
  if (listed > 0 && listed != size) {
    draft.fail_global("tokenizer.ggml.tokens",
                      fmt::format("{} tokens, as {} says", size, rows > 0 ? "token_embd.weight" : "vocab_size"),
                      fmt::format("{}", listed));
  }
  draft.put("vocab_size", size, "vocab_size");
  draft.copy_global("bos_token_id", "tokenizer.ggml.bos_token_id");
  draft.copy_global("eos_token_id", "tokenizer.ggml.eos_token_id");
  draft.copy_global("pad_token_id", "tokenizer.ggml.padding_token_id");
  draft.put("tie_word_embeddings", !draft.tensors().has_output);
}

json::Value list_of(const std::vector<double>& numbers) {
  json::Value list{json::Array{}};
  for (const double number : numbers) list.push(decimal_of(number));
  return list;
}

void put_longrope(GgufDraft& draft) {
  draft.put("rope_scaling.rope_type", "longrope");
  draft.put("rope_scaling.short_factor", list_of(draft.tensors().rope_short));
  draft.put("rope_scaling.long_factor", list_of(draft.tensors().rope_long));
  // Phi-MoE asks for two more names of the one factor there is.
  for (const char* field : {"attention_factor", "short_mscale", "long_mscale"}) {
    draft.copy(std::string("rope_scaling.") + field, "rope.scaling.attn_factor");
  }
  draft.copy("rope_scaling.original_max_position_embeddings", "rope.scaling.original_context_length");
}

void put_yarn(GgufDraft& draft) {
  draft.copy("rope_scaling.original_max_position_embeddings", "rope.scaling.original_context_length");
  draft.copy("rope_scaling.beta_fast", "rope.scaling.yarn_beta_fast");
  draft.copy("rope_scaling.beta_slow", "rope.scaling.yarn_beta_slow");
  draft.copy("rope_scaling.attention_factor", "rope.scaling.yarn_attn_factor");
  // The converter of DeepSeek writes 0.1 * mscale_all_dim; its readers take mscale for the same number.
  if (const json::Value* multiplier = draft.find("rope.scaling.yarn_log_multiplier"); multiplier != nullptr) {
    if (!multiplier->is_number()) draft.fail("rope.scaling.yarn_log_multiplier", "a number");
    const double mscale = decimal_of(static_cast<float>(decimal_of(multiplier->as_double()) * 10));
    draft.put("rope_scaling.mscale", mscale, "rope.scaling.yarn_log_multiplier");
    draft.put("rope_scaling.mscale_all_dim", mscale, "rope.scaling.yarn_log_multiplier");
  }
}

void put_rope(GgufDraft& draft) {
  if (!draft.copy("rope_theta", "rope.freq_base")) draft.put("rope_theta", 10000.0);
  if (!draft.tensors().rope_long.empty() || !draft.tensors().rope_short.empty()) return put_longrope(draft);
  const json::Value* type = draft.find("rope.scaling.type");
  const bool old_key = draft.find("rope.scaling.factor") == nullptr && draft.find("rope.scale_linear") != nullptr;
  const char* factor_key = old_key ? "rope.scale_linear" : "rope.scaling.factor";
  const json::Value* factor = draft.find(factor_key);
  if (type != nullptr && !type->is_string()) draft.fail("rope.scaling.type", "a string");
  // Without a type a factor is linear; 0 and 1 change nothing.
  const bool scales = factor != nullptr && factor->is_number() && factor->as_double() != 0 && factor->as_double() != 1;
  const std::string name = type != nullptr ? type->as_string() : scales ? "linear" : "none";
  if (name == "none" || (name == "linear" && factor == nullptr)) return;
  if (name != "linear" && name != "yarn") {
    draft.fail("rope.scaling.type", "one of none, linear, yarn, and longrope with rope_factors_long.weight");
  }
  draft.put("rope_scaling.rope_type", name, "rope.scaling.type");
  draft.require("rope_scaling.factor", factor_key);
  if (name == "yarn") put_yarn(draft);
}

void put_model(GgufDraft& draft) {
  const int64_t blocks = draft.integer("block_count", parts::kLayers);
  const int64_t further = draft.integer("nextn_predict_layers", {0, blocks - 1}, 0);
  draft.put("num_hidden_layers", blocks - further, "block_count");
  draft.put("num_nextn_predict_layers", further, "nextn_predict_layers");
  draft.require("hidden_size", "embedding_length");
  draft.require("max_position_embeddings", "context_length");
  draft.require("num_attention_heads", "attention.head_count");
  draft.copy("intermediate_size", "feed_forward_length");
  if (!draft.copy("rms_norm_eps", "attention.layer_norm_rms_epsilon")) {
    if (!draft.copy("rms_norm_eps", "attention.layer_norm_epsilon")) {
      draft.fail("attention.layer_norm_rms_epsilon", "a number");
    }
  }
  put_vocabulary(draft);
  put_rope(draft);
}

// Grouped-query attention. Heads rotate whole, or (`partial`) by rope.dimension_count.
void put_gqa(GgufDraft& draft, bool partial = false) {
  put_model(draft);
  if (!draft.copy("num_key_value_heads", "attention.head_count_kv")) {
    draft.require("num_key_value_heads", "attention.head_count");
  }
  const int64_t hidden = draft.integer("embedding_length", parts::kWidth);
  const int64_t heads = draft.integer("attention.head_count", parts::kHeads);
  if (draft.find("attention.key_length") == nullptr && hidden % heads != 0) {
    draft.fail("attention.head_count", fmt::format("a divisor of embedding_length ({})", hidden));
  }
  const int64_t head_dim = draft.integer("attention.key_length", parts::kHeads, hidden / heads);
  const int64_t v_dim = draft.integer("attention.value_length", parts::kHeads, head_dim);
  if (v_dim != head_dim) draft.fail("attention.value_length", fmt::format("{}, as attention.key_length", head_dim));
  const int64_t rotates = draft.integer("rope.dimension_count", {0, head_dim}, head_dim);
  if (rotates < 2 || rotates % 2 != 0) draft.fail("rope.dimension_count", "an even number of dimensions");
  if (partial) {
    draft.put("partial_rotary_factor", static_cast<double>(rotates) / static_cast<double>(head_dim),
              "rope.dimension_count");
  } else if (rotates != head_dim) {
    draft.fail("rope.dimension_count", fmt::format("{}: heads of this architecture rotate whole", head_dim));
  }
  draft.put("head_dim", head_dim,
            draft.find("attention.key_length") == nullptr ? "attention.head_count" : "attention.key_length");
  draft.put("attention_bias", draft.tensors().has_attention_bias);
}

void put_window(GgufDraft& draft) {
  const int64_t window = draft.integer("attention.sliding_window", {0, parts::kPositions.high}, 0);
  draft.put("sliding_window", window == 0 ? json::Value() : json::Value(window), "attention.sliding_window");
}

// `field`: how the family spells the number of experts.
void put_experts(GgufDraft& draft, std::string_view field, int64_t gating) {
  draft.require(field, "expert_count");
  draft.require("num_experts_per_tok", "expert_used_count");
  const int64_t stated = draft.integer("expert_gating_func", {0, INT32_MAX}, gating);
  if (stated != gating && stated != 0) draft.fail("expert_gating_func", fmt::format("{}", gating));
}

// expert_feed_forward_length; older files leave it out.
void put_expert_width(GgufDraft& draft, std::string_view field) {
  if (draft.copy(field, "expert_feed_forward_length")) return;
  const int64_t width = draft.integer("feed_forward_length", parts::kWidth);
  const int64_t used = draft.integer("expert_used_count", parts::kExperts);
  draft.put(field, width / used, "feed_forward_length");
}

// The keys of the router that DeepSeek and GLM share.
void put_shared_router(GgufDraft& draft) {
  draft.require("moe_intermediate_size", "expert_feed_forward_length");
  draft.put("n_shared_experts", draft.integer("expert_shared_count", {0, 1024}, 0), "expert_shared_count");
  draft.put("first_k_dense_replace", draft.integer("leading_dense_block_count", {0, parts::kLayers.high}, 0),
            "leading_dense_block_count");
  const json::Value* scale = draft.find("expert_weights_scale");
  const bool none = scale == nullptr || (scale->is_number() && scale->as_double() == 0);  // both: not scaled
  if (none) draft.put("routed_scaling_factor", 1.0);
  if (!none) draft.copy("routed_scaling_factor", "expert_weights_scale");
  for (const auto& [field, key] :
       {std::pair{"n_group", "expert_group_count"}, std::pair{"topk_group", "expert_group_used_count"}}) {
    const int64_t count = draft.integer(key, {0, parts::kExperts.high}, 0);
    draft.put(field, std::max<int64_t>(count, 1), key);  // 0: no groups
  }
}

void put_dense_layers(GgufDraft& draft) {
  json::Value dense{json::Array{}};
  for (const int64_t layer : draft.tensors().layers_without_router) {
    if (layer <= parts::kLayers.high) dense.push(layer);
  }
  draft.put("mlp_only_layers", std::move(dense));
}

// ---- the architectures ----

// Llama, Mistral, and with experts Mixtral.
void put_llama(GgufDraft& draft) {
  put_gqa(draft);
  const bool routed = draft.integer("expert_count", {0, parts::kExperts.high}, 0) > 0;
  const bool window = draft.integer("attention.sliding_window", {0, parts::kPositions.high}, 0) > 0;
  draft.put("model_type", routed ? "mixtral" : window ? "mistral" : "llama");
  if (routed) put_experts(draft, kLocal, kSoftmax);
  if (!routed) draft.put("mlp_bias", draft.tensors().has_ffn_bias);
  put_window(draft);
}

void put_qwen2(GgufDraft& draft) {
  put_gqa(draft);
  draft.put("model_type", "qwen2");
}

void put_qwen3(GgufDraft& draft) {
  put_gqa(draft);
  draft.put("model_type", "qwen3");
}

void put_qwen2moe(GgufDraft& draft) {
  put_gqa(draft);
  draft.put("model_type", "qwen2_moe");
  draft.put("qkv_bias", draft.tensors().has_attention_bias);
  put_experts(draft, "num_experts", kSoftmax);
  put_expert_width(draft, "moe_intermediate_size");
  if (!draft.copy("shared_expert_intermediate_size", "expert_shared_feed_forward_length")) {
    draft.require("shared_expert_intermediate_size", "feed_forward_length");
  }
  if (!draft.copy("norm_topk_prob", "expert_weights_norm")) draft.put("norm_topk_prob", false);
  put_dense_layers(draft);
}

void put_qwen3moe(GgufDraft& draft) {
  put_gqa(draft);
  draft.put("model_type", "qwen3_moe");
  put_experts(draft, "num_experts", kSoftmax);
  put_expert_width(draft, "moe_intermediate_size");
  if (!draft.copy("norm_topk_prob", "expert_weights_norm")) draft.put("norm_topk_prob", true);
  put_dense_layers(draft);
}

void put_olmoe(GgufDraft& draft) {
  put_gqa(draft);
  draft.put("model_type", "olmoe");
  put_experts(draft, "num_experts", kSoftmax);
  draft.copy("clip_qkv", "attention.clamp_kqv");
  if (!draft.copy("norm_topk_prob", "expert_weights_norm")) draft.put("norm_topk_prob", false);
}

void put_phimoe(GgufDraft& draft) {
  put_gqa(draft);
  draft.put("model_type", "phimoe");
  draft.put("lm_head_bias", draft.tensors().has_output_bias);
  put_experts(draft, kLocal, kSoftmax);
  put_window(draft);
}

void put_granitemoe(GgufDraft& draft) {
  put_gqa(draft);
  draft.put("model_type", "granitemoe");
  put_experts(draft, kLocal, kSoftmax);
  draft.copy("embedding_multiplier", "embedding_scale");
  draft.copy("residual_multiplier", "residual_scale");
  draft.copy("logits_scaling", "logit_scale");
  if (!draft.copy("attention_multiplier", "attention.scale")) {
    const double hidden = static_cast<double>(draft.integer("embedding_length", parts::kWidth));
    const double heads = static_cast<double>(draft.integer("attention.head_count", parts::kHeads));
    draft.put("attention_multiplier", 1 / std::sqrt(hidden / heads), "attention.head_count");
  }
  if (draft.integer("expert_shared_feed_forward_length", {0, parts::kWidth.high}, 0) != 0) {
    draft.fail("expert_shared_feed_forward_length", "0: this build does not know Granite's shared experts");
  }
}

// DeepSeek-V2, V3, Kimi-K2. Old files state the widths of whole heads, newer ones those of the latent and, under
// _mla, those of whole heads.
void put_deepseek2(GgufDraft& draft) {
  put_model(draft);
  draft.require("num_key_value_heads", "attention.head_count");  // a latent has none of its own
  const bool sigmoid = draft.integer("expert_gating_func", {0, INT32_MAX}, 0) == kSigmoid;
  draft.put("model_type", sigmoid ? "deepseek_v3" : "deepseek_v2");
  const bool split = draft.find("attention.key_length_mla") != nullptr;
  const char* k_key = split ? "attention.key_length_mla" : "attention.key_length";
  const char* v_key = split ? "attention.value_length_mla" : "attention.value_length";
  const int64_t rotates = draft.integer("rope.dimension_count", parts::kHeads);
  const int64_t head_dim = draft.integer(k_key, {rotates + 1, parts::kHeads.high});
  draft.put("qk_rope_head_dim", rotates, "rope.dimension_count");
  draft.put("qk_nope_head_dim", head_dim - rotates, k_key);
  draft.require("v_head_dim", v_key);
  draft.require("kv_lora_rank", "attention.kv_lora_rank");
  if (!draft.copy("q_lora_rank", "attention.q_lora_rank")) draft.put("q_lora_rank", json::Value());
  put_experts(draft, kRouted, sigmoid ? kSigmoid : kSoftmax);
  put_shared_router(draft);
  if (!draft.copy("norm_topk_prob", "expert_weights_norm")) draft.put("norm_topk_prob", false);
  const bool grouped = draft.integer("expert_group_count", {0, parts::kExperts.high}, 0) > 1;
  if (!sigmoid && grouped) draft.put("topk_method", "group_limited_greedy");
}

void put_glm4moe(GgufDraft& draft) {
  put_gqa(draft, true);
  draft.put("model_type", "glm4_moe");
  draft.put("use_qk_norm", draft.tensors().has_qk_norm);
  put_experts(draft, kRouted, kSigmoid);
  put_shared_router(draft);
  draft.copy("norm_topk_prob", "expert_weights_norm");
}

void put_gpt_oss(GgufDraft& draft) {
  put_gqa(draft);
  draft.put("model_type", "gpt_oss");
  put_experts(
      draft, kLocal,
      draft.integer("expert_gating_func", {0, INT32_MAX}, kSoftmaxOfChosen) == kSoftmax ? kSoftmax : kSoftmaxOfChosen);
  draft.put("intermediate_size", draft.integer("expert_feed_forward_length", parts::kWidth),
            "expert_feed_forward_length");
  put_window(draft);
  // The reference does not round the range of YaRN. Without scaling a config must say so: absent means YaRN here.
  if (draft.find("rope.scaling.type") != nullptr) draft.put("rope_scaling.truncate", false);
  if (draft.find("rope.scaling.type") == nullptr) draft.put("rope_scaling", json::Value());
}

struct Architecture {
  std::string_view name;
  void (*put)(GgufDraft& draft);
  bool interleaved;  // rows of q and k stand in the order of interleaved pairs
};

constexpr Architecture kArchitectures[] = {
    {"deepseek2", put_deepseek2, true},   {"glm4moe", put_glm4moe, false},   {"gpt-oss", put_gpt_oss, false},
    {"granitemoe", put_granitemoe, true}, {"llama", put_llama, true},        {"olmoe", put_olmoe, false},
    {"phimoe", put_phimoe, false},        {"qwen2", put_qwen2, false},       {"qwen2moe", put_qwen2moe, false},
    {"qwen3", put_qwen3, false},          {"qwen3moe", put_qwen3moe, false},
};

const Architecture& find_architecture(const json::Value& metadata, const std::string& source) {
  const ConfigReader reader(metadata, source);
  const std::string name = reader.string("general.architecture", "");
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name == name) return architecture;
  }
  reader.fail("general.architecture", fmt::format("one of {}", fmt::join(known_gguf_architectures(), ", ")));
}

}  // namespace

GgufConfig gguf_config(const json::Value& metadata, const GgufTensorFacts& tensors, const std::string& source) {
  const Architecture& architecture = find_architecture(metadata, source);
  GgufDraft draft(metadata, tensors, source);
  architecture.put(draft);
  return std::move(draft).finish();
}

ModelSpec gguf_spec(const json::Value& metadata, const GgufTensorFacts& tensors, const std::string& source) {
  const GgufConfig made = gguf_config(metadata, tensors, source);
  ModelSpec spec = read_config(made.config, source, &made.names);
  spec.rope.interleaved = find_architecture(metadata, source).interleaved;
  spec.names = {};
  if (tensors.rope_factors.empty()) return spec;
  if (static_cast<int64_t>(tensors.rope_factors.size()) != spec.rope.dim / 2) {
    throw invalid({.where = source + ": rope_freqs.weight",
                   .expected = fmt::format("{} elements, half the rotary dimensions", spec.rope.dim / 2),
                   .got = fmt::format("{}", tensors.rope_factors.size())});
  }
  for (const double factor : tensors.rope_factors) {
    if (!(factor > 0) || !std::isfinite(factor)) {
      throw invalid(
          {.where = source + ": rope_freqs.weight", .expected = "factors above 0", .got = fmt::format("{}", factor)});
    }
  }
  spec.rope.slowdowns = tensors.rope_factors;
  return spec;
}

std::vector<std::string> known_gguf_architectures() {
  std::vector<std::string> names;
  for (const Architecture& architecture : kArchitectures) names.emplace_back(architecture.name);
  return names;
}

}  // namespace moxie
