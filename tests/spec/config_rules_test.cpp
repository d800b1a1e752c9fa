// The rules by which a config.json is read: defaults, spellings, windows, and every refusal (group C of malformed
// input).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "spec/config.h"

namespace moxie {
namespace {

// A config of the given family and sizes, with `more` members after them.
std::string config(const std::string& family, const std::string& more = "") {
  return R"({"model_type": ")" + family +
         R"(", "hidden_size": 64, "num_hidden_layers": 4, "vocab_size": 100, "num_attention_heads": 4,)" +
         R"( "num_key_value_heads": 2, "intermediate_size": 96)" + (more.empty() ? "" : ", " + more) + "}";
}

std::string moe(const std::string& family, const std::string& more = "") {
  return config(family, R"("num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32)" +
                            (more.empty() ? "" : ", " + more));
}

std::string deepseek(const std::string& family, const std::string& more) {
  return moe(family, R"("kv_lora_rank": 16, "q_lora_rank": null, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8,)"
                     R"( "v_head_dim": 12, )" +
                         more);
}

ModelSpec read(const std::string& text) {
  return parse_config(text, "config.json");
}

std::string refusal(const std::string& text) {
  try {
    read(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid);
    return error.text();
  }
  return "accepted";
}

std::string at(const std::string& text, const std::string& key, const std::string& rest) {
  const size_t value = text.find(": ", text.find("\"" + key + "\"")) + 2;
  return "config.json: " + key + " at byte " + std::to_string(value) + ": " + rest;
}

// ---- defaults and spellings ----

TEST(ConfigRules, absent_keys_mean_what_transformers_assumes) {
  const ModelSpec mixtral = read(moe("mixtral"));
  EXPECT_EQ(mixtral.rope.theta, 1e6);
  EXPECT_EQ(mixtral.max_position, 131072);
  EXPECT_EQ(mixtral.norm_eps, 1e-5);
  EXPECT_EQ(mixtral.layers[0].window, 0);
  EXPECT_FALSE(mixtral.tie_word_embeddings);
  EXPECT_EQ(read(config("mistral")).layers[0].window, 4096);
  EXPECT_EQ(read(config("qwen3")).attention.head_dim, 128);
  EXPECT_EQ(read(config("qwen2")).attention.head_dim, 16);
  const ModelSpec oss = read(moe("gpt_oss"));
  EXPECT_EQ(oss.rope.scaling, RopeScaling::yarn);
  EXPECT_EQ(oss.rope.factor, 32);
  EXPECT_EQ(read(moe("gpt_oss", R"("rope_scaling": null)")).rope.scaling, RopeScaling::none);
}

TEST(ConfigRules, null_kv_heads_are_as_many_as_heads) {
  std::string text = config("mistral");
  text.replace(text.find(R"("num_key_value_heads": 2)"), 24, R"("num_key_value_heads": null)");
  EXPECT_EQ(read(text).attention.num_kv_heads, 4);
}

TEST(ConfigRules, one_expert_still_has_a_router) {
  const ModelSpec spec =
      read(config("qwen3_moe", R"("num_experts": 1, "num_experts_per_tok": 1, "moe_intermediate_size": 32)"));
  EXPECT_FALSE(spec.layers[0].ffn.is_dense());
}

TEST(ConfigRules, experts_may_have_any_spelling) {
  for (const char* key : {"num_experts", "num_local_experts", "n_routed_experts"}) {
    const std::string text = config("olmoe", fmt::format(R"("{}": 6000000, "num_experts_per_tok": 2)", key));
    EXPECT_EQ(read(text).layers[0].ffn.num_experts, 6000000);
  }
}

TEST(ConfigRules, windows_follow_layer_types_else_the_rule_of_the_family) {
  const std::string on = R"("use_sliding_window": true, "sliding_window": 5, "max_window_layers": 2)";
  const ModelSpec by_rule = read(config("qwen2", on));
  EXPECT_EQ(by_rule.layers[1].window, 0);
  EXPECT_EQ(by_rule.layers[2].window, 5);
  const ModelSpec by_type = read(config("qwen2", on + R"(, "layer_types": ["sliding_attention", "full_attention",)"
                                                      R"( "full_attention", "full_attention"])"));
  EXPECT_EQ(by_type.layers[0].window, 5);
  EXPECT_EQ(by_type.layers[2].window, 0);
  EXPECT_EQ(read(config("qwen2", R"("sliding_window": 5, "max_window_layers": 0)")).layers[3].window, 0);
  EXPECT_EQ(read(moe("qwen3_moe", on)).layers[0].window, 5);
}

