// The cost of a training step against sums by hand and against the forward pass it is made of.
#include "plan/training_cost.h"

#include <gtest/gtest.h>

#include "plan/accounting.h"
#include "spec/config.h"

namespace moxie {
namespace {

const std::string kRoot = MOXIE_SOURCE_DIR;

ModelSpec golden(const std::string& name) {
  return load_config(kRoot + "/tests/data/golden/" + name);
}

TEST(TrainFlops, are_three_forward_passes_of_the_average_position) {
  for (const char* name : {"qwen3_moe", "mixtral-swa", "deepseek_v3", "gpt_oss", "qwen3"}) {
    const ModelSpec spec = golden(name);
    const int64_t length = 100;
    double matmul = 0, attention = 0;
    for (int64_t position = 1; position <= length; ++position) {
      matmul += 3 * forward_flops(spec, position).matmul / static_cast<double>(length);
      attention += 3 * forward_flops(spec, position).attention / static_cast<double>(length);
    }
    const TrainFlops flops = train_flops_per_token(spec, length);
    EXPECT_NEAR(flops.matmul, matmul, 1e-9 * matmul) << name;
    EXPECT_NEAR(flops.attention, attention, 1e-9 * attention) << name;
  }
}

// 6 layers, hidden 384, 8 experts top-2 of width 512, 256 tokens, tied: 10.84 million active parameters.
TEST(TrainFlops, of_a_shape_known_from_elsewhere) {
  const ModelSpec spec = parse_config(R"({"model_type": "mixtral", "hidden_size": 384, "num_hidden_layers": 6,
      "num_attention_heads": 6, "num_key_value_heads": 6, "intermediate_size": 512, "num_local_experts": 8,
      "num_experts_per_tok": 2, "vocab_size": 256, "tie_word_embeddings": true, "max_position_embeddings": 256})",
                                      "config");
  const TrainFlops flops = train_flops_per_token(spec, 256);
  EXPECT_NEAR(flops.matmul, 6 * 10.74e6, 6e5);
  EXPECT_DOUBLE_EQ(flops.attention, 12.0 * 6 * 384 * 257 / 2);
}

TEST(TrainMemory, of_the_bundled_model_is_the_sum_of_its_parts) {
  const ModelSpec spec = load_config(kRoot + "/models/moe-7m");
  const TrainMemory memory = train_memory(spec, {.batch = 16, .length = 256, .threads = 2});
  const double token = 4.0 * 16 * 256;  // bytes of a float a token
  EXPECT_EQ(memory.parameters, 16.0 * 7'534'528);
  EXPECT_EQ(memory.residual, token * 192 * (4 + 2 * 4));
  EXPECT_EQ(memory.attention, token * 4 * (192 + 64 + 64 + 192 + 192 + 64));  // q k v out, q and k before their norms
  EXPECT_EQ(memory.experts, token * 4 * (2 * 2 * 192));
  EXPECT_EQ(memory.router, token * 4 * (16 + 4 * 2 + 1));
  EXPECT_EQ(memory.temporary, token * (16 + 2 * (192 + 192 + 2)));
  EXPECT_EQ(memory.total(), memory.parameters + memory.residual + memory.attention + memory.experts + memory.router +
                                memory.temporary + memory.threads + memory.process);
}

TEST(TrainMemory, of_a_large_vocabulary_is_held_in_chunks) {
  ModelSpec spec = golden("qwen3_moe");
  spec.vocab_size = 100'000;
  const TrainMemory memory = train_memory(spec, {.batch = 1, .length = 256});
  EXPECT_EQ(memory.temporary, 128.0 * 100'000 * 4 + 256 * 4);  // two chunks of at most 167 rows
}

TEST(TrainMemory, counts_what_options_add) {
  const ModelSpec spec = load_config(kRoot + "/models/moe-7m");
  const TrainShape plain{.batch = 4, .length = 64};
  TrainShape shape = plain;
  shape.router_noise = true;
  EXPECT_EQ(train_memory(spec, shape).parameters - train_memory(spec, plain).parameters, 16.0 * 4 * 192 * 16);
  EXPECT_EQ(train_memory(spec, shape).router - train_memory(spec, plain).router, 4.0 * 256 * 4 * 16);
  shape = plain;
  shape.router_jitter = true;
  EXPECT_EQ(train_memory(spec, shape).router - train_memory(spec, plain).router, 4.0 * 256 * 4 * 192);
  shape = plain;
  shape.dropout = true;
  EXPECT_EQ(train_memory(spec, shape).temporary - train_memory(spec, plain).temporary, 4.0 * 256 * 192);
  shape = plain;
  shape.threads = 3;
  EXPECT_EQ(train_memory(spec, shape).threads, 3 * train_memory(spec, plain).threads);
}

// The dense layers that come first need more at work than a routed layer does, and later layers are not there yet.
TEST(TrainMemory, takes_the_largest_moment_of_all_layers) {
  ModelSpec spec = golden("deepseek_v3");
  const TrainShape shape{.batch = 2, .length = 64};
  const double before = train_memory(spec, shape).temporary;
  spec.layers[0].ffn.moe_intermediate_size = 5000;
  EXPECT_EQ(train_memory(spec, shape).temporary, 4.0 * 128 * 5000);
  EXPECT_LT(before, 4.0 * 128 * 5000);
}

}  // namespace
}  // namespace moxie
