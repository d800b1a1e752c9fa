// moxie inspect as a process: its JSON, its exit codes, what it says of a directory with weights.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/child.h"
#include "store/safetensors.h"

namespace moxie::test {
namespace {

/// `model`: a path, or a name in tests/data.
Ran inspect(const std::string& model, std::vector<std::string> flags = {}) {
  flags.insert(flags.begin(), {"inspect", std::filesystem::path(repository("tests/data")) / model});
  return run(flags);
}

json::Value inspect_json(const std::string& model, std::vector<std::string> flags = {}) {
  flags.push_back("--json");
  const Ran outcome = inspect(model, flags);
  EXPECT_EQ(outcome.exit_code, 0) << model;
  return json_of(outcome);
}

TEST(Inspect, needs_no_weights) {
  const json::Value root = inspect_json("configs/Mixtral-8x7B-v0.1.json", {"--bandwidth", "100", "--context", "1000"});
  EXPECT_EQ(at(root, {"schema_version"}).as_int(), 1);
  EXPECT_EQ(at(root, {"parameters", "total"}).as_int(), 46'702'792'704);
  EXPECT_EQ(at(root, {"parameters", "active", "full"}).as_int(), 12'879'925'248);
  EXPECT_EQ(at(root, {"ffn"}).items().size(), 1u);
  EXPECT_EQ(at(root, {"costs", "kv_cache", "bytes_per_token_bf16"}).as_int(), 131072);
  EXPECT_EQ(at(root, {"costs", "decode", "bandwidth_source"}).as_string(), "given");
  const double bytes = 2.0 * (12'748'853'248 + 4096) + 131072.0 * 1000;
  EXPECT_NEAR(at(root, {"costs", "decode", "max_tokens_per_second"}).as_double(), 100e9 / bytes, 1e-6);
  EXPECT_TRUE(at(root, {"files"}).is_null());
}

TEST(Inspect, counts_the_cache_in_the_format_it_is_asked_for) {
  const std::pair<std::string, int64_t> bytes[] = {{"f32", 262144}, {"f16", 131072}, {"bf16", 131072}, {"q8", 69632}};
  for (const auto& [format, expected] : bytes) {
    const json::Value root =
        inspect_json("configs/Mixtral-8x7B-v0.1.json", {"--bandwidth", "100", "--context", "1000", "--kv", format});
    EXPECT_EQ(at(root, {"costs", "kv_cache", "format"}).as_string(), format);
    EXPECT_EQ(at(root, {"costs", "kv_cache", "bytes_per_token"}).as_int(), expected);
    EXPECT_EQ(at(root, {"costs", "kv_cache", "bytes_at_context"}).as_int(), expected * 1000);
    EXPECT_EQ(at(root, {"costs", "decode", "kv_bytes_per_step"}).as_int(), expected * 1000);
  }
  EXPECT_EQ(inspect("configs/Mixtral-8x7B-v0.1.json", {"--kv", "q5", "--bandwidth", "1"}).exit_code, 2);
}

TEST(Inspect, counts_the_bytes_of_a_directory) {
  const json::Value root = inspect_json("golden/qwen3_moe", {"--bandwidth", "10"});
  EXPECT_EQ(at(root, {"files", "bytes"}).as_int(), at(root, {"bytes", "total"}).as_int());
  EXPECT_EQ(at(root, {"files", "bytes_by_format", "f32"}).as_int(), 736512);
}

TEST(Inspect, measures_the_bandwidth_it_is_not_given) {
  const json::Value root = inspect_json("golden/qwen3_moe");
  EXPECT_EQ(at(root, {"costs", "decode", "bandwidth_source"}).as_string().find("measured here with "), 0u);
  EXPECT_GT(at(root, {"costs", "decode", "bandwidth_bytes_per_second"}).as_int(), 100'000'000);
}

TEST(Inspect, speaks_to_people_without_json) {
  const Ran outcome = inspect("configs/DeepSeek-V3.json", {"--bandwidth", "100"});
  EXPECT_EQ(outcome.exit_code, 0);
  for (const char* text : {"671 B (671026419200)", "36.6 B (36625618432) without the input embedding",
                           "256 experts 2048 wide, top-8", "mla: 128 heads", "routed_experts", "100.0 GB/s (given)"}) {
    EXPECT_NE(outcome.out.find(text), std::string::npos) << text;
  }
}

TEST(Inspect, refuses_with_the_exit_code_of_the_fault) {
  const Ran unknown = inspect("configs/JetMoE-8B.json");
  EXPECT_EQ(unknown.exit_code, 3);
  EXPECT_NE(unknown.err.find("expected one of deepseek_v2"), std::string::npos);
  EXPECT_EQ(inspect("no-such-model").exit_code, 3);
  EXPECT_EQ(inspect("configs/Mixtral-8x7B-v0.1.json", {"--context", "40000", "--bandwidth", "1"}).exit_code, 2);
  EXPECT_EQ(inspect("configs/Mixtral-8x7B-v0.1.json", {"--batch", "0", "--bandwidth", "1"}).exit_code, 2);
}

TEST(Inspect, strict_names_the_tensor_that_is_not_finite) {
  const std::filesystem::path golden = std::filesystem::path(MOXIE_SOURCE_DIR) / "tests/data/golden/llama";
  const std::filesystem::path dir = std::filesystem::path(testing::TempDir()) / "not_finite";
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  std::filesystem::copy_file(golden / "config.json", dir / "config.json");
  const Checkpoint checkpoint = Checkpoint::open(golden);
  std::vector<NamedView> tensors;
  for (const TensorEntry& entry : checkpoint.entries()) tensors.push_back({entry.name, entry.tensor.view});
  const View& norm = checkpoint.find("model.norm.weight")->view;
  std::vector<float> damaged(norm.f32(), norm.f32() + norm.shape.num_elems());
  damaged[3] = NAN;
  for (NamedView& tensor : tensors) {
    if (tensor.name == "model.norm.weight") tensor.view.data = damaged.data();
  }
  write_safetensors(dir / "model.safetensors", tensors);

  EXPECT_EQ(inspect(dir, {"--bandwidth", "10"}).exit_code, 0);
  const Ran refused = inspect(dir, {"--bandwidth", "10", "--strict"});
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_NE(refused.err.find("model.norm.weight"), std::string::npos) << refused.err;
}

}  // namespace
}  // namespace moxie::test
