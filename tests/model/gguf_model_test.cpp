// A GGUF file gives the logits of the Hugging Face directory it was made of, in every family and layout.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "model/gguf_of.h"
#include "model/runner.h"
#include "spec/config.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

fs::path golden_dir(const std::string& name) {
  return fs::path(MOXIE_SOURCE_DIR) / "tests/data/golden" / name;
}

fs::path scratch(const std::string& name) {
  const fs::path path = fs::path(testing::TempDir()) / ("moxie_gguf_" + name);
  fs::create_directories(path.parent_path());
  return path;
}

std::vector<float> logits_of(const Model& model, const std::vector<int32_t>& ids,
                             const KernelSet& kernels = choose_kernel_set()) {
  Runner runner(model, 2, kernels);
  const std::vector<int32_t> pages = runner.pages(1);
  const StepSequence sequence{.tokens = ids, .pages = pages, .num_logits = static_cast<int64_t>(ids.size())};
  return runner.step({&sequence, 1}, {});
}

std::vector<int32_t> golden_ids(const std::string& name) {
  const Checkpoint golden = Checkpoint::open(golden_dir(name) / "golden.safetensors");
  const auto* ids = static_cast<const int64_t*>(golden.find("input_ids")->view.data);
  return {ids, ids + 48};
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  float most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(std::fabs(a[i] - b[i]) <= most)) most = std::fabs(a[i] - b[i]);
  }
  return most;
}

double mean_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::fabs(static_cast<double>(a[i]) - b[i]);
  return sum / static_cast<double>(a.size());
}

// Equal to the last bit, or nearly where rows of q and k stand in another order (then sums do too).
void expect_same(const fs::path& gguf, const fs::path& directory, const std::string& golden, bool exactly) {
  const std::vector<int32_t> ids = golden_ids(golden);
  const std::vector<float> want = logits_of(Model::load(directory), ids), got = logits_of(Model::load(gguf), ids);
  ASSERT_EQ(want.size(), got.size());
  if (exactly) {
    EXPECT_EQ(std::memcmp(want.data(), got.data(), want.size() * sizeof(float)), 0)
        << "largest difference " << largest_difference(want, got);
  }
  EXPECT_LE(largest_difference(want, got), 5e-6f);  // of logits around 3
}

struct Case {
  const char* golden;
  bool exactly = true;
  void (*change)(GgufOf& writer) = [](GgufOf&) {};
  const char* suffix = "";
};

class Gguf : public testing::TestWithParam<Case> {};

TEST_P(Gguf, gives_the_logits_of_the_directory_it_was_made_of) {
  const Case& test = GetParam();
  GgufOf writer(golden_dir(test.golden));
  test.change(writer);
  const fs::path path = scratch(std::string(test.golden) + test.suffix + ".gguf");
  writer.write(path);
  expect_same(path, golden_dir(test.golden), test.golden, test.exactly);
}

