// The list of a model's GGUF tensors: the same without weights, and rows where they belong.
#include "model/gguf_tensors.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "model/model_source.h"
#include "spec/config.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(MOXIE_SOURCE_DIR) / "tests/data/golden";

std::vector<float> decoded(const GgufRows& tensor) {
  std::vector<float> out(static_cast<size_t>(tensor.shape.num_elems()));
  tensor.rows.decode(0, tensor.shape.num_elems() / tensor.shape.back(), out.data());
  return out;
}

const GgufRows& find(const std::vector<GgufRows>& tensors, const std::string& name) {
  for (const GgufRows& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::runtime_error("no " + name);
}

TEST(GgufTensors, names_and_shapes_need_no_weights) {
  for (const auto& entry : fs::directory_iterator(kGolden)) {
    if (entry.path().filename() == "phimoe-longrope") continue;  // GGUF has one attention factor
    SCOPED_TRACE(entry.path().filename());
    const ModelSpec spec = load_config(entry.path());
    const GgufExport made = gguf_export(spec, "config.json");
    const Checkpoint checkpoint = Checkpoint::open(entry.path());
    const ModelWeights weights = bind_weights(spec, checkpoint);
    const std::vector<GgufRows> with = gguf_tensors(spec, made, &weights);
    const std::vector<GgufRows> without = gguf_tensors(spec, made, nullptr);
    ASSERT_EQ(with.size(), without.size());
    for (size_t i = 0; i < with.size(); ++i) {
      EXPECT_EQ(with[i].name, without[i].name);
      EXPECT_EQ(with[i].shape, without[i].shape) << with[i].name;
      EXPECT_FALSE(with[i].rows.empty()) << with[i].name;
      EXPECT_EQ(without[i].rows.empty(), !with[i].name.starts_with("rope_")) << with[i].name;
    }
  }
}

// DeepSeek's own checkpoints hold interleaved pairs; with rope_interleave false a head's rotary rows stand in halves.
TEST(GgufTensors, halves_of_rotary_rows_become_pairs_in_latent_attention) {
  const fs::path directory = kGolden / "deepseek_v3";
  ModelSpec spec = load_config(directory);
  const Checkpoint checkpoint = Checkpoint::open(directory);
  const ModelWeights weights = bind_weights(spec, checkpoint);
  const std::vector<GgufRows> pairs = gguf_tensors(spec, gguf_export(spec, "config.json"), &weights);
  spec.rope.interleaved = false;
  const std::vector<GgufRows> halves = gguf_tensors(spec, gguf_export(spec, "config.json"), &weights);
  const std::string name = "blk.0.attn_kv_a_mqa.weight";
  const std::vector<float> as_is = decoded(find(pairs, name)), moved = decoded(find(halves, name));
  const int64_t latent = spec.attention.kv_lora_rank, half = spec.rope.dim / 2, width = spec.hidden_size;
  for (int64_t row = 0; row < latent + spec.rope.dim; ++row) {
    const int64_t at = row - latent, from = at < 0 ? row : latent + at % 2 * half + at / 2;
    for (int64_t i = 0; i < width; ++i) {
      ASSERT_EQ(moved[static_cast<size_t>(row * width + i)], as_is[static_cast<size_t>(from * width + i)]) << row;
    }
  }
  const std::string k_b = "blk.1.attn_k_b.weight";
  EXPECT_EQ(decoded(find(pairs, k_b)), decoded(find(halves, k_b)));  // nothing of it rotates
}

// Pieces of a transposed matrix that begin and end within a head.
TEST(RowSource, transposed_heads_may_be_cut_anywhere) {
  std::vector<float> values(2 * 5 * 3);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const RowSource rows = RowSource::transposed_heads(dense_view(values.data(), FormatId::f32, {10, 3}), 5, 2);
  std::vector<float> whole(12), part(8);
  rows.decode(0, 6, whole.data());
  EXPECT_EQ(whole, (std::vector<float>{0, 3, 1, 4, 2, 5, 15, 18, 16, 19, 17, 20}));
  rows.decode(1, 5, part.data());
  EXPECT_EQ(part, std::vector<float>(whole.begin() + 2, whole.begin() + 10));
  EXPECT_FALSE(rows.stands_as(FormatId::f32));
  EXPECT_EQ(rows.stored_format(), FormatId::f32);
}

}  // namespace
}  // namespace moxie