TEST(ConfigRules, dense_layers_follow_the_step_and_the_list) {
  const ModelSpec spec = read(moe("qwen3_moe", R"("decoder_sparse_step": 2, "mlp_only_layers": [3])"));
  EXPECT_TRUE(spec.layers[0].ffn.is_dense());
  EXPECT_FALSE(spec.layers[1].ffn.is_dense());
  EXPECT_TRUE(spec.layers[3].ffn.is_dense());
  const ModelSpec deep = read(deepseek("deepseek_v2", R"("first_k_dense_replace": 1, "moe_layer_freq": 2)"));
  EXPECT_TRUE(deep.layers[0].ffn.is_dense());
  EXPECT_TRUE(deep.layers[1].ffn.is_dense());
  EXPECT_FALSE(deep.layers[2].ffn.is_dense());
}

TEST(ConfigRules, rope_has_two_spellings_and_a_newer_object) {
  for (const char* scaling : {R"("rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 4})",
                              R"("rope_theta": 500, "rope_scaling": {"rope_type": "linear", "factor": 4.0})",
                              R"("rope_parameters": {"rope_type": "linear", "factor": 4, "rope_theta": 500})"}) {
    const RopeSpec rope = read(config("llama", scaling)).rope;
    EXPECT_EQ(rope.theta, 500);
    EXPECT_EQ(rope.scaling, RopeScaling::linear);
    EXPECT_EQ(rope.factor, 4);
  }
}

TEST(ConfigRules, hidden_act_chooses_the_activation) {
  EXPECT_EQ(read(config("llama", R"("hidden_act": "gelu_pytorch_tanh")")).layers[0].ffn.activation, Activation::geglu);
  const std::string text = config("llama", R"("hidden_act": "relu2")");
  EXPECT_EQ(refusal(text),
            at(text, "hidden_act", "expected one of silu, swish, gelu_pytorch_tanh, gelu_new, got \"relu2\""));
}

TEST(ConfigRules, token_ids_outside_the_vocabulary_are_dropped_with_a_notice) {
  const ModelSpec spec = read(config("llama", R"("eos_token_id": [7, 100], "bos_token_id": 3)"));
  EXPECT_EQ(spec.eos_token_ids, std::vector<int64_t>{7});
  EXPECT_EQ(spec.bos_token_id, 3);
  ASSERT_EQ(spec.notices.size(), 1u);
  EXPECT_EQ(spec.notices[0], "eos_token_id 100 is ignored: the vocabulary ends at 99");
}

// ---- group C ----

TEST(ConfigRules, C1_refuses_what_is_not_an_object) {
  EXPECT_EQ(refusal("[1]"), "config.json: byte 0: expected an object, got an array");
  EXPECT_NE(refusal("3"), "accepted");
  EXPECT_NE(refusal(""), "accepted");
}

TEST(ConfigRules, C2_refuses_a_duplicate_key) {
  EXPECT_NE(refusal(config("llama", R"("hidden_size": 64)")).find("hidden_size"), std::string::npos);
}

TEST(ConfigRules, C3_refuses_values_of_the_wrong_type) {
  for (const char* value : {"\"64\"", "1e2", "64.0", "9007199254740993", "true", "[64]", "-0"}) {
    std::string text = config("llama");
    text.replace(text.find("64,"), 2, value);
    EXPECT_EQ(refusal(text).find("config.json: hidden_size at byte 39: expected an integer from 1 to 16777216, got "),
              0u)
        << refusal(text);
  }
  EXPECT_NE(refusal(config("llama", R"("rms_norm_eps": NaN)")), "accepted");
  const std::string text = config("llama", R"("rms_norm_eps": "1e-5")");
  EXPECT_EQ(refusal(text), at(text, "rms_norm_eps", "expected a number above 0 and at most 1, got \"1e-5\""));
  EXPECT_NE(refusal(config("llama", R"("attention_bias": 1)")).find("expected true or false, got 1"),
            std::string::npos);
  EXPECT_NE(refusal(config("llama", R"("torch_dtype": 1)")).find("expected a string, got 1"), std::string::npos);
}

