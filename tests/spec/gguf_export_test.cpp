// What a model's GGUF metadata says is what the model is: for goldens, real configs, and refusals.
#include "spec/gguf_export.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "spec/config.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

const fs::path kData = fs::path(MOXIE_SOURCE_DIR) / "tests/data";

template <typename T>
T value_of(const GgufExport& made, const std::string& key) {
  for (const GgufKey& each : made.keys) {
    if (each.name == made.architecture + "." + key || each.name == key) return std::get<T>(each.value);
  }
  ADD_FAILURE() << "no " << key;
  return {};
}

std::string refusal(const ModelSpec& spec) {
  try {
    gguf_export(spec, "config.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid);
    return error.text();
  }
  return "";
}

// gguf_export compares what it reads back.
TEST(GgufExport, says_what_every_golden_is) {
  for (const auto& entry : fs::directory_iterator(kData / "golden")) {
    if (entry.path().filename() == "phimoe-longrope") continue;  // two attention factors: below
    EXPECT_EQ(refusal(load_config(entry.path())), "") << entry.path();
  }
}

TEST(GgufExport, says_what_real_configs_are) {
  for (const char* name :
       {"DeepSeek-R1",          "DeepSeek-V2-Lite", "DeepSeek-V3",       "GLM-4.5-Air.from-numbers",
        "GLM-4.5.from-numbers", "Kimi-K2-Instruct", "Meta-Llama-3.1-8B", "Mixtral-8x22B-v0.1",
        "Mixtral-8x7B-v0.1",    "OLMoE-1B-7B-0125", "Phi-3.5-MoE",       "PowerMoE-3B",
        "Qwen1.5-MoE-A2.7B",    "Qwen2-57B-A14B",   "Qwen3-0.6B",        "Qwen3-235B-A22B",
        "Qwen3-30B-A3B",        "gpt-oss-120b",     "gpt-oss-20b",       "granite-3.1-1b-a400m-instruct"}) {
    EXPECT_EQ(refusal(load_config(kData / "configs" / (std::string(name) + ".json"))), "") << name;
  }
}

TEST(GgufExport, deepseek_v3_has_the_keys_of_its_converter) {
  const GgufExport made = gguf_export(load_config(kData / "configs/DeepSeek-V3.json"), "config.json");
  EXPECT_EQ(value_of<std::string>(made, "general.architecture"), "deepseek2");
  EXPECT_EQ(value_of<uint32_t>(made, "attention.head_count_kv"), 1u);
  EXPECT_EQ(value_of<uint32_t>(made, "attention.key_length"), 576u);
  EXPECT_EQ(value_of<uint32_t>(made, "attention.key_length_mla"), 192u);
  EXPECT_EQ(value_of<uint32_t>(made, "attention.value_length_mla"), 128u);
  EXPECT_EQ(value_of<uint32_t>(made, "leading_dense_block_count"), 3u);
  EXPECT_EQ(value_of<uint32_t>(made, "expert_group_used_count"), 4u);
  EXPECT_EQ(value_of<uint32_t>(made, "expert_gating_func"), 2u);
  EXPECT_EQ(value_of<float>(made, "expert_weights_scale"), 2.5f);
  EXPECT_EQ(value_of<float>(made, "rope.scaling.yarn_log_multiplier"), 0.1f);
  EXPECT_TRUE(value_of<bool>(made, "expert_weights_norm"));
  EXPECT_EQ(made.notes.size(), 1u);  // multi-token prediction
}

TEST(GgufExport, qwen3_moe_has_the_keys_of_its_converter) {
  const GgufExport made = gguf_export(load_config(kData / "configs/Qwen3-30B-A3B.json"), "config.json");
  EXPECT_EQ(value_of<uint32_t>(made, "feed_forward_length"), 6144u);
  EXPECT_EQ(value_of<uint32_t>(made, "expert_feed_forward_length"), 768u);
  EXPECT_EQ(value_of<uint32_t>(made, "attention.key_length"), 128u);
  EXPECT_EQ(value_of<float>(made, "rope.freq_base"), 1e6f);
  EXPECT_TRUE(made.notes.empty());
}

TEST(GgufExport, llama3_has_its_slowdowns_as_a_tensor) {
  const GgufExport made = gguf_export(load_config(kData / "configs/Meta-Llama-3.1-8B.json"), "config.json");
  ASSERT_EQ(made.rope_freqs.size(), 64u);
  EXPECT_EQ(made.rope_freqs.front(), 1.0f);
  EXPECT_EQ(made.rope_freqs.back(), 8.0f);
  EXPECT_TRUE(made.interleaved);
}

TEST(GgufExport, what_an_architecture_has_no_key_for_is_refused) {
  EXPECT_NE(refusal(load_config(kData / "golden/phimoe-longrope")).find("longrope"), std::string::npos);
  ModelSpec spec = load_config(kData / "golden/mixtral");
  spec.layers[1].window = 16;
  EXPECT_NE(refusal(spec).find("layer 0 (it would be read as 16)"), std::string::npos) << refusal(spec);
  spec = load_config(kData / "golden/gpt_oss");
  spec.layers[2].ffn.activation_limit = 5;
  EXPECT_NE(refusal(spec).find("experts of layer 2"), std::string::npos) << refusal(spec);
  spec.family = "mamba";
  EXPECT_NE(refusal(spec).find("\"mamba\""), std::string::npos);
}

}  // namespace
}  // namespace moxie
