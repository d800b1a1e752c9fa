// Upcycled models against the dense ones they come from: the function, the files, and what is refused.
#include "train/upcycle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "base/file.h"
#include "format/codec.h"
#include "model/runner.h"
#include "plan/accounting.h"
#include "train/scratch_directory.h"
#include "train/support.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

fs::path golden(const std::string& name) {
  return fs::path(MOXIE_SOURCE_DIR) / "tests/data/golden" / name;
}

const auto kQuiet = [](double) {};

std::vector<float> logits_of(const fs::path& directory, int64_t length = 48) {
  const Model model = Model::load(directory);
  Runner runner(model);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < length; ++i) ids.push_back(static_cast<int32_t>((i * 37 + 11) % model.spec().vocab_size));
  const std::vector<int32_t> pages = runner.pages(2);
  const StepSequence sequence{.tokens = ids, .pages = pages, .num_logits = length};
  return runner.step({&sequence, 1}, {});
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  float most = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const float difference = std::fabs(a[i] - b[i]);
    if (!(difference <= most)) most = difference;
  }
  return most;
}

class Upcycle : public testing::TestWithParam<const char*> {};

TEST_P(Upcycle, starts_as_the_same_function) {
  const std::vector<float> dense = logits_of(golden(GetParam()));
  TempFolder folder;
  for (const int64_t top_k : {1, 2}) {
    const fs::path out = folder.path() / std::to_string(top_k);
    const UpcycleResult result = upcycle(golden(GetParam()), out, {.shape = {.experts = 4, .top_k = top_k}}, kQuiet);
    EXPECT_LE(largest_difference(logits_of(out), dense), 1e-5f) << "top-" << top_k;
    const Model model = Model::load(out);
    EXPECT_EQ(result.moe_layers, model.spec().num_layers);
    EXPECT_EQ(result.total_parameters, count_parameters(model.spec()).total());
    EXPECT_EQ(result.bytes, model.checkpoint().total_bytes());
    for (const LayerSpec& layer : model.spec().layers) {
      EXPECT_TRUE(layer.ffn.routed && layer.ffn.num_experts == 4 && layer.ffn.top_k == top_k);
      EXPECT_TRUE(layer.ffn.norm_topk_prob);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Upcycle, testing::Values("llama", "mistral", "qwen2", "qwen3", "llama3-rope"),
                         [](const auto& family) {
                           std::string name = family.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(UpcycleFiles, every_other_layer_can_stay_dense_where_the_family_has_dense_layers) {
  TempFolder folder;
  const fs::path out = folder.path() / "moe";
  EXPECT_EQ(upcycle(golden("qwen3"), out, {.shape = {.every = 2}}, kQuiet).moe_layers, 2);
  const Model model = Model::load(out);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(model.spec().layers[i].ffn.is_dense(), i % 2 == 0);
  EXPECT_LE(largest_difference(logits_of(out), logits_of(golden("qwen3"))), 1e-5f);
  EXPECT_NE(error_text([&] {
              upcycle(golden("llama"), folder.path() / "other", {.shape = {.every = 2}}, kQuiet);
            }).find("all layers are routed"),
            std::string::npos);
}

TEST(UpcycleFiles, shards_hold_the_same_tensors_as_one_file) {
  TempFolder folder;
  const fs::path one = folder.path() / "one", many = folder.path() / "many";
  EXPECT_EQ(upcycle(golden("llama"), one, {}, kQuiet).files, 1);
  const UpcycleResult result = upcycle(golden("llama"), many, {.shard_bytes = 100'000}, kQuiet);
  EXPECT_GT(result.files, 5);
  EXPECT_TRUE(fs::exists(many / "model.safetensors.index.json"));
  const Checkpoint a = Checkpoint::open(one), b = Checkpoint::open(many);
  ASSERT_EQ(a.entries().size(), b.entries().size());
  for (size_t i = 0; i < a.entries().size(); ++i) {
    const View &x = a.entries()[i].tensor.view, &y = b.entries()[i].tensor.view;
    EXPECT_EQ(a.entries()[i].name, b.entries()[i].name);
    EXPECT_EQ(std::memcmp(x.data, y.data, static_cast<size_t>(x.num_bytes())), 0);
  }
}

TEST(UpcycleFiles, noise_has_the_asked_deviation_and_differs_between_experts) {
  TempFolder folder;
  const fs::path out = folder.path() / "moe", again = folder.path() / "again";
  upcycle(golden("llama"), out, {.noise = 0.5, .seed = 3}, kQuiet);
  upcycle(golden("llama"), again, {.noise = 0.5, .seed = 3}, kQuiet);
  const Checkpoint dense = Checkpoint::open(golden("llama")), moe = Checkpoint::open(out);
  const View from = dense.find("model.layers.1.mlp.up_proj.weight")->view;
  const auto n = from.shape.num_elems();
  double mean = 0, variance = 0;
  for (int64_t i = 0; i < n; ++i) mean += from.f32()[i] / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) variance += std::pow(from.f32()[i] - mean, 2) / static_cast<double>(n);
  std::set<float> firsts;
  for (int e = 0; e < 8; ++e) {
    const View to = moe.find(fmt::format("model.layers.1.block_sparse_moe.experts.{}.w3.weight", e))->view;
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += std::pow(to.f32()[i] - from.f32()[i], 2) / static_cast<double>(n);
    EXPECT_NEAR(std::sqrt(squares / variance), 0.5, 0.05);
    firsts.insert(to.f32()[0]);
  }
  EXPECT_EQ(firsts.size(), 8u);
  EXPECT_EQ(read_file(out / "model.safetensors", 1 << 24), read_file(again / "model.safetensors", 1 << 24));
}

TEST(UpcycleFiles, routers_start_small_and_random) {
  TempFolder folder;
  upcycle(golden("qwen2"), folder.path() / "moe", {}, kQuiet);
  const Checkpoint moe = Checkpoint::open(folder.path() / "moe");
  const View router = moe.find("model.layers.0.mlp.gate.weight")->view;
  double squares = 0;
  for (int64_t i = 0; i < 256; ++i) squares += std::pow(router.f32()[i], 2) / 256;
  EXPECT_NEAR(std::sqrt(squares), 0.02, 0.004);
}

TEST(UpcycleFiles, unknown_keys_and_text_files_go_along) {
  TempFolder folder;
  const fs::path dense = folder.path() / "dense";
  fs::create_directory(dense);
  fs::copy_file(golden("mistral") / "model.safetensors", dense / "model.safetensors");
  std::string config = read_file(golden("mistral") / "config.json", 1 << 20);
  config.insert(1, "\"my_own_key\": {\"a\": [1, 2.5]},");
  folder.write("dense/config.json", config);
  folder.write("dense/tokenizer.json", "{}");
  folder.write("dense/generation_config.json", "{\"temperature\": 0.5}");
  folder.write("dense/optimizer.bin", "not for the new model");
  upcycle(dense, folder.path() / "moe", {}, kQuiet);
  const json::Value out = json::parse(read_file(folder.path() / "moe/config.json", 1 << 20), {});
  EXPECT_EQ(out.find("my_own_key")->dump(), "{\"a\": [1, 2.5]}");
  EXPECT_EQ(out.find("model_type")->as_string(), "mixtral");
  EXPECT_EQ(out.find("architectures")->dump(), "[\"MixtralForCausalLM\"]");
  EXPECT_EQ(out.find("sliding_window")->as_int(), 7);
  EXPECT_EQ(read_file(folder.path() / "moe/tokenizer.json", 100), "{}");
  EXPECT_TRUE(fs::exists(folder.path() / "moe/generation_config.json"));
  EXPECT_FALSE(fs::exists(folder.path() / "moe/optimizer.bin"));
}

// ---- refusals ----

void expect_refusal(const fs::path& dense, const UpcycleOptions& options, std::initializer_list<std::string_view> parts,
                    ErrorCode code = ErrorCode::invalid) {
  test::ScratchDirectory folder;
  try {
    upcycle(dense, folder.path() / "moe", options, kQuiet);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.text();
    for (const std::string_view part : parts) {
      EXPECT_NE(error.text().find(part), std::string::npos) << part << " in: " << error.text();
    }
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(UpcycleRefuses, a_model_with_experts) {
  expect_refusal(golden("mixtral"), {}, {"a dense model", "mixtral"});
}

TEST(UpcycleRefuses, shapes_that_no_router_can_have) {
  expect_refusal(golden("llama"), {.shape = {.experts = 2, .top_k = 3}}, {"3 of 2 experts"}, ErrorCode::usage);
  expect_refusal(golden("qwen3"), {.shape = {.every = 5}}, {"1 to 4"}, ErrorCode::usage);
  expect_refusal(golden("qwen3"), {.noise = -1}, {"noise"}, ErrorCode::usage);
}

TEST(UpcycleRefuses, a_directory_without_a_model) {
  expect_refusal(golden("none"), {}, {"config.json"});
}

TEST(UpcycleRefuses, to_write_where_something_stands) {
  TempFolder folder;
  const std::string file = folder.write("moe", "mine");
  EXPECT_NE(error_text([&] { upcycle(golden("llama"), file, {}, kQuiet); }).find("exists already"), std::string::npos);
  EXPECT_EQ(read_file(file, 10), "mine");
}

// What the new family would read otherwise, or not at all.
TEST(UpcycleRefuses, what_the_family_with_experts_cannot_express) {
  const struct {
    const char *family, *before, *after, *says;
  } cases[] = {
      {"llama", "\"attention_bias\": false", "\"attention_bias\": true", "attention biases"},
      {"llama", "\"mlp_bias\": false", "\"mlp_bias\": true", "mlp_bias"},
  };
  for (const auto& c : cases) {
    TempFolder folder;
    std::string config = read_file(golden(c.family) / "config.json", 1 << 20);
    config.replace(config.find(c.before), std::strlen(c.before), c.after);
    folder.write("config.json", config);
    fs::copy_file(golden(c.family) / "model.safetensors", folder.path() / "model.safetensors");
    expect_refusal(folder.path(), {}, {"config.json", c.says});
  }
  TempFolder folder;  // windows layer by layer
  std::string config = read_file(golden("qwen3") / "config.json", 1 << 20);
  for (const auto& [before, after] :
       {std::pair<std::string, std::string>{"\"use_sliding_window\": false", "\"use_sliding_window\": true"},
        {"\"sliding_window\": null", "\"sliding_window\": 8"},
        {"\"full_attention\"", "\"sliding_attention\""}}) {
    config.replace(config.find(before), before.size(), after);
  }
  folder.write("config.json", config);
  fs::copy_file(golden("qwen3") / "model.safetensors", folder.path() / "model.safetensors");
  expect_refusal(folder.path(), {}, {"one attention window"});
}

// ---- the codec that noise on f16 models needs ----

TEST(HalfCodec, encodes_what_it_decodes_and_rounds_to_even) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = f16_to_f32(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value))));
      continue;
    }
    EXPECT_EQ(f32_to_f16(value), bits);
    const float next = f16_to_f32(static_cast<uint16_t>(bits + 1));
    if ((bits & 0x7fff) >= 0x7bff) continue;  // the next one is no number
    const float middle = value + (next - value) / 2;
    EXPECT_EQ(f32_to_f16(middle), bits + (bits & 1)) << bits;
    EXPECT_EQ(f32_to_f16(std::nextafter(middle, value)), bits) << bits;
    EXPECT_EQ(f32_to_f16(std::nextafter(middle, next)), bits + 1) << bits;
  }
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(1e-10f), 0);
}

}  // namespace
}  // namespace moxie