TEST(ConfigRules, C4_names_a_missing_field) {
  EXPECT_EQ(refusal(R"({"model_type": "llama"})"),
            "config.json: hidden_size: expected an integer from 1 to 16777216, got no such key");
  EXPECT_EQ(refusal(config("olmoe")),
            "config.json: num_experts: expected an integer from 1 to 16777216, got no such key");
}

TEST(ConfigRules, C5_lists_the_known_families) {
  EXPECT_EQ(
      refusal(config("gpt5\\n")),
      "config.json: model_type at byte 15: expected one of deepseek_v2, deepseek_v3, glm4_moe, gpt_oss, granitemoe, "
      "kimi_k2, llama, mistral, mixtral, olmoe, phimoe, qwen2, qwen2_moe, qwen3, qwen3_moe, got \"gpt5\\x0a\"");
}

TEST(ConfigRules, C6_ignores_code_with_a_notice) {
  const ModelSpec spec = read(config("llama", R"("auto_map": {"AutoModel": "evil.Model"}, "trust_remote_code": true)"));
  EXPECT_EQ(spec.notices.size(), 2u);
}

TEST(ConfigRules, C7_bounds_experts_and_top_k) {
  for (const char* experts : {"0", "-1", "2147483648"}) {
    EXPECT_NE(refusal(config("olmoe", fmt::format(R"("num_experts": {}, "num_experts_per_tok": 1)", experts)))
                  .find("num_experts at byte"),
              std::string::npos);
  }
  for (const char* top_k : {"0", "9"}) {
    const std::string text = config("olmoe", fmt::format(R"("num_experts": 8, "num_experts_per_tok": {})", top_k));
    EXPECT_EQ(refusal(text),
              at(text, "num_experts_per_tok", fmt::format("expected an integer from 1 to 8, got {}", top_k)));
  }
  EXPECT_NE(
      refusal(config("phimoe", R"("num_experts": 8, "num_experts_per_tok": 3)")).find("sparsemixer chooses in two"),
      std::string::npos);
}

TEST(ConfigRules, C8_spellings_must_agree) {
  const std::string text = moe("olmoe", R"("num_local_experts": 16)");
  EXPECT_EQ(refusal(text), at(text, "num_local_experts", "expected 8, as num_experts says, got 16"));
  const std::string rope = config("llama", R"("rope_scaling": {"rope_type": "linear", "type": "yarn", "factor": 2})");
  EXPECT_NE(refusal(rope).find("rope_scaling.type at byte"), std::string::npos);
}

