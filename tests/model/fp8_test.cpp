// FP8 checkpoints compute what their numbers compute as f32, bit for bit; what is wrong with their scales is named.
#include <gtest/gtest.h>

#include "model/copies.h"
#include "model/fp8_of.h"
#include "model/runner.h"

namespace moxie {
namespace {

using test::CheckpointCopy;
using test::data_dir;

const std::string kUp = "model.layers.1.mlp.experts.5.up_proj.weight", kScale = kUp + "_scale_inv";

std::vector<float> logits_of(const std::filesystem::path& path, const KernelSet& kernels) {
  const Model model = Model::load(path);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 40; ++i) ids.push_back(i * 37 % 256);
  Runner runner(model, 2, kernels);
  const std::vector<int32_t> pages = runner.pages(1);
  const StepSequence sequence{.tokens = ids, .pages = pages, .num_logits = 40};
  return runner.step({&sequence, 1}, {});
}

TEST(Fp8, gives_the_logits_of_the_same_numbers_in_f32) {
  TemporaryDirectory directory;
  test::write_wide_deepseek(data_dir("golden/deepseek_v3"), directory / "wide");
  for (const std::filesystem::path& from : {data_dir("golden/deepseek_v3"), directory / "wide"}) {
    const std::string name = from.filename().string();
    test::write_fp8(from, directory / (name + "-fp8"), directory / (name + "-f32"));
    for (const KernelSet* set : all_kernel_sets()) {
      if (!runs_here(*set)) continue;
      const std::vector<float> logits = logits_of(directory / (name + "-fp8"), *set);
      EXPECT_EQ(logits, logits_of(directory / (name + "-f32"), *set)) << name << " " << set->name;
      EXPECT_NE(logits, logits_of(from, *set));
    }
  }
}

class Fp8Copy : public testing::Test {
 protected:
  Fp8Copy() {
    test::write_wide_deepseek(data_dir("golden/deepseek_v3"), directory_ / "wide");
    test::write_fp8(directory_ / "wide", directory_ / "fp8", directory_ / "f32");
    copy_.emplace(directory_ / "fp8");
  }
  CheckpointCopy& copy() { return *copy_; }
  std::string refusal() {
    const std::filesystem::path written = copy().write();
    return refusal_of([&] { Model::load(written); });
  }

  TemporaryDirectory directory_;
  std::optional<CheckpointCopy> copy_;
};

TEST_F(Fp8Copy, scales_may_be_bf16) {
  const View scales = copy()[kScale];
  ASSERT_EQ(scales.shape, (Shape{2, 2}));
  std::vector<uint16_t> rounded;
  float* as_f32 = copy().writable(kScale);
  for (int64_t i = 0; i < 4; ++i) {
    rounded.push_back(f32_to_bf16(as_f32[i]));
    as_f32[i] = bf16_to_f32(rounded.back());
  }
  const KernelSet& kernels = choose_kernel_set();
  const std::vector<float> expected = logits_of(copy().write(), kernels);
  copy()[kScale] = dense_view(rounded.data(), FormatId::bf16, {2, 2});
  EXPECT_EQ(logits_of(copy().write(), kernels), expected);
}

TEST_F(Fp8Copy, names_scales_that_are_missing) {
  copy().remove(kScale);
  EXPECT_TRUE(says(refusal(), {"1 missing:", kScale}));
}

TEST_F(Fp8Copy, names_scales_of_other_blocks) {
  copy()[kScale] = copy().zeros({3, 3});  // of 64 x 64
  EXPECT_TRUE(says(refusal(), {"1 of another shape:", kScale + ": expected [2, 2], got [3, 3]"}));
}

TEST_F(Fp8Copy, names_scales_that_are_no_numbers_to_compute_with) {
  copy()[kScale].format = FormatId::i32;
  EXPECT_TRUE(says(refusal(), {"1 in a format", kScale + " is i32"}));
}

TEST_F(Fp8Copy, names_a_matrix_of_another_shape_and_only_that) {
  copy()[kUp].shape = {160, 136};  // the same bytes
  copy()[kUp].row_bytes = 136;
  const std::string text = refusal();
  EXPECT_TRUE(says(text, {"1 of another shape:", kUp + ": expected [136, 160], got [160, 136]"}));
  EXPECT_EQ(text.find("extra"), std::string::npos) << text;
}

TEST_F(Fp8Copy, an_fp8_vector_is_refused) {
  View& norm = copy()["model.norm.weight"];
  norm.format = FormatId::f8_e4m3;
  norm.row_bytes = 160;
  EXPECT_TRUE(says(refusal(), {"model.norm.weight is f8_e4m3"}));
}

TEST_F(Fp8Copy, matrices_that_the_config_does_not_announce_are_refused) {
  copy().configure("quantization_config", "quantization_confused");
  EXPECT_TRUE(says(refusal(), {"in a format that cannot be computed with:", "_proj.weight is f8_e4m3"}));
}

TEST_F(Fp8Copy, a_tied_head_that_is_stored_twice_is_compared_with_its_scales) {
  copy().configure("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
  const View table = copy()["model.embed_tokens.weight"];
  const test::Fp8Matrix fp8 = test::fp8_of(table);
  const View bytes = dense_view(fp8.bytes.data(), FormatId::f8_e4m3, table.shape);
  std::vector<float> others = fp8.scales;
  others.back() *= 2;
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) {
    copy()[name] = bytes;
    copy().add(std::string(name) + "_scale_inv", dense_view(fp8.scales.data(), FormatId::f32, fp8.scale_shape));
  }
  EXPECT_EQ(refusal(), "accepted");
  copy()["lm_head.weight_scale_inv"] = dense_view(others.data(), FormatId::f32, fp8.scale_shape);
  EXPECT_TRUE(says(refusal(), {"lm_head.weight", "the embedding's values"}));
}

TEST_F(Fp8Copy, other_blocks_in_the_config_are_refused) {
  copy().configure("[128, 128]", "[64, 64]");
  EXPECT_TRUE(says(refusal(), {"weight_block_size", "expected [128, 128]"}));
}

}  // namespace
}  // namespace moxie
