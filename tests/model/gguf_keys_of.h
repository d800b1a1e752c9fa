// The metadata of a GGUF file as llama.cpp's converters write it from a config.json, and the rotary factors that the
// file holds as tensors. Knows nothing of the code that reads it.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "store/gguf.h"
#include "text/byte_letters.h"

namespace moxie {

class GgufKeysOf {
 public:
  bool latent_in_one = false;                  // kv_b as old converters left it
  bool with_tokenizer = false;                 // 256 tokens, one a byte
  std::map<std::string, std::string> strings;  // further metadata strings

 protected:
  explicit GgufKeysOf(const std::filesystem::path& directory)
      : config_(json::parse(read_file(directory / "config.json", 1 << 20), {.source = "config.json"})),
        type_(config_.find("model_type")->as_string()) {}

  // ---- the config ----

  const json::Value* find(std::string_view key) const {
    const json::Value* value = config_.find(key);
    return value == nullptr || value->is_null() ? nullptr : value;
  }
  int64_t integer(std::string_view key, int64_t otherwise = 0) const {
    const json::Value* value = find(key);
    return value == nullptr ? otherwise : value->as_int().value();
  }
  bool is(std::string_view type) const { return type_ == type; }
  bool is_latent() const { return type_.starts_with("deepseek"); }
  std::string arch() const {
    const std::map<std::string, std::string> names = {{"mistral", "llama"},         {"mixtral", "llama"},
                                                      {"qwen2_moe", "qwen2moe"},    {"qwen3_moe", "qwen3moe"},
                                                      {"deepseek_v2", "deepseek2"}, {"deepseek_v3", "deepseek2"},
                                                      {"glm4_moe", "glm4moe"},      {"gpt_oss", "gpt-oss"}};
    const auto found = names.find(type_);
    return found == names.end() ? type_ : found->second;
  }

  // ---- its keys ----

  void write_keys() {
    metadata_.set_string("general.architecture", arch());
    set("block_count", integer("num_hidden_layers"));
    copy("max_position_embeddings", "context_length");
    copy("hidden_size", "embedding_length");
    copy("intermediate_size", "feed_forward_length");
    copy("num_attention_heads", "attention.head_count");
    set("attention.head_count_kv", is_latent() && !latent_in_one ? 1 : integer("num_key_value_heads"));
    copy_f32("rope_theta", "rope.freq_base");
    copy_f32("rms_norm_eps", "attention.layer_norm_rms_epsilon");
    for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts"}) copy(key, "expert_count");
    copy("num_experts_per_tok", "expert_used_count");
    copy("n_group", "expert_group_count");
    copy("topk_group", "expert_group_used_count");
    rope();
    if (is_latent()) latent();
    if (is_latent() || is("glm4_moe")) shared_router();
    if (!is_latent() && find("head_dim") != nullptr) {
      set("attention.key_length", integer("head_dim"));
      set("attention.value_length", integer("head_dim"));
    }
    if (is("glm4_moe")) set("rope.dimension_count", integer("head_dim") / 2);
    if (is("qwen2_moe") || is("qwen3_moe")) copy("moe_intermediate_size", "expert_feed_forward_length");
    copy("shared_expert_intermediate_size", "expert_shared_feed_forward_length");
    if (is("gpt_oss")) copy("intermediate_size", "expert_feed_forward_length");
    if (!is("qwen2_moe")) copy("sliding_window", "attention.sliding_window");
    copy_f32("attention_multiplier", "attention.scale");
    copy_f32("embedding_multiplier", "embedding_scale");
    copy_f32("residual_multiplier", "residual_scale");
    copy_f32("logits_scaling", "logit_scale");
    copy_f32("clip_qkv", "attention.clamp_kqv");
    for (const auto& [key, text] : strings) metadata_.set_string(key, text);
    if (with_tokenizer) tokenizer();
  }

  GgufMetadata metadata_;
  std::map<std::string, std::vector<float>> factors_;  // by the name of their tensor

 private:
  void set(std::string_view key, int64_t value) {
    metadata_.set<uint32_t>(arch() + "." + std::string(key), static_cast<uint32_t>(value));
  }
  void set_f32(std::string_view key, double value) {
    metadata_.set<float>(arch() + "." + std::string(key), static_cast<float>(value));
  }
  void copy(std::string_view from, std::string_view key) {
    if (find(from) != nullptr) set(key, integer(from));
  }
  void copy_f32(std::string_view from, std::string_view key) {
    if (find(from) != nullptr) set_f32(key, find(from)->as_double());
  }

