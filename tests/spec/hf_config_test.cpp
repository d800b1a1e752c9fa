// A config.json for transformers: what is added, what is left out, and Llama 3.1's rope_scaling found in its factors.
#include "spec/hf_config.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "spec/config.h"
#include "spec/rope.h"

namespace moxie {
namespace {

json::Value tiny() {
  json::Value config;
  config.set("model_type", "mixtral").set("hidden_size", 64).set("num_hidden_layers", 2).set("vocab_size", 100);
  config.set("num_attention_heads", 1).set("num_key_value_heads", 1).set("intermediate_size", 32);
  return config.set("num_local_experts", 4).set("num_experts_per_tok", 2).set("rope_theta", 500000.0);
}

// What a GGUF converter writes of a rope_scaling: how much slower each frequency is than without, as f32.
ModelSpec with_factors_of(const RopeSpec& scaled) {
  ModelSpec spec = read_config(tiny(), "tiny");
  RopeSpec plain = scaled;
  plain.scaling = RopeScaling::none;
  spec.rope = plain;
  const std::vector<float> fast = rope_inverse_frequencies(plain, 0), slow = rope_inverse_frequencies(scaled, 0);
  for (size_t i = 0; i < fast.size(); ++i) spec.rope.slowdowns.push_back(fast[i] / slow[i]);
  return spec;
}

TEST(HfConfig, finds_the_rope_scaling_behind_published_factors) {
  struct Case {
    int64_t dim;
    double factor, high;
    int64_t context;
  };
  for (const Case& test : {Case{128, 8, 4, 8192}, Case{64, 32, 4, 8192}, Case{128, 16, 2, 4096}, Case{16, 8, 4, 64}}) {
    RopeSpec rope = read_config(tiny(), "tiny").rope;
    rope.dim = test.dim;
    rope.scaling = RopeScaling::llama3;
    rope.factor = test.factor;
    rope.high_freq_factor = test.high;
    rope.original_max_position = static_cast<double>(test.context);
    const json::Value config = hf_config(tiny(), with_factors_of(rope), "bfloat16", "m.gguf");
    const json::Value* scaling = config.find("rope_scaling");
    ASSERT_NE(scaling, nullptr);
    EXPECT_EQ(scaling->find("rope_type")->as_string(), "llama3");
    EXPECT_EQ(scaling->find("factor")->as_double(), test.factor);
    EXPECT_EQ(scaling->find("high_freq_factor")->as_double(), test.high) << test.dim;
    EXPECT_EQ(scaling->find("original_max_position_embeddings")->as_int(), test.context) << test.dim;
  }
}

TEST(HfConfig, factors_that_llama3_does_not_make_are_refused) {
  ModelSpec spec = read_config(tiny(), "tiny");
  spec.rope.slowdowns.assign(static_cast<size_t>(spec.rope.dim / 2), 2.0);
  spec.rope.slowdowns[3] = 5;
  try {
    hf_config(tiny(), spec, "bfloat16", "m.gguf");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("m.gguf: rope_freqs.weight"), std::string::npos) << error.what();
  }
}

TEST(HfConfig, says_what_transformers_asks_for_and_no_more_than_the_weights_are) {
  json::Value config = tiny();
  json::Value quantization, scaling;
  quantization.set("quant_method", "mxfp4");
  scaling.set("rope_type", "linear").set("factor", 2.0);
  config.set("quantization_config", quantization).set("torch_dtype", "float32").set("dtype", "float32");
  config.set("rope_scaling", scaling).set("num_nextn_predict_layers", 1);
  const json::Value made = hf_config(config, read_config(config, "tiny"), "float16", "tiny");
  EXPECT_EQ(made.find("architectures")->items().at(0).as_string(), "MixtralForCausalLM");
  EXPECT_EQ(made.find("torch_dtype")->as_string(), "float16");
  EXPECT_EQ(made.find("hidden_act")->as_string(), "silu");
  EXPECT_EQ(made.find("rope_scaling")->find("type")->as_string(), "linear");
  for (const char* key : {"quantization_config", "dtype", "num_nextn_predict_layers"}) {
    EXPECT_EQ(made.find(key), nullptr) << key;
  }
}

}  // namespace
}  // namespace moxie
