// config.json -> ModelSpec: what the real configs of known families say, and that every other family is named.
#include "spec/config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace moxie {
namespace {

const std::filesystem::path kData = std::filesystem::path(MOXIE_SOURCE_DIR) / "tests/data";

ModelSpec real(const std::string& name) {
  return load_config(kData / "configs" / (name + ".json"));
}

std::string message(const std::filesystem::path& path) {
  try {
    load_config(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid);
    return error.text();
  }
  return "accepted";
}

int64_t dense_layers(const ModelSpec& spec) {
  return std::count_if(spec.layers.begin(), spec.layers.end(), [](const LayerSpec& l) { return l.ffn.is_dense(); });
}

TEST(Config, every_real_config_parses_or_names_its_family_and_the_known_ones) {
  const std::vector<std::string> known = known_families();
  int parsed = 0, refused = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kData / "configs")) {
    if (entry.path().extension() != ".json") continue;
    const json::Value root = json::parse(read_file(entry.path(), 1 << 20), {});
    const json::Value* type = root.find("model_type");
    if (type != nullptr && std::count(known.begin(), known.end(), type->as_string()) == 1) {
      const ModelSpec spec = load_config(entry.path());
      EXPECT_EQ(spec.family, type->as_string());
      EXPECT_EQ(spec.num_layers, root.find("num_hidden_layers")->as_int());
      EXPECT_EQ(spec.hidden_size, root.find("hidden_size")->as_int());
      EXPECT_EQ(static_cast<int64_t>(spec.layers.size()), spec.num_layers);
      ++parsed;
    } else {
      const std::string text = message(entry.path());
      EXPECT_NE(text.find(type == nullptr ? "MiniCPMForCausalLM" : type->as_string()), std::string::npos) << text;
      for (const std::string& family : known) EXPECT_NE(text.find(family), std::string::npos) << text;
      ++refused;
    }
  }
  EXPECT_EQ(parsed, 22);
  EXPECT_EQ(refused, 23);
}

TEST(Config, reads_mixtral) {
  const ModelSpec spec = real("Mixtral-8x7B-v0.1");
  const MoeSpec& ffn = spec.layers[0].ffn;
  EXPECT_EQ(spec.vocab_size, 32000);
  EXPECT_EQ(spec.max_position, 32768);
  EXPECT_EQ(spec.norm_eps, 1e-5);
  EXPECT_EQ(spec.rope.theta, 1e6);
  EXPECT_EQ(spec.rope.dim, 128);
  EXPECT_EQ(spec.attention.num_heads, 32);
  EXPECT_EQ(spec.attention.num_kv_heads, 8);
  EXPECT_FALSE(spec.attention.qkv_bias || spec.attention.o_bias);
  EXPECT_EQ(ffn.num_experts, 8);
  EXPECT_EQ(ffn.top_k, 2);
  EXPECT_EQ(ffn.moe_intermediate_size, 14336);
  EXPECT_EQ(ffn.score, Score::softmax);
  EXPECT_TRUE(ffn.norm_topk_prob);
  EXPECT_EQ(spec.layers[0].window, 0);
  EXPECT_EQ(spec.names.ffn, "block_sparse_moe.");
  EXPECT_EQ(spec.names.expert_up, "experts.{}.w3.weight");
  EXPECT_EQ(spec.eos_token_ids, std::vector<int64_t>{2});
  EXPECT_EQ(spec.weight_format, "bfloat16");
}

TEST(Config, reads_qwen_moe_and_its_shared_expert) {
  const ModelSpec qwen2 = real("Qwen2-57B-A14B");
  EXPECT_EQ(qwen2.layers[0].ffn.shared, SharedExpert::sigmoid_gated);
  EXPECT_EQ(qwen2.layers[0].ffn.shared_intermediate_size, 20480);
  EXPECT_FALSE(qwen2.layers[0].ffn.norm_topk_prob);
  EXPECT_EQ(qwen2.names.shared, "shared_expert.");
  EXPECT_TRUE(qwen2.attention.qkv_bias);
  EXPECT_FALSE(qwen2.attention.o_bias);
  const ModelSpec qwen3 = real("Qwen3-30B-A3B");
  EXPECT_EQ(qwen3.attention.head_dim, 128);
  EXPECT_EQ(qwen3.attention.qk_norm, QkNorm::per_head);
  EXPECT_EQ(qwen3.layers[47].ffn.num_experts, 128);
  EXPECT_EQ(qwen3.layers[47].ffn.top_k, 8);
  EXPECT_TRUE(qwen3.layers[47].ffn.norm_topk_prob);
  EXPECT_EQ(qwen3.layers[47].ffn.shared, SharedExpert::none);
  EXPECT_EQ(real("Qwen3-30B-A3B-FP8").quant_method, "fp8");
}

