// Accounting against published totals, an independent table of 35 models, and the tensors of real files.
#include "plan/accounting.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <sstream>

#include "base/file.h"
#include "base/json.h"
#include "spec/config.h"

namespace moxie {
namespace {

const std::filesystem::path kData = std::filesystem::path(MOXIE_SOURCE_DIR) / "tests/data";

ModelSpec real(const std::string& name) {
  return load_config(kData / "configs" / (name + ".json"));
}

int64_t total(const ModelSpec& spec) {
  return count_parameters(spec).total();
}

// The rows of moe_models.csv for which a config of a known family exists.
const std::map<std::string, std::string> kConfigOf = {
    {"Mixtral-8x7B", "Mixtral-8x7B-v0.1"},
    {"Mixtral-8x22B", "Mixtral-8x22B-v0.1"},
    {"DeepSeek-V2-Lite", "DeepSeek-V2-Lite"},
    {"DeepSeek-V3", "DeepSeek-V3"},
    {"Kimi-K2", "Kimi-K2-Instruct"},
    {"Qwen1.5-MoE-A2.7B", "Qwen1.5-MoE-A2.7B"},
    {"Qwen2-57B-A14B", "Qwen2-57B-A14B"},
    {"Qwen3-30B-A3B", "Qwen3-30B-A3B"},
    {"Qwen3-235B-A22B", "Qwen3-235B-A22B"},
    {"Qwen3-Coder-480B-A35B", "Qwen3-Coder-480B-A35B-Instruct"},
    {"OLMoE-1B-7B", "OLMoE-1B-7B-0125"},
    {"Phi-3.5-MoE", "Phi-3.5-MoE"},
    {"GLM-4.5", "GLM-4.5.from-numbers"},
    {"GLM-4.5-Air", "GLM-4.5-Air.from-numbers"},
    {"gpt-oss-20b", "gpt-oss-20b"},
    {"gpt-oss-120b", "gpt-oss-120b"},
    {"Granite-3.0-1B-A400M", "granite-3.1-1b-a400m-instruct"},
    {"Granite-3.0-3B-A800M", "PowerMoE-3B"},
};

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream text(line);
  for (std::string cell; std::getline(text, cell, ',');) cells.push_back(cell);
  return cells;
}

// Rows as column -> cell. The numbers all stand before the first quoted cell of a row.
std::vector<std::map<std::string, std::string>> read_csv(const std::filesystem::path& path) {
  std::istringstream text(read_file(path, 1 << 20));
  std::string line;
  std::getline(text, line);
  const std::vector<std::string> header = split(line);
  std::vector<std::map<std::string, std::string>> rows;
  while (std::getline(text, line)) {
    const std::vector<std::string> cells = split(line);
    auto& row = rows.emplace_back();
    for (size_t i = 0; i < std::min(cells.size(), header.size()); ++i) row[header[i]] = cells[i];
  }
  return rows;
}

TEST(Accounting, equals_the_table_of_models_exactly) {
  size_t compared = 0;
  for (auto& row : read_csv(kData / "configs/moe_models.csv")) {
    const auto config = kConfigOf.find(row["model"]);
    if (config == kConfigOf.end()) continue;
    ModelSpec spec = real(config->second);
    spec.vocab_size = std::stoll(row["vocab"]);  // Granite 3.1 has three tokens more than the 3.0 of the table
    const ActiveParameters active = active_parameters(spec);
    EXPECT_EQ(total(spec), std::stoll(row["calc_total_params"])) << row["model"];
    EXPECT_EQ(active.full, std::stoll(row["calc_active_full"])) << row["model"];
    EXPECT_EQ(active.without_input_embedding, std::stoll(row["calc_active_minus_input_embedding"])) << row["model"];
    EXPECT_EQ(active.without_embeddings, std::stoll(row["calc_active_minus_both_embeddings"])) << row["model"];
    EXPECT_EQ(kv_bytes_per_token(spec, FormatId::bf16), std::stoll(row["kv_bytes_per_token_bf16"])) << row["model"];
    const double published = std::stod(row["published_total_B"]) * 1e9;
    const double error = std::abs(static_cast<double>(total(spec)) / published - 1);
    const bool explained = row["model"] == "Kimi-K2" || row["model"] == "Granite-3.0-1B-A400M";
    EXPECT_LT(error, explained ? 0.027 : 0.01) << row["model"];
    ++compared;
  }
  EXPECT_EQ(compared, kConfigOf.size());
}

TEST(Accounting, equals_published_counts) {
  EXPECT_EQ(total(real("Mixtral-8x7B-v0.1")), 46'702'792'704);
  EXPECT_EQ(total(real("DeepSeek-V3")), 671'026'419'200);
  EXPECT_NEAR(static_cast<double>(total(real("OLMoE-1B-7B-0125"))), 6.919e9, 5e5);
  EXPECT_NEAR(static_cast<double>(total(real("gpt-oss-120b"))), 116.829e9, 5e5);
  EXPECT_NEAR(static_cast<double>(active_parameters(real("gpt-oss-120b")).without_input_embedding), 5.133e9, 5e5);
  EXPECT_NEAR(static_cast<double>(total(real("gpt-oss-20b"))), 20.915e9, 5e5);
  EXPECT_NEAR(static_cast<double>(active_parameters(real("gpt-oss-20b")).without_input_embedding), 3.608e9, 5e5);
  EXPECT_EQ(total(real("Meta-Llama-3.1-8B")), 8'030'261'248);
  EXPECT_EQ(total(real("Qwen3-0.6B")), 596'049'920);
}

// Another group's counts, to two decimals of a billion.
TEST(Accounting, equals_the_counts_of_moe_lrc) {
  const std::map<std::string, std::string> config_of = {
      {"powermoe", "PowerMoE-3B"},       {"olmoe", "OLMoE-1B-7B-0125"}, {"qwen", "Qwen1.5-MoE-A2.7B"},
      {"deepseek2", "DeepSeek-V2-Lite"}, {"qwen3", "Qwen3-30B-A3B"},    {"phi", "Phi-3.5-MoE"},
      {"mixtral", "Mixtral-8x7B-v0.1"},  {"qwen2", "Qwen2-57B-A14B"}};
  std::istringstream text(read_file(kData / "configs/param_counts.moe-lrc.jsonl", 1 << 20));
  size_t compared = 0;
  for (std::string line; std::getline(text, line);) {
    const json::Value row = json::parse(line, {});
    const auto config = config_of.find(row.find("key")->as_string());
    if (config == config_of.end()) continue;
    const ModelSpec spec = real(config->second);
    EXPECT_NEAR(static_cast<double>(total(spec)) / 1e9, row.find("num_params")->as_double(), 0.00501) << line;
    EXPECT_EQ(spec.layers.back().ffn.num_experts, row.find("num_experts")->as_int());
    EXPECT_EQ(spec.layers.back().ffn.top_k, row.find("top_k")->as_int());
    ++compared;
  }
  EXPECT_EQ(compared, config_of.size());
}

// Elements and bytes of a safetensors file, by its header alone.
struct FileCount {
  int64_t elements = 0, bytes = 0;
};

// Without the head of a tied model, which transformers 4.57 may still write.
FileCount count_file(const std::filesystem::path& path, bool tied) {
  const std::string file = read_file(path, size_t{64} << 20);
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  FileCount count;
  const json::Value header = json::parse(std::string_view(file).substr(8, length), {});
  for (const json::Member& tensor : header.members()) {
    if (tensor.key == "__metadata__") continue;
    if (tied && tensor.key == "lm_head.weight") continue;
    int64_t elements = 1;
    for (const json::Value& dim : tensor.value.find("shape")->items()) elements *= *dim.as_int();
    const json::Array& range = tensor.value.find("data_offsets")->items();
    count.elements += elements;
    count.bytes += *range[1].as_int() - *range[0].as_int();
  }
  return count;
}

TEST(Accounting, equals_the_tensors_of_every_golden) {
  int compared = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kData / "golden")) {
    const ModelSpec spec = load_config(entry.path());
    const FileCount file = count_file(entry.path() / "model.safetensors", spec.tie_word_embeddings);
    EXPECT_EQ(total(spec), file.elements) << entry.path();
    EXPECT_EQ(part_bytes(spec, stored_formats(spec)).total(), file.bytes) << entry.path();
    ++compared;
  }
  EXPECT_EQ(compared, 19);
}

TEST(Accounting, equals_the_bytes_of_mxfp4_and_bf16_files) {
  for (const char* name : {"gpt_oss-mxfp4", "mixtral-bf16", "mixtral-f16"}) {
    const std::filesystem::path directory = kData / "golden-layouts" / name;
    const ModelSpec spec = load_config(directory);
    EXPECT_EQ(part_bytes(spec, stored_formats(spec)).total(),
              count_file(directory / "model.safetensors", spec.tie_word_embeddings).bytes)
        << name;
  }
}

// The released checkpoints have 60.8 and 12.8 GiB.
TEST(Accounting, predicts_the_size_of_released_mxfp4_checkpoints) {
  const auto gib = [](const char* name) {
    const ModelSpec spec = real(name);
    return static_cast<double>(part_bytes(spec, stored_formats(spec)).total()) / (1 << 30);
  };
  EXPECT_NEAR(gib("gpt-oss-120b"), 60.8, 0.05);
  EXPECT_NEAR(gib("gpt-oss-20b"), 12.8, 0.05);
}

TEST(Accounting, parts_add_up_and_experts_dominate) {
  const ModelSpec spec = real("Mixtral-8x7B-v0.1");
  const PartCounts parts = count_parameters(spec);
  EXPECT_EQ(parts[Part::embedding], 32000 * 4096);
  EXPECT_EQ(parts[Part::router], 32 * 8 * 4096);
  EXPECT_EQ(parts[Part::routed_experts], int64_t{32} * 8 * 3 * 4096 * 14336);
  EXPECT_EQ(parts[Part::shared_experts] + parts[Part::dense_ffn], 0);
  EXPECT_EQ(parts[Part::norms], 65 * 4096);
  EXPECT_NEAR(static_cast<double>(parts[Part::routed_experts]) / static_cast<double>(parts.total()), 0.966, 5e-4);
  EXPECT_EQ(expert_bytes(spec, spec.layers[0].ffn, all_in(FormatId::bf16)), 3 * 4096 * 14336 * 2);
}

TEST(Accounting, a_window_caps_the_cache_and_the_attention) {
  const ModelSpec spec = real("gpt-oss-20b");
  const double layer = 2 * 8 * 64 * 4;
  EXPECT_EQ(kv_cache_bytes(spec, 100, FormatId::f32), 24 * 100 * layer);
  EXPECT_EQ(kv_cache_bytes(spec, 1000, FormatId::f32), (12 * 128 + 12 * 1000) * layer);
  EXPECT_EQ(forward_flops(spec, 1000).attention, 4.0 * (12 * 128 + 12 * 1000) * 64 * 64);
  EXPECT_EQ(forward_flops(spec, 1000).matmul, 2.0 * 3'608'307'264);
}

TEST(Accounting, latent_attention_caches_the_latent_once) {
  EXPECT_EQ(kv_bytes_per_token(real("DeepSeek-V3"), FormatId::bf16), 70272);
  EXPECT_EQ(kv_bytes_per_token(real("DeepSeek-V3"), FormatId::q8_0), 70272 / 2 * 34 / 32);
}

TEST(Accounting, training_counts_all_experts) {
  const ModelSpec spec = real("Mixtral-8x7B-v0.1");
  EXPECT_EQ(training_bytes(spec).mixed, 16 * 46'702'792'704.0);
  EXPECT_EQ(training_bytes(spec).mixed_f32_grads, 18 * 46'702'792'704.0);
}

TEST(Accounting, distinct_experts_grow_from_k_to_all) {
  const MoeSpec ffn = {.routed = true, .num_experts = 8, .top_k = 2};
  EXPECT_DOUBLE_EQ(expected_distinct_experts(ffn, 1), 2);
  EXPECT_DOUBLE_EQ(expected_distinct_experts(ffn, 2), 3.5);
  EXPECT_NEAR(expected_distinct_experts(ffn, 1000), 8, 1e-9);
}

TEST(Accounting, decode_reads_the_active_weights_and_the_cache) {
  const ModelSpec spec = real("Mixtral-8x7B-v0.1");
  const DecodeStep one = decode_step(spec, all_in(FormatId::bf16), 1, 1000, FormatId::bf16);
  // Everything active but the embedding, of which one row is read.
  EXPECT_DOUBLE_EQ(one.weight_bytes, 2.0 * (12'748'853'248 + 4096));
  EXPECT_EQ(one.kv_bytes, 131072.0 * 1000);
  EXPECT_DOUBLE_EQ(one.max_tokens_per_second(one.bytes_per_token() * 3), 3);
  const DecodeStep many = decode_step(spec, all_in(FormatId::bf16), 4, 1000, FormatId::bf16);
  EXPECT_LT(many.bytes_per_token(), one.bytes_per_token());
  EXPECT_GT(many.weight_bytes, one.weight_bytes);
}

}  // namespace
}  // namespace moxie
