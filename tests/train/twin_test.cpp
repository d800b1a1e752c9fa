// The dense twin of every MoE family: equal active parameters, and everything else as it was.
#include <gtest/gtest.h>

#include "base/file.h"
#include "plan/accounting.h"
#include "spec/config.h"
#include "support.h"
#include "train/config.h"

namespace moxie {
namespace {

TrainConfig config_of(const std::string& text) {
  TrainConfig config;
  config.model = json::parse(text, {.source = "model"});
  config.spec = parse_config(text, "model");
  config.data.domains = {{.name = "a", .paths = {"/a.txt"}}};
  return config;
}

TrainConfig golden(const std::string& name) {
  return config_of(read_file(MOXIE_SOURCE_DIR "/tests/data/golden/" + name + "/config.json", 1 << 20));
}

// The golden configuration with another value of some keys.
TrainConfig changed(const std::string& name, const std::vector<std::pair<std::string, json::Value>>& values) {
  const TrainConfig config = golden(name);
  json::Object members = config.model.members();
  for (const auto& [key, value] : values) {
    std::erase_if(members, [&](const json::Member& member) { return member.key == key; });
    members.push_back({key, value});
  }
  return config_of(json::Value(members).dump());
}

int64_t router_and_bias_parameters(const ModelSpec& spec) {
  return count_active_parameters(spec)[Part::router];
}

void expect_twin(const TrainConfig& config, const std::string& family) {
  const TrainConfig twin = dense_twin(config);
  const ModelSpec &spec = config.spec, &dense = twin.spec;
  EXPECT_EQ(dense.family, family);
  EXPECT_EQ(dense.hidden_size, spec.hidden_size);
  EXPECT_EQ(dense.vocab_size, spec.vocab_size);
  EXPECT_EQ(dense.max_position, spec.max_position);
  EXPECT_EQ(dense.norm_eps, spec.norm_eps);
  EXPECT_EQ(dense.rope.theta, spec.rope.theta);
  EXPECT_EQ(dense.rope.dim, spec.rope.dim);
  EXPECT_EQ(dense.rope.scaling, spec.rope.scaling);
  EXPECT_EQ(dense.attention.scale, spec.attention.scale);
  const PartCounts before = count_active_parameters(spec), after = count_active_parameters(dense);
  EXPECT_EQ(after[Part::attention], before[Part::attention]);
  EXPECT_EQ(after[Part::norms], before[Part::norms]);
  ASSERT_EQ(dense.layers.size(), spec.layers.size());
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const MoeSpec &was = spec.layers[i].ffn, &is = dense.layers[i].ffn;
    EXPECT_EQ(is.num_experts, 1);
    EXPECT_EQ(dense.layers[i].window, spec.layers[i].window);
    EXPECT_EQ(is.activation, was.activation);
    EXPECT_EQ(is.moe_intermediate_size + is.shared_intermediate_size,
              was.top_k * was.moe_intermediate_size + was.shared_intermediate_size);
  }
  // The routers, a shared expert's gate (H a layer) and biases of all experts but one are all that went.
  const int64_t gone = before.total() - after.total();
  const int64_t biases =
      spec.layers[0].ffn.expert_bias ? spec.num_layers * spec.layers[0].ffn.top_k * spec.hidden_size : 0;
  EXPECT_GE(gone, 0);
  EXPECT_LE(gone, router_and_bias_parameters(spec) + spec.num_layers * spec.hidden_size + biases);
}

TEST(Twin, has_the_active_parameters_of_every_family) {
  expect_twin(changed("qwen3_moe", {{"mlp_only_layers", json::Array{}}}), "qwen3");
  expect_twin(changed("qwen2_moe", {{"mlp_only_layers", json::Array{}}}), "qwen2");
  expect_twin(golden("mixtral"), "mistral");
  expect_twin(golden("mixtral-swa"), "mistral");
  expect_twin(golden("olmoe"), "olmoe");
  expect_twin(golden("granitemoe"), "granitemoe");
  expect_twin(golden("gpt_oss"), "gpt_oss");
  for (const char* family : {"deepseek_v2", "deepseek_v3", "glm4_moe"}) {
    expect_twin(changed(family, {{"first_k_dense_replace", 0}}), family);
  }
}

TEST(Twin, keeps_dense_layers_of_another_width) {
  for (const char* family : {"qwen3_moe", "qwen2_moe", "deepseek_v2", "deepseek_v2-group", "deepseek_v3", "glm4_moe"}) {
    const TrainConfig config = changed(family, {{"intermediate_size", 100}, {"mlp_only_layers", json::Array{1}}});
    expect_twin(config, config.spec.family);
  }
}

TEST(Twin, has_dense_layers_only_where_the_family_can) {
  const TrainConfig twin = dense_twin(changed("deepseek_v3", {{"first_k_dense_replace", 0}}));
  for (const LayerSpec& layer : twin.spec.layers) EXPECT_TRUE(layer.ffn.is_dense());
}

TEST(Twin, trains_as_its_model_without_router_and_balance) {
  TrainConfig config = golden("mixtral");
  config.train.steps = 77;
  config.train.seq_len = 64;
  config.train.out = "/runs/a";
  config.train.init_from = "/models/a";
  config.aux.coef = 0.1f;
  config.router.noise = RouterNoise::jitter;
  const TrainConfig twin = dense_twin(config);
  EXPECT_EQ(twin.train.steps, 77);
  EXPECT_EQ(twin.train.out, "/runs/a-dense");
  EXPECT_EQ(twin.train.init_from, "");
  EXPECT_EQ(twin.aux.coef, 0);
  EXPECT_EQ(twin.router.noise, RouterNoise::none);
  EXPECT_EQ(twin.data.domains[0].paths, config.data.domains[0].paths);
  TempFolder folder;
  const TrainConfig again = load_train_config(folder.write("twin.toml", to_toml(twin)), {});
  EXPECT_EQ(to_toml(again), to_toml(twin));
}

TEST(Twin, refuses_what_has_none) {
  EXPECT_CONTAINS(error_text([] { dense_twin(golden("qwen3")); }), "its own twin");
  EXPECT_CONTAINS(error_text([] { dense_twin(golden("phimoe")); }), "phimoe");
}

TEST(Twin, says_the_sizes_of_both) {
  const TrainConfig config = config_of(read_file(MOXIE_SOURCE_DIR "/models/moe-7m/config.json", 1 << 20));
  const TwinSizes sizes = twin_sizes(config.spec, dense_twin(config).spec);
  EXPECT_EQ(sizes.total, 7'534'528);  // as its README counts
  EXPECT_EQ(sizes.total - sizes.active, 4 * 14 * 3 * 192 * 192);
  EXPECT_EQ(sizes.active - sizes.dense_active, 4 * 16 * 192);
  EXPECT_EQ(sizes.dense_total, sizes.dense_active);
  EXPECT_CONTAINS(sizes.text(), "MoE 7,534,528 parameters");
}

}  // namespace
}  // namespace moxie