TEST(Config, reads_deepseek) {
  const ModelSpec v3 = real("DeepSeek-V3");
  const MoeSpec& ffn = v3.layers[3].ffn;
  EXPECT_EQ(dense_layers(v3), 3);
  EXPECT_EQ(v3.layers[0].ffn.moe_intermediate_size, 18432);
  EXPECT_EQ(v3.attention.kind, AttentionKind::mla);
  EXPECT_EQ(v3.attention.q_lora_rank, 1536);
  EXPECT_EQ(v3.attention.kv_lora_rank, 512);
  EXPECT_EQ(v3.attention.head_dim, 192);
  EXPECT_EQ(v3.attention.v_head_dim, 128);
  const double mscale = 0.1 * std::log(40.0) + 1;
  EXPECT_DOUBLE_EQ(v3.attention.scale, mscale * mscale / std::sqrt(192.0));
  EXPECT_EQ(v3.rope.attention_factor, 1);
  EXPECT_TRUE(v3.rope.interleaved);
  EXPECT_EQ(ffn.score, Score::sigmoid);
  EXPECT_TRUE(ffn.select_bias && ffn.norm_topk_prob);
  EXPECT_EQ(ffn.norm_topk_eps, 1e-20);
  EXPECT_EQ(ffn.groups, GroupScore::top2_sum);
  EXPECT_EQ(ffn.num_expert_groups, 8);
  EXPECT_EQ(ffn.topk_groups, 4);
  EXPECT_EQ(ffn.routed_scaling_factor, 2.5);
  EXPECT_EQ(ffn.shared, SharedExpert::plain);
  EXPECT_EQ(ffn.shared_intermediate_size, 2048);
  EXPECT_EQ(v3.num_mtp_layers, 1);
  EXPECT_EQ(v3.quant_method, "fp8");

  const ModelSpec lite = real("DeepSeek-V2-Lite");
  EXPECT_EQ(lite.attention.q_lora_rank, 0);
  EXPECT_EQ(lite.layers[1].ffn.groups, GroupScore::none);
  EXPECT_EQ(lite.layers[1].ffn.shared_intermediate_size, 2816);
  EXPECT_FALSE(lite.layers[1].ffn.norm_topk_prob);
  const double lite_mscale = 0.0707 * std::log(40.0) + 1;
  EXPECT_DOUBLE_EQ(lite.attention.scale, lite_mscale * lite_mscale / std::sqrt(192.0));

  const ModelSpec kimi = real("Kimi-K2-Instruct");
  EXPECT_EQ(kimi.layers[1].ffn.num_experts, 384);
  EXPECT_EQ(kimi.layers[1].ffn.groups, GroupScore::none);
  EXPECT_EQ(dense_layers(kimi), 1);
}

TEST(Config, reads_groups_by_their_maximum) {
  const ModelSpec spec = load_config(kData / "golden/deepseek_v2-group");
  EXPECT_EQ(spec.layers[1].ffn.groups, GroupScore::max);
  EXPECT_EQ(spec.layers[1].ffn.num_expert_groups, 4);
  EXPECT_EQ(spec.layers[1].ffn.routed_scaling_factor, 16);
}

TEST(Config, reads_gpt_oss) {
  const ModelSpec spec = real("gpt-oss-20b");
  const MoeSpec& ffn = spec.layers[0].ffn;
  EXPECT_EQ(spec.layers[0].window, 128);
  EXPECT_EQ(spec.layers[1].window, 0);
  EXPECT_TRUE(spec.attention.sinks && spec.attention.qkv_bias && spec.attention.o_bias);
  EXPECT_EQ(spec.attention.head_dim, 64);
  EXPECT_EQ(ffn.activation, Activation::clamped_swiglu);
  EXPECT_FALSE(ffn.score_before_topk);
  EXPECT_TRUE(ffn.router_bias && ffn.expert_bias);
  EXPECT_EQ(ffn.num_experts, 32);
  EXPECT_FALSE(spec.rope.truncate);
  EXPECT_DOUBLE_EQ(spec.rope.attention_factor, 0.1 * std::log(32.0) + 1);
  EXPECT_EQ(spec.quant_method, "mxfp4");
  EXPECT_TRUE(spec.names.stacked_interleaved);
}

