// A model exported as a Hugging Face directory computes what its source computes, in every family and layout.
#include "quantize/hf_export.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "format/codec.h"
#include "model/fp8_of.h"
#include "model/gguf_of.h"
#include "model/runner.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

fs::path data_dir(const std::string& name) {
  return fs::path(MOXIE_SOURCE_DIR) / "tests/data" / name;
}
fs::path golden_dir(const std::string& name) {
  return data_dir("golden/" + name);
}

// A path at which nothing stands.
fs::path fresh(const std::string& name) {
  const fs::path path = fs::path(testing::TempDir()) / ("moxie_hf_" + name);
  fs::remove_all(path);
  return path;
}

std::vector<float> logits_of(const fs::path& path, const KernelSet& kernels = choose_kernel_set()) {
  const Model model = Model::load(path);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 48; ++i) ids.push_back(i * 37 % 256);
  Runner runner(model, 2, kernels);
  const std::vector<int32_t> pages = runner.pages(1);
  const StepSequence sequence{.tokens = ids, .pages = pages, .num_logits = static_cast<int64_t>(ids.size())};
  return runner.step({&sequence, 1}, {});
}

HfExportResult export_to(const fs::path& from, const fs::path& to, FormatId format) {
  return export_hf(ModelSource::open(from), to, {.format = format});
}

std::set<std::string> names_in(const fs::path& directory) {
  std::set<std::string> names;
  const Checkpoint checkpoint = Checkpoint::open(directory);
  for (const TensorEntry& entry : checkpoint.entries()) names.insert(entry.name);
  return names;
}

std::string error_text(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.text();
  }
  return "";
}

// ---- every family ----

class HfExport : public testing::TestWithParam<const char*> {};

