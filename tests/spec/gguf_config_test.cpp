// GGUF metadata as a config: what each architecture's keys become, and refusals that name key and byte.
#include "spec/gguf_config.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "spec/config.h"

namespace moxie {
namespace {

// A small Mixtral's metadata; `changed` replaces or adds keys (without the architecture's prefix), null removes one.
json::Value mixtral(const std::vector<std::pair<std::string, json::Value>>& changed = {}) {
  std::vector<std::pair<std::string, json::Value>> keys = {
      {"block_count", 3},
      {"context_length", 128},
      {"embedding_length", 32},
      {"feed_forward_length", 64},
      {"attention.head_count", 4},
      {"attention.head_count_kv", 2},
      {"attention.layer_norm_rms_epsilon", static_cast<double>(1e-5f)},
      {"rope.freq_base", 1e6},
      {"rope.dimension_count", 8},
      {"vocab_size", 256},
      {"expert_count", 8},
      {"expert_used_count", 2},
  };
  for (const auto& [key, value] : changed) {
    std::erase_if(keys, [&](const auto& each) { return each.first == key; });
    keys.emplace_back(key, value);
  }
  json::Value metadata{json::Object{}};
  metadata.set("general.architecture", json::Value("llama").set_offset(40));
  size_t offset = 100;
  for (auto& [key, value] : keys) {
    if (!value.is_null()) metadata.set("llama." + key, value.set_offset(offset));
    offset += 10;
  }
  return metadata;
}

constexpr int64_t kRows = 256;

std::string refusal(const json::Value& metadata, const GgufTensorFacts& facts = {.embedding_rows = kRows}) {
  try {
    gguf_spec(metadata, facts, "m.gguf");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid);
    return error.what();
  }
  return "";
}

void expect_refusal(const std::pair<std::string, json::Value>& change, const std::string& reason) {
  const std::string text = refusal(mixtral({change}));
  const std::string where = "m.gguf: llama." + change.first + (change.second.is_null() ? "" : " at byte ");
  EXPECT_NE(text.find(where), std::string::npos) << change.first << ": " << text;
  EXPECT_NE(text.find(reason), std::string::npos) << change.first << ": " << text;
}

TEST(GgufConfig, llama_with_experts_is_mixtral_that_rotates_interleaved_pairs) {
  const ModelSpec spec = gguf_spec(mixtral(), {.embedding_rows = kRows, .has_output = true}, "m.gguf");
  EXPECT_EQ(spec.family, "mixtral");
  EXPECT_TRUE(spec.rope.interleaved);
  EXPECT_EQ(spec.layers[0].ffn.num_experts, 8);
  EXPECT_TRUE(spec.layers[0].ffn.norm_topk_prob);
  EXPECT_EQ(spec.norm_eps, 1e-5);  // not 1e-5f
  EXPECT_FALSE(spec.tie_word_embeddings);
}

TEST(GgufConfig, llama_without_experts_is_llama_and_without_output_tied) {
  const ModelSpec spec = gguf_spec(mixtral({{"expert_count", 0}, {"expert_used_count", json::Value()}}),
                                   {.embedding_rows = kRows}, "m.gguf");
  EXPECT_EQ(spec.family, "llama");
  EXPECT_TRUE(spec.layers[0].ffn.is_dense());
  EXPECT_TRUE(spec.tie_word_embeddings);
}

TEST(GgufConfig, one_value_a_layer_is_one_value_if_all_are_equal) {
  json::Value equal{json::Array{}}, mixed{json::Array{}};
  for (int i = 0; i < 3; ++i) equal.push(4);
  mixed.push(4).push(4).push(2);
  EXPECT_EQ(refusal(mixtral({{"attention.head_count", equal}})), "");
  expect_refusal({"attention.head_count", mixed}, "one value for all layers");
  expect_refusal({"attention.head_count_kv", mixed}, "one value for all layers");
}

TEST(GgufConfig, unknown_architectures_are_refused_with_the_known_ones) {
  json::Value metadata{json::Object{}};
  EXPECT_NE(refusal(metadata).find("general.architecture"), std::string::npos);
  metadata.set("general.architecture", json::Value("mamba").set_offset(44));
  const std::string text = refusal(metadata);
  EXPECT_NE(text.find("m.gguf: general.architecture at byte 44"), std::string::npos) << text;
  EXPECT_NE(text.find("deepseek2, glm4moe, gpt-oss, granitemoe, llama, olmoe, phimoe, qwen2, qwen2moe"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("\"mamba\""), std::string::npos) << text;
}

// G28, G29, G30
TEST(GgufConfig, counts_that_cannot_be_are_refused_by_key_and_byte) {
  expect_refusal({"expert_count", json::Value(int64_t{1} << 32)}, "4294967296");
  expect_refusal({"expert_count", -1}, "-1");
  expect_refusal({"expert_used_count", 9}, "from 1 to 8");
  expect_refusal({"expert_used_count", 0}, "from 1 to 8");
  expect_refusal({"block_count", 1'000'000'000}, "from 1 to 10000");
  expect_refusal({"block_count", 0}, "from 1 to 10000");
  expect_refusal({"block_count", "3"}, "\"3\"");
  expect_refusal({"attention.head_count", 0}, "from 1");
  expect_refusal({"attention.head_count", 5}, "a divisor of embedding_length (32)");
  expect_refusal({"attention.head_count_kv", 3}, "a divisor");
  expect_refusal({"attention.head_count_kv", 0}, "from 1 to 4");
  expect_refusal({"rope.dimension_count", 0}, "an even number of dimensions");
  expect_refusal({"rope.dimension_count", 7}, "an even number of dimensions");
  expect_refusal({"rope.dimension_count", 4}, "rotate whole");
  expect_refusal({"attention.layer_norm_rms_epsilon", 0.0}, "above 0");
  expect_refusal({"attention.layer_norm_rms_epsilon", -1e-5}, "above 0");
  expect_refusal({"attention.layer_norm_rms_epsilon", std::nan("")}, "above 0");
  expect_refusal({"rope.freq_base", std::nan("")}, "above 1");
  expect_refusal({"expert_gating_func", 2}, "1");
  for (const char* key : {"block_count", "embedding_length", "context_length", "attention.head_count",
                          "attention.layer_norm_rms_epsilon", "expert_used_count"}) {
    expect_refusal({key, json::Value()}, "no such key");
  }
}

TEST(GgufConfig, a_mixture_of_no_experts_is_refused) {
  json::Value metadata{json::Object{}};
  const json::Value base = mixtral({{"expert_count", 0}});
  metadata.set("general.architecture", "qwen3moe");
  for (const json::Member& member : base.members()) {
    if (member.key.starts_with("llama.")) metadata.set("qwen3moe" + member.key.substr(5), member.value);
  }
  const std::string text = refusal(metadata);
  EXPECT_NE(text.find("m.gguf: qwen3moe.expert_count at byte "), std::string::npos) << text;
}

// G27
TEST(GgufConfig, the_vocabulary_has_one_size) {
  EXPECT_NE(refusal(mixtral(), {.embedding_rows = 255}).find("llama.vocab_size at byte "), std::string::npos);
  json::Value metadata = mixtral({{"vocab_size", json::Value()}});
  json::Value tokens{json::Array{}};
  for (int i = 0; i < 255; ++i) tokens.push(std::to_string(i));
  metadata.set("tokenizer.ggml.tokens", tokens);
  const std::string text = refusal(metadata);
  EXPECT_NE(text.find("m.gguf: tokenizer.ggml.tokens"), std::string::npos) << text;
  EXPECT_NE(text.find("256 tokens, as token_embd.weight says"), std::string::npos) << text;
}

TEST(GgufConfig, absent_keys_mean_what_gguf_says_and_not_what_the_family_assumes) {
  const ModelSpec spec =
      gguf_spec(mixtral({{"attention.head_count_kv", json::Value()}, {"rope.freq_base", json::Value()}}),
                {.embedding_rows = kRows}, "m.gguf");
  EXPECT_EQ(spec.attention.num_kv_heads, 4);
  EXPECT_EQ(spec.rope.theta, 10000);
}

TEST(GgufConfig, rotary_factors_divide_frequencies) {
  const GgufTensorFacts facts{.embedding_rows = kRows, .rope_factors = {1, 2, 4, 8}};
  const ModelSpec spec = gguf_spec(mixtral(), facts, "m.gguf");
  EXPECT_EQ(spec.rope.slowdowns, (std::vector<double>{1, 2, 4, 8}));
  EXPECT_NE(refusal(mixtral(), {.embedding_rows = kRows, .rope_factors = {1, 2}}).find("rope_freqs.weight"),
            std::string::npos);
  EXPECT_NE(refusal(mixtral(), {.embedding_rows = kRows, .rope_factors = {1, 2, 0, 4}}).find("factors above 0"),
            std::string::npos);
}

TEST(GgufConfig, scaling_types_are_read) {
  const auto rope = [](const std::vector<std::pair<std::string, json::Value>>& changed) {
    return gguf_spec(mixtral(changed), {.embedding_rows = kRows}, "m.gguf").rope;
  };
  EXPECT_EQ(rope({{"rope.scaling.type", "none"}}).scaling, RopeScaling::none);
  EXPECT_EQ(rope({{"rope.scale_linear", 4.0}}).factor, 4);
  EXPECT_EQ(rope({{"rope.scaling.type", "linear"}, {"rope.scaling.factor", 2.0}}).scaling, RopeScaling::linear);
  EXPECT_EQ(rope({{"rope.scaling.type", "yarn"}, {"rope.scaling.factor", 2.0}}).scaling, RopeScaling::yarn);
  expect_refusal({"rope.scaling.type", "longrope"}, "rope_factors_long.weight");
  EXPECT_NE(refusal(mixtral({{"rope.scaling.type", "yarn"}})).find("llama.rope.scaling.factor"), std::string::npos);
}

}  // namespace
}  // namespace moxie