TEST(Config, reads_glm_granite_olmoe_and_phi) {
  const ModelSpec glm = real("GLM-4.5.from-numbers");
  EXPECT_EQ(glm.rope.dim, 64);
  EXPECT_EQ(glm.attention.head_dim, 128);
  EXPECT_EQ(glm.attention.qk_norm, QkNorm::per_head);
  EXPECT_TRUE(glm.attention.qkv_bias);
  EXPECT_FALSE(glm.attention.o_bias);
  EXPECT_EQ(glm.layers[3].ffn.routed_scaling_factor, 2.5);
  EXPECT_EQ(dense_layers(glm), 3);
  const ModelSpec granite = real("granite-3.1-1b-a400m-instruct");
  EXPECT_EQ(granite.attention.scale, 0.015625);
  EXPECT_EQ(granite.embedding_multiplier, 12);
  EXPECT_EQ(granite.residual_multiplier, 0.22);
  EXPECT_EQ(granite.logits_scaling, 6);
  EXPECT_TRUE(granite.tie_word_embeddings);
  EXPECT_FALSE(granite.layers[0].ffn.score_before_topk);
  const ModelSpec olmoe = real("OLMoE-1B-7B-0125");
  EXPECT_EQ(olmoe.attention.qk_norm, QkNorm::full);
  EXPECT_FALSE(olmoe.layers[0].ffn.norm_topk_prob);
  const ModelSpec phi = real("Phi-3.5-MoE");
  EXPECT_EQ(phi.norm, Norm::layer);
  EXPECT_TRUE(phi.lm_head_bias && phi.attention.o_bias);
  EXPECT_EQ(phi.layers[0].ffn.score, Score::sparsemixer);
  EXPECT_EQ(phi.layers[0].ffn.sparsemixer_eps, 0.01);
  EXPECT_EQ(phi.rope.long_factors.size(), 64u);
  EXPECT_EQ(phi.rope.attention_factor, 1.243163121016122);
}

TEST(Config, reads_dense_models_as_one_expert) {
  const ModelSpec llama = real("Meta-Llama-3.1-8B");
  EXPECT_EQ(dense_layers(llama), 32);
  EXPECT_EQ(llama.layers[0].ffn.num_experts, 1);
  EXPECT_EQ(llama.rope.scaling, RopeScaling::llama3);
  EXPECT_EQ(llama.rope.factor, 8);
  const ModelSpec qwen3 = real("Qwen3-0.6B");
  EXPECT_EQ(qwen3.attention.head_dim, 128);
  EXPECT_TRUE(qwen3.tie_word_embeddings);
}

TEST(Config, reads_every_golden) {
  for (const auto& entry : std::filesystem::directory_iterator(kData / "golden")) {
    EXPECT_EQ(load_config(entry.path()).vocab_size, 256);
  }
  EXPECT_EQ(load_config(kData / "golden/mixtral-swa").layers[2].window, 8);
  EXPECT_EQ(load_config(kData / "golden/mistral").layers[3].window, 7);
  const ModelSpec qwen2_moe = load_config(kData / "golden/qwen2_moe");
  EXPECT_FALSE(qwen2_moe.layers[0].ffn.is_dense());
  EXPECT_TRUE(qwen2_moe.layers[1].ffn.is_dense());
}

TEST(Config, gives_notice_of_code_quantization_and_further_layers) {
  const ModelSpec v3 = real("DeepSeek-V3");
  ASSERT_EQ(v3.notices.size(), 3u);
  EXPECT_EQ(v3.notices[0], "auto_map is ignored: code that comes with a model is never run");
  EXPECT_EQ(v3.notices[1], "the weights are stored quantized by \"fp8\"");
  EXPECT_EQ(v3.notices[2], "1 multi-token-prediction layer after the last layer is not run");
}

}  // namespace
}  // namespace moxie