TEST(ConfigRules, C9_heads_must_divide) {
  std::string text = config("llama");
  text.replace(text.find("64,"), 2, "66");
  EXPECT_EQ(refusal(text), at(text, "hidden_size", "expected a multiple of num_attention_heads (4), got 66"));
  text = config("llama");
  text.replace(text.find(R"(_heads": 2)") + 9, 1, "3");
  EXPECT_EQ(refusal(text), at(text, "num_key_value_heads", "expected a divisor of num_attention_heads (4), got 3"));
  EXPECT_NE(refusal(config("llama", R"("head_dim": 15)")).find("expected an even number of rotary dimensions, got 15"),
            std::string::npos);
}

TEST(ConfigRules, C11_max_position_is_read_and_nothing_is_allocated_for_it) {
  EXPECT_NE(refusal(config("llama", R"("max_position_embeddings": 0)")), "accepted");
  EXPECT_EQ(read(config("llama", R"("max_position_embeddings": 1099511627776)")).max_position, int64_t{1} << 40);
}

TEST(ConfigRules, C12_bounds_layers_and_the_product_of_sizes) {
  std::string text = config("llama");
  text.replace(text.find(" 4,") + 1, 1, "1000000000");
  EXPECT_EQ(refusal(text), at(text, "num_hidden_layers", "expected an integer from 1 to 10000, got 1000000000"));
  text = moe("olmoe");
  text.replace(text.find(R"("num_experts": 8)") + 15, 1, "16777216");
  text.replace(text.find(R"("intermediate_size": 96)") + 21, 2, "16777216");
  EXPECT_EQ(
      refusal(text).find("config.json: expected sizes that make at most 1e+15 parameters, got sizes that make about"),
      0u)
      << refusal(text);
}

TEST(ConfigRules, C13_bounds_rope_scaling) {
  for (const char* scaling :
       {R"({"type": "linear", "factor": 0})", R"({"type": "linear", "factor": -2})",
        R"({"type": "linear", "factor": 1e999})", R"({"type": "linear"})", R"({"type": "magic"})",
        R"({"type": "yarn", "factor": 4, "beta_fast": 0})", R"({"type": "longrope", "factor": 4})",
        R"({"type": "llama3", "factor": 4, "low_freq_factor": 4, "high_freq_factor": 4,)"
        R"( "original_max_position_embeddings": 64})"}) {
    EXPECT_NE(refusal(config("llama", fmt::format(R"("rope_scaling": {})", scaling))), "accepted") << scaling;
  }
  EXPECT_NE(refusal(config("llama", R"("rope_scaling": {"type": "dynamic", "factor": 2})"))
                .find("expected one of default, linear, llama3, yarn, longrope, got \"dynamic\". Dynamic scaling"),
            std::string::npos);
  EXPECT_NE(refusal(config("llama", R"("rope_theta": 0)")), "accepted");
}

TEST(ConfigRules, C14_bounds_quantization_blocks) {
  EXPECT_NE(refusal(config("llama", R"("quantization_config": {"quant_method": "fp8", "weight_block_size": [0, 128]})"))
                .find("quantization_config.weight_block_size at byte"),
            std::string::npos);
  EXPECT_NE(
      refusal(config("llama", R"("quantization_config": {"quant_method": "fp8", "weight_block_size": [64, 128]})"))
          .find("expected [128, 128], got [64, 128]"),
      std::string::npos);
  EXPECT_NE(refusal(config("llama", R"("quantization_config": {})")).find("quantization_config.quant_method"),
            std::string::npos);
  EXPECT_EQ(read(config("llama", R"("quantization_config": {"quant_method": "awq"})")).quant_method, "awq");
}

TEST(ConfigRules, C15_bounds_scaling_and_groups) {
  EXPECT_NE(refusal(deepseek("deepseek_v3", R"("routed_scaling_factor": 1e999, "n_group": 1, "topk_group": 1)")),
            "accepted");
  EXPECT_NE(refusal(deepseek("deepseek_v3", R"("n_group": 3, "topk_group": 1)")).find("n_group at byte"),
            std::string::npos);
  EXPECT_NE(refusal(deepseek("deepseek_v3", R"("n_group": 8, "topk_group": 4)")).find("2 or more in each"),
            std::string::npos);
  EXPECT_NE(refusal(deepseek("deepseek_v3", R"("n_group": 2, "topk_group": 3)")).find("topk_group at byte"),
            std::string::npos);
  EXPECT_NE(
      refusal(deepseek("deepseek_v2", R"("topk_method": "noaux_tc")")).find("one of greedy, group_limited_greedy"),
      std::string::npos);
  EXPECT_EQ(read(deepseek("deepseek_v3", R"("n_group": 2, "topk_group": 1)")).layers[3].ffn.groups,
            GroupScore::top2_sum);
}

TEST(ConfigRules, C16_bounds_the_size_of_the_file) {
  const std::string huge(size_t{64} << 20, ' ');
  EXPECT_EQ(refusal(huge), "config.json: expected at most 4194304 bytes, got 67108864");
}

TEST(ConfigRules, refuses_layer_types_it_does_not_know) {
  const std::string on = R"("use_sliding_window": true, "sliding_window": 5, "layer_types": )";
  EXPECT_NE(refusal(config("qwen3", on + R"(["full_attention"])")).find("expected 4 entries, one a layer, got 1"),
            std::string::npos);
  EXPECT_NE(
      refusal(config("qwen3", on + R"(["linear_attention", "full_attention", "full_attention", "full_attention"])"))
          .find("expected full_attention or sliding_attention, got linear_attention"),
      std::string::npos);
}

}  // namespace
}  // namespace moxie
