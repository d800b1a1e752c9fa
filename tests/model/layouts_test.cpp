// The same weights stored in other ways: stacked, transposed, sharded, in half precision, in MXFP4.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/support.h"
#include "model/copies.h"
#include "model/runner.h"

namespace moxie {
namespace {

using test::CheckpointCopy;
using test::data_dir;
using test::sets_here;

// Logits of 48 tokens, the same for all models here.
std::vector<float> logits_of(const std::filesystem::path& directory, const KernelSet& set) {
  const Model model = Model::load(directory);
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 48; ++i) tokens.push_back(i * 37 % 251);
  Runner runner(model, 2, set);
  const std::vector<int32_t> pages = runner.pages(1);
  const StepSequence sequence{tokens, 0, pages, 48};
  return runner.step({&sequence, 1}, {});
}

void expect_same_bits(const std::filesystem::path& a, const std::filesystem::path& b) {
  for (const KernelSet* set : sets_here()) {
    const std::vector<float> left = logits_of(a, *set), right = logits_of(b, *set);
    ASSERT_EQ(left.size(), right.size());
    EXPECT_EQ(0, std::memcmp(left.data(), right.data(), left.size() * sizeof(float))) << set->name;
  }
}

// Largest difference of the logits, as a share of the largest logit.
double distance(const std::filesystem::path& a, const std::filesystem::path& b, const KernelSet& set) {
  const std::vector<float> left = logits_of(a, set), right = logits_of(b, set);
  double off = 0, largest = 0;
  for (size_t i = 0; i < left.size(); ++i) {
    const double difference = std::abs(static_cast<double>(left[i]) - static_cast<double>(right[i]));
    if (!(difference <= off)) off = difference;  // NaN counts
    largest = std::max(largest, std::abs(static_cast<double>(right[i])));
  }
  return off / largest;
}

TEST(Layouts, experts_stacked_are_the_experts_one_by_one) {
  expect_same_bits(data_dir("golden-layouts/qwen3_moe-packed"), data_dir("golden/qwen3_moe"));
}

TEST(Layouts, shards_are_one_checkpoint) {
  expect_same_bits(data_dir("golden-layouts/mixtral-sharded"), data_dir("golden/mixtral"));
}

TEST(Layouts, stacked_experts_may_have_their_axes_in_either_order) {
  CheckpointCopy in_major(data_dir("golden-layouts/qwen3_moe-packed"));
  for (int layer = 0; layer < 3; ++layer) {
    in_major.swap_last_axes(
        fmt::format("model.layers.{}.mlp.experts.gate_up_proj", layer));  // [E, 2F, H] to [E, H, 2F]
  }
  expect_same_bits(in_major.write(), data_dir("golden/qwen3_moe"));

  CheckpointCopy out_major(data_dir("golden/gpt_oss"));
  for (int layer = 0; layer < 4; ++layer) {
    out_major.swap_last_axes(fmt::format("model.layers.{}.mlp.experts.gate_up_proj", layer));  // the other way round
  }
  expect_same_bits(out_major.write(), data_dir("golden/gpt_oss"));
}

// transformers 5 calls the block of every family "mlp.".
TEST(Layouts, the_block_may_be_called_mlp) {
  CheckpointCopy renamed(data_dir("golden/granitemoe"));
  renamed.rename("block_sparse_moe.", "mlp.");
  expect_same_bits(renamed.write(), data_dir("golden/granitemoe"));
}

void expect_close(const std::filesystem::path& small, FormatId format, const std::filesystem::path& twin) {
  for (const KernelSet* set : sets_here()) {
    const bool exact = set->activation_format(format) == FormatId::f32;  // else activations are rounded
    EXPECT_LE(distance(small, twin, *set), exact ? 1e-5 : 0.02) << small << " in " << set->name;
  }
}

TEST(Layouts, weights_in_smaller_formats_mean_what_their_f32_twins_say) {
  for (const FormatId format : {FormatId::bf16, FormatId::f16}) {
    const auto small = data_dir(fmt::format("golden-layouts/mixtral-{}", format_name(format)));
    CheckpointCopy twin(small);
    twin.widen();
    expect_close(small, format, twin.write());
  }
  expect_close(data_dir("golden-layouts/gpt_oss-mxfp4"), FormatId::mxfp4, data_dir("golden-layouts/gpt_oss-mxfp4-f32"));
}

}  // namespace
}  // namespace moxie