  void rope() {
    const json::Value* scaling = find("rope_scaling");
    if (scaling == nullptr) return;
    const json::Value* type = scaling->find("rope_type");
    const std::string name = (type != nullptr ? type : scaling->find("type"))->as_string();
    const auto number = [&](std::string_view key) { return scaling->find(key)->as_double(); };
    if (name == "yarn") {
      metadata_.set_string(arch() + ".rope.scaling.type", "yarn");
      set_f32("rope.scaling.factor", number("factor"));
      set("rope.scaling.original_context_length", static_cast<int64_t>(number("original_max_position_embeddings")));
      set_f32("rope.scaling.yarn_beta_fast", number("beta_fast"));
      set_f32("rope.scaling.yarn_beta_slow", number("beta_slow"));
      if (scaling->find("mscale_all_dim") != nullptr) {
        set_f32("rope.scaling.yarn_log_multiplier", 0.1 * number("mscale_all_dim"));
      }
    } else if (name == "longrope") {
      const double original = number("original_max_position_embeddings");
      const double scale = static_cast<double>(integer("max_position_embeddings")) / original;
      set("rope.scaling.original_context_length", static_cast<int64_t>(original));
      set_f32("rope.scaling.attn_factor", std::sqrt(1 + std::log(scale) / std::log(original)));
      factors("rope_factors_long.weight", *scaling->find("long_factor"));
      factors("rope_factors_short.weight", *scaling->find("short_factor"));
    } else if (name == "llama3") {
      llama3(number("factor"), number("low_freq_factor"), number("high_freq_factor"),
             number("original_max_position_embeddings"));
    }
  }

  void factors(std::string name, const json::Value& list) {
    std::vector<float> values;
    for (const json::Value& item : list.items()) values.push_back(static_cast<float>(item.as_double()));
    factors_.emplace(std::move(name), std::move(values));
  }

  void llama3(double factor, double low, double high, double context) {
    const int64_t dim = integer("head_dim");
    std::vector<float> values;
    for (int64_t i = 0; i < dim; i += 2) {
      const double exponent = static_cast<double>(i) / static_cast<double>(dim);
      const double wave = 2 * M_PI * std::pow(find("rope_theta")->as_double(), exponent);
      const double smooth = (context / wave - low) / (high - low);
      const double middle = 1 / ((1 - smooth) / factor + smooth);
      values.push_back(static_cast<float>(wave < context / high ? 1 : wave > context / low ? factor : middle));
    }
    factors_.emplace("rope_freqs.weight", std::move(values));
  }

  void latent() {
    const int64_t rope = integer("qk_rope_head_dim"), nope = integer("qk_nope_head_dim"),
                  latent = integer("kv_lora_rank");
    copy("q_lora_rank", "attention.q_lora_rank");
    set("attention.kv_lora_rank", latent);
    set("rope.dimension_count", rope);
    set("attention.key_length", latent_in_one ? nope + rope : latent + rope);
    set("attention.value_length", latent_in_one ? integer("v_head_dim") : latent);
    if (latent_in_one) return;
    set("attention.key_length_mla", nope + rope);
    copy("v_head_dim", "attention.value_length_mla");
  }

  void shared_router() {
    copy("moe_intermediate_size", "expert_feed_forward_length");
    copy("n_shared_experts", "expert_shared_count");
    copy("first_k_dense_replace", "leading_dense_block_count");
    copy_f32("routed_scaling_factor", "expert_weights_scale");
    if (find("norm_topk_prob")->as_bool()) metadata_.set<bool>(arch() + ".expert_weights_norm", true);
    if (!is("deepseek_v2")) set("expert_gating_func", 2);
  }

  void tokenizer() {
    std::vector<std::string> tokens;
    std::vector<int32_t> types(256, 1);
    for (int byte = 0; byte < 256; ++byte) {
      tokens.push_back(text::letters_of_bytes(std::string(1, static_cast<char>(byte))));
    }
    metadata_.set_string("tokenizer.ggml.model", "gpt2").set_string("tokenizer.ggml.pre", "gpt-2");
    metadata_.set_strings("tokenizer.ggml.tokens", tokens);
    metadata_.set_array<int32_t>("tokenizer.ggml.token_type", types);
    metadata_.set_strings("tokenizer.ggml.merges", std::vector<std::string>{});
  }

  json::Value config_;
  std::string type_;
};

}  // namespace moxie