INSTANTIATE_TEST_SUITE_P(
    Families, Gguf,
    testing::Values(Case{"llama", false}, Case{"llama3-rope", false}, Case{"mistral", false}, Case{"mixtral", false},
                    Case{"mixtral-swa", false}, Case{"qwen2"}, Case{"qwen3"}, Case{"qwen2_moe"}, Case{"qwen3_moe"},
                    Case{"olmoe"}, Case{"olmoe-clip"}, Case{"phimoe"}, Case{"granitemoe", false}, Case{"deepseek_v2"},
                    Case{"deepseek_v2-group"}, Case{"deepseek_v3"}, Case{"glm4_moe"}, Case{"gpt_oss"},
                    Case{"deepseek_v2", true, [](GgufOf& writer) { writer.latent_in_one = true; }, "_in_one"},
                    Case{"deepseek_v3", true, [](GgufOf& writer) { writer.latent_in_one = true; }, "_in_one"},
                    Case{"qwen3_moe", true, [](GgufOf& writer) { writer.fused_gate_up = true; }, "_fused"},
                    Case{"qwen2_moe", true, [](GgufOf& writer) { writer.fused_qkv = true; }, "_qkv"},
                    Case{"mixtral", false, [](GgufOf& writer) { writer.fused_qkv = true; }, "_qkv"}),
    [](const auto& test) {
      std::string name = std::string(test.param.golden) + test.param.suffix;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

// Experts, attention (latent too), embedding and head in blocks, against f32 of the same numbers.
TEST(GgufModel, block_formats_give_the_logits_of_what_they_stand_for) {
  for (const char* name : {"qwen3_moe", "qwen2_moe", "deepseek_v2", "gpt_oss", "llama"}) {
    for (const FormatId format : {FormatId::q8_0, FormatId::q4_1, FormatId::mxfp4_block}) {
      SCOPED_TRACE(fmt::format("{} {}", name, format_name(format)));
      const fs::path files[] = {scratch("blocks.gguf"), scratch("decoded.gguf")};
      for (const bool decoded : {false, true}) {
        GgufOf writer(golden_dir(name));
        writer.latent_in_one = true;
        writer.matrices = format;
        writer.decoded = decoded;
        writer.write(files[decoded]);
      }
      const Model blocks = Model::load(files[0]), plain = Model::load(files[1]);
      const std::vector<int32_t> ids = golden_ids(name);
      const KernelSet& ref = *find_kernel_set("ref");
      EXPECT_EQ(logits_of(blocks, ids, ref), logits_of(plain, ids, ref));
      // int8 rows of x are off by up to 1/250 of a block's largest number, and now and then that turns a route
      EXPECT_LE(mean_difference(logits_of(blocks, ids), logits_of(plain, ids)), 0.04);  // of around 3
    }
  }
}

// GGUF has one attention factor for both lengths, so the directory must have one too.
TEST(GgufModel, longrope_takes_its_factors_from_tensors) {
  const fs::path directory = scratch("longrope");
  fs::create_directories(directory);
  fs::copy_file(golden_dir("phimoe-longrope") / "model.safetensors", directory / "model.safetensors",
                fs::copy_options::overwrite_existing);
  std::string config = read_file(golden_dir("phimoe-longrope") / "config.json", 1 << 20);
  for (const char* key : {"short_mscale", "long_mscale"}) {
    config.replace(config.find(key), std::string_view(key).size(), std::string(key) + "_off");
  }
  std::ofstream(directory / "config.json") << config;
  GgufOf(directory).write(scratch("longrope.gguf"));
  expect_same(scratch("longrope.gguf"), directory, "phimoe-longrope", true);
}

// What a spec of a GGUF file says is what the directory says, but for names, the order of rotary pairs and llama3.
TEST(GgufModel, the_spec_is_that_of_the_directory) {
  for (const char* name : {"mixtral", "mistral", "qwen2_moe", "qwen3_moe", "olmoe-clip", "phimoe", "granitemoe",
                           "deepseek_v2-group", "deepseek_v3", "glm4_moe", "gpt_oss", "qwen3"}) {
    const fs::path path = scratch(std::string("spec_") + name + ".gguf");
    GgufOf(golden_dir(name)).write(path);
    const ModelSpec got = ModelSource::open(path).spec(), want = load_config(golden_dir(name));
    EXPECT_EQ(got.family, want.family) << name;
    EXPECT_TRUE(got.attention == want.attention) << name;
    RopeSpec rope = got.rope;
    rope.interleaved = want.rope.interleaved;
    rope.original_max_position = want.rope.original_max_position;
    EXPECT_TRUE(rope == want.rope) << name;
    ASSERT_EQ(got.layers.size(), want.layers.size());
    for (size_t i = 0; i < got.layers.size(); ++i) {
      EXPECT_TRUE(got.layers[i].ffn == want.layers[i].ffn) << name << " layer " << i;
      EXPECT_EQ(got.layers[i].window, want.layers[i].window) << name << " layer " << i;
    }
    EXPECT_EQ(got.norm_eps, want.norm_eps) << name;
    EXPECT_EQ(got.max_position, want.max_position) << name;
    EXPECT_EQ(got.tie_word_embeddings, want.tie_word_embeddings) << name;
    EXPECT_EQ(got.embedding_multiplier, want.embedding_multiplier) << name;
    EXPECT_EQ(got.residual_multiplier, want.residual_multiplier) << name;
    EXPECT_EQ(got.logits_scaling, want.logits_scaling) << name;
  }
}

TEST(GgufModel, experts_are_views_into_the_file) {
  const fs::path path = scratch("views.gguf");
  GgufOf(golden_dir("qwen3_moe")).write(path);
  const ModelSource source = ModelSource::open(path);
  const Checkpoint checkpoint = source.checkpoint(source.spec());
  const GgufFile file = GgufFile::open(path);
  int64_t bytes = 0;
  for (const TensorEntry& entry : file.entries()) bytes += entry.tensor.view.num_bytes();
  EXPECT_EQ(checkpoint.total_bytes(), bytes);
  const Tensor* first = checkpoint.find("model.layers.1.mlp.experts.0.up_proj.weight");
  const Tensor* second = checkpoint.find("model.layers.1.mlp.experts.1.up_proj.weight");
  ASSERT_TRUE(first != nullptr && second != nullptr);
  EXPECT_EQ(static_cast<const char*>(second->view.data) - static_cast<const char*>(first->view.data),
            first->view.num_bytes());
}

// A golden with one field of its config changed.
fs::path with_field(const std::string& golden, const std::string& field, const std::string& value) {
  const fs::path directory = scratch(golden + "_" + field);
  fs::create_directories(directory);
  fs::copy_file(golden_dir(golden) / "model.safetensors", directory / "model.safetensors",
                fs::copy_options::overwrite_existing);
  std::string config = read_file(golden_dir(golden) / "config.json", 1 << 20);
  const size_t at = config.find(':', config.find("\"" + field + "\"")) + 1;
  config.replace(at, config.find_first_of(",\n", at) - at, " " + value);
  std::ofstream(directory / "config.json") << config;
  return directory;
}

std::string load_error(const fs::path& gguf) {
  try {
    Model::load(gguf);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid);
    return error.what();
  }
  return "";
}

// G28
TEST(GgufModel, stacks_of_another_number_of_experts_are_refused_by_name) {
  const fs::path path = scratch("experts.gguf");
  GgufOf(with_field("mixtral", "num_local_experts", "4")).write(path);
  const std::string text = load_error(path);
  EXPECT_NE(text.find("blk.0.ffn_down_exps.weight: expected 4 experts"), std::string::npos) << text;
  EXPECT_NE(text.find("[8, 32, 64]"), std::string::npos) << text;
}

TEST(GgufModel, missing_extra_and_misshaped_tensors_are_listed) {
  const fs::path path = scratch("misfit.gguf");
  GgufOf more_layers(with_field("llama", "num_hidden_layers", "4"));
  const float zeros[32] = {};
  more_layers.further.push_back({"blk.0.ssm_a", dense_view(zeros, FormatId::f32, {32})});
  more_layers.further.push_back({"blk.1.attn_q.scale", dense_view(zeros, FormatId::f32, {1})});
  more_layers.further.push_back({"output_norm", dense_view(zeros, FormatId::f32, {32})});  // no ".weight"
  more_layers.write(path);
  const std::string text = load_error(path);
  EXPECT_NE(text.find("3 extra"), std::string::npos) << text;
  EXPECT_NE(text.find("missing:\n    model.layers.3.input_layernorm.weight"), std::string::npos) << text;
  EXPECT_NE(text.find("blk.0.ssm_a"), std::string::npos) << text;
  EXPECT_NE(text.find("blk.1.attn_q.scale"), std::string::npos) << text;
  GgufOf(with_field("llama", "intermediate_size", "48")).write(path);
  EXPECT_NE(load_error(path).find("expected [48, 32], got [64, 32]"), std::string::npos);
}

TEST(GgufModel, a_file_of_a_vocabulary_alone_misses_every_tensor) {
  const fs::path path = scratch("empty.gguf");
  GgufMetadata metadata;
  metadata.set_string("general.architecture", "llama");
  for (const char* key : {"block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size"}) {
    metadata.set<uint32_t>(std::string("llama.") + key, 64);
  }
  metadata.set<uint32_t>("llama.attention.head_count", 4);
  metadata.set<float>("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  write_gguf(path, metadata, {});
  EXPECT_NE(load_error(path).find("model.embed_tokens.weight"), std::string::npos) << load_error(path);
}

TEST(GgufModel, mxfp4_experts_are_bound_as_the_blocks_of_the_file) {
  const fs::path path = scratch("mxfp4.gguf");
  GgufOf(fs::path(MOXIE_SOURCE_DIR) / "tests/data/golden-layouts/gpt_oss-mxfp4").write(path);
  const ModelSource source = ModelSource::open(path);
  const ModelSpec spec = source.spec();
  const Checkpoint checkpoint = source.checkpoint(spec);
  const ModelWeights weights = bind_weights(spec, checkpoint);
  const Expert& expert = weights.layers[1].ffn.bank.experts[3];
  for (const View* view : {&expert.gate, &expert.up, &expert.down}) EXPECT_EQ(view->format, FormatId::mxfp4_block);
  EXPECT_EQ(expert.gate.shape, (Shape{spec.layers[1].ffn.moe_intermediate_size, spec.hidden_size}));
  EXPECT_NE(expert.gate_bias, nullptr);
  EXPECT_NE(weights.layers[1].attention.sinks, nullptr);
}

}  // namespace
}  // namespace moxie