TEST_P(HfExport, of_a_gguf_file_gives_back_the_directory_it_was_made_of) {
  const std::string name = GetParam();
  const fs::path gguf = fresh(name + ".gguf"), out = fresh(name);
  GgufOf(golden_dir(name)).write(gguf);
  const HfExportResult result = export_to(gguf, out, FormatId::f32);
  EXPECT_EQ(logits_of(out), logits_of(golden_dir(name)));
  std::set<std::string> want = names_in(golden_dir(name));
  const ModelSpec spec = ModelSource::open(out).spec();
  if (spec.tie_word_embeddings) want.erase("lm_head.weight");
  EXPECT_EQ(names_in(out), want);
  EXPECT_EQ(result.family, spec.family);
  const json::Value config = ModelSource::open(out).config(), original = ModelSource::open(golden_dir(name)).config();
  EXPECT_EQ(config.find("architectures")->dump(), original.find("architectures")->dump());
  // What transformers reads under one name only.
  for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts", "num_key_value_heads"}) {
    if (original.find(key) == nullptr) continue;
    ASSERT_NE(config.find(key), nullptr) << key;
    EXPECT_EQ(config.find(key)->dump(), original.find(key)->dump()) << key;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, HfExport,
                         testing::Values("llama", "llama3-rope", "mistral", "mixtral", "mixtral-swa", "qwen2", "qwen3",
                                         "qwen2_moe", "qwen3_moe", "olmoe", "olmoe-clip", "phimoe", "granitemoe",
                                         "deepseek_v2", "deepseek_v2-group", "deepseek_v3", "glm4_moe", "gpt_oss"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// GGUF has one attention factor for both lengths, so the directory must have one too.
TEST(HfExportFamilies, longrope_comes_back_from_tensors) {
  const fs::path directory = fresh("longrope_from"), gguf = fresh("longrope.gguf"), out = fresh("longrope");
  fs::create_directories(directory);
  fs::copy_file(golden_dir("phimoe-longrope") / "model.safetensors", directory / "model.safetensors");
  std::string config = read_file(golden_dir("phimoe-longrope") / "config.json", 1 << 20);
  for (const char* key : {"short_mscale", "long_mscale"}) {
    config.replace(config.find(key), std::string_view(key).size(), std::string(key) + "_off");
  }
  std::ofstream(directory / "config.json") << config;
  GgufOf(directory).write(gguf);
  export_to(gguf, out, FormatId::f32);
  EXPECT_EQ(logits_of(out), logits_of(directory));
  const json::Value made = ModelSource::open(out).config();
  const json::Value* scaling = made.find("rope_scaling");
  for (const char* key : {"short_mscale", "long_mscale", "type"}) EXPECT_NE(scaling->find(key), nullptr) << key;
}

// ---- formats and layouts ----

TEST(HfExportFormats, fp8_becomes_the_numbers_it_stands_for) {
  const fs::path wide = fresh("fp8_wide"), fp8 = fresh("fp8"), decoded = fresh("fp8_f32"), out = fresh("fp8_out");
  test::write_wide_deepseek(golden_dir("deepseek_v3"), wide);
  test::write_fp8(wide, fp8, decoded);
  export_to(fp8, out, FormatId::f32);
  EXPECT_EQ(logits_of(out), logits_of(decoded));
  EXPECT_EQ(names_in(out), names_in(decoded));
  EXPECT_EQ(ModelSource::open(out).spec().quant_method, "");
}

TEST(HfExportFormats, blocks_become_the_numbers_they_stand_for) {
  for (const char* name : {"qwen3_moe", "gpt_oss", "deepseek_v2", "mixtral"}) {
    const fs::path gguf = fresh("blocks.gguf"), out = fresh("blocks"), plain = fresh("plain");
    GgufOf writer(golden_dir(name));
    writer.latent_in_one = true;
    writer.matrices = FormatId::q8_0;
    writer.write(gguf);
    export_to(gguf, out, FormatId::f32);
    GgufOf decoded(golden_dir(name));
    decoded.latent_in_one = true;
    decoded.matrices = FormatId::q8_0;
    decoded.decoded = true;
    decoded.write(gguf);
    export_to(gguf, plain, FormatId::f32);
    EXPECT_EQ(read_file(out / "model.safetensors", 1 << 24), read_file(plain / "model.safetensors", 1 << 24)) << name;
  }
}

TEST(HfExportFormats, rounds_to_nearest_but_keeps_selection_biases) {
  for (const FormatId format : {FormatId::bf16, FormatId::f16}) {
    const fs::path out = fresh("rounded");
    const HfExportResult result = export_to(golden_dir("deepseek_v3"), out, format);
    const Checkpoint from = Checkpoint::open(golden_dir("deepseek_v3")), to = Checkpoint::open(out);
    int64_t biases = 0;
    for (const TensorEntry& entry : from.entries()) {
      const Tensor* found = to.find(entry.name);
      ASSERT_NE(found, nullptr) << entry.name;
      const float* want = entry.tensor.view.f32();
      const bool bias = entry.name.ends_with("e_score_correction_bias");
      biases += bias ? 1 : 0;
      ASSERT_EQ(found->view.format, bias ? FormatId::f32 : format);
      for (int64_t i = 0; i < found->view.shape.num_elems(); ++i) {
        if (bias) {
          ASSERT_EQ(found->view.f32()[i], want[i]);
        } else {
          const auto* got = static_cast<const uint16_t*>(found->view.data);
          ASSERT_EQ(got[i], format == FormatId::bf16 ? f32_to_bf16(want[i]) : f32_to_f16(want[i])) << entry.name;
        }
      }
    }
    EXPECT_EQ(biases, 2);
    EXPECT_EQ(result.num_tensors, static_cast<int64_t>(from.entries().size()));
    EXPECT_EQ(ModelSource::open(out).spec().weight_format, format == FormatId::bf16 ? "bfloat16" : "float16");
  }
}

TEST(HfExportFormats, a_directory_in_another_layout_comes_out_in_its_familys) {
  const fs::path mxfp4 = data_dir("golden-layouts/gpt_oss-mxfp4"), out = fresh("mxfp4");
  export_to(mxfp4, out, FormatId::bf16);  // holds every number of MXFP4
  const Checkpoint checkpoint = Checkpoint::open(out);
  const ModelSpec spec = ModelSource::open(out).spec();
  EXPECT_EQ(spec.quant_method, "");
  const int64_t e = spec.layers[0].ffn.num_experts, f = spec.layers[0].ffn.moe_intermediate_size;
  const Tensor* stack = checkpoint.find("model.layers.0.mlp.experts.gate_up_proj");
  ASSERT_NE(stack, nullptr);
  EXPECT_EQ(stack->view.shape, (Shape{e, spec.hidden_size, 2 * f}));
  const fs::path packed = fresh("packed");
  export_to(data_dir("golden-layouts/qwen3_moe-packed"), packed, FormatId::f32);
  EXPECT_EQ(names_in(packed), names_in(golden_dir("qwen3_moe")));
  EXPECT_EQ(logits_of(packed), logits_of(data_dir("golden-layouts/qwen3_moe-packed")));
}

TEST(HfExportFormats, mxfp4_loses_nothing_in_f32) {
  const fs::path mxfp4 = data_dir("golden-layouts/gpt_oss-mxfp4"), out = fresh("mxfp4_f32");
  export_to(mxfp4, out, FormatId::f32);
  const KernelSet& ref = *find_kernel_set("ref");
  EXPECT_EQ(logits_of(out, ref), logits_of(mxfp4, ref));
}

// ---- files ----

TEST(HfExportFiles, large_models_are_cut_into_shards) {
  const fs::path whole = fresh("whole"), cut = fresh("cut");
  export_to(golden_dir("qwen3_moe"), whole, FormatId::f32);
  const HfExportOptions small{.format = FormatId::f32, .shard_bytes = 100'000};
  const HfExportResult result = export_hf(ModelSource::open(golden_dir("qwen3_moe")), cut, small);
  EXPECT_GT(result.files, 3);
  EXPECT_TRUE(fs::exists(cut / "model.safetensors.index.json"));
  EXPECT_TRUE(fs::exists(cut / fmt::format("model-00001-of-{:05}.safetensors", result.files)));
  EXPECT_EQ(logits_of(cut), logits_of(whole));
}

TEST(HfExportFiles, every_expert_has_its_checksum) {
  const HfExportResult result = export_to(golden_dir("gpt_oss"), fresh("sums"), FormatId::bf16);
  const ModelSpec spec = ModelSource::open(golden_dir("gpt_oss")).spec();
  ASSERT_EQ(static_cast<int64_t>(result.experts.size()), spec.num_layers * spec.layers[0].ffn.num_experts);
  std::set<uint32_t> sums;
  for (const ExpertCheck& check : result.experts) {
    EXPECT_EQ(check.source, check.written);
    sums.insert(check.source);
  }
  EXPECT_EQ(sums.size(), result.experts.size());
}

TEST(HfExportFiles, checksums_tell_equal_experts_whatever_they_come_from) {
  const fs::path gguf = fresh("sums.gguf");
  GgufOf(golden_dir("gpt_oss")).write(gguf);
  const HfExportResult stacked = export_to(gguf, fresh("sums_of_gguf"), FormatId::bf16);
  const HfExportResult own = export_to(golden_dir("gpt_oss"), fresh("sums_of_own"), FormatId::bf16);
  ASSERT_EQ(stacked.experts.size(), own.experts.size());
  for (size_t i = 0; i < own.experts.size(); ++i) EXPECT_EQ(stacked.experts[i].source, own.experts[i].source) << i;
}

TEST(HfExportFiles, nothing_is_overwritten_and_nothing_left_half) {
  const fs::path out = fresh("taken");
  export_to(golden_dir("llama"), out, FormatId::bf16);
  EXPECT_NE(error_text([&] { export_to(golden_dir("llama"), out, FormatId::bf16); }).find("exists already"),
            std::string::npos);
  const fs::path directory = fresh("huge"), target = fresh("huge_out");
  fs::copy(golden_dir("llama"), directory);
  {
    std::fstream file(directory / "model.safetensors", std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(-4, std::ios::end);
    const float huge = 1e6f;
    file.write(reinterpret_cast<const char*>(&huge), 4);
  }
  const std::string text = error_text([&] { export_to(directory, target, FormatId::f16); });
  EXPECT_NE(text.find("65504"), std::string::npos) << text;
  EXPECT_NE(text.find("1000000"), std::string::npos) << text;
  for (const fs::directory_entry& entry : fs::directory_iterator(target.parent_path())) {
    EXPECT_FALSE(entry.path().filename().string().starts_with("moxie_hf_huge_out")) << entry.path();
  }
  EXPECT_NE(error_text([&] { export_to(directory, target, FormatId::q8_0); }).find("bf16, f16 or f32"),
            std::string::npos);
}

TEST(HfExportFiles, rotary_factors_that_no_config_says_are_refused) {
  const fs::path gguf = fresh("factors.gguf"), out = fresh("factors");
  GgufOf writer(golden_dir("llama"));
  const float factors[] = {1, 3, 2, 7};
  writer.further.push_back({"rope_freqs.weight", dense_view(factors, FormatId::f32, {4})});
  writer.write(gguf);
  const std::string text = error_text([&] { export_to(gguf, out, FormatId::f32); });
  EXPECT_NE(text.find("rope_freqs.weight"), std::string::npos) << text;
  EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace moxie
