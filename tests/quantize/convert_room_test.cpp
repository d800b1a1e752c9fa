// A model for which the disk has no room is refused before anything is written.
#include <gtest/gtest.h>

#include <fstream>

#include "quantize/convert.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

fs::path fresh(const std::string& name) {
  const fs::path path = fs::path(testing::TempDir()) / ("moxie_convert_room_" + name);
  fs::remove_all(path);
  fs::create_directories(path);
  return path;
}

// A model whose embedding alone is twice as large as what the disk has left: a file of holes.
void write_holes(const fs::path& directory) {
  constexpr int64_t kHidden = 1 << 16;
  const int64_t vocabulary = 2 * static_cast<int64_t>(fs::space(directory).available) / (4 * kHidden) + 1;
  std::ofstream(directory / "config.json") << fmt::format(
      R"({{"model_type": "llama", "vocab_size": {}, "hidden_size": {}, "intermediate_size": 64, "num_hidden_layers": 1,
          "num_attention_heads": 4, "head_dim": 16, "max_position_embeddings": 64, "tie_word_embeddings": true}})",
      vocabulary, kHidden);
  const std::pair<std::string, Shape> tensors[] = {
      {"model.embed_tokens", {vocabulary, kHidden}},      {"model.norm", {kHidden}},
      {"model.layers.0.input_layernorm", {kHidden}},      {"model.layers.0.post_attention_layernorm", {kHidden}},
      {"model.layers.0.self_attn.q_proj", {64, kHidden}}, {"model.layers.0.self_attn.k_proj", {64, kHidden}},
      {"model.layers.0.self_attn.v_proj", {64, kHidden}}, {"model.layers.0.self_attn.o_proj", {kHidden, 64}},
      {"model.layers.0.mlp.gate_proj", {64, kHidden}},    {"model.layers.0.mlp.up_proj", {64, kHidden}},
      {"model.layers.0.mlp.down_proj", {kHidden, 64}}};
  json::Value header;
  int64_t end = 0;
  for (const auto& [name, shape] : tensors) {
    json::Value tensor, dims{json::Array{}}, offsets{json::Array{}};
    for (const int64_t dim : shape.dims()) dims.push(dim);
    offsets.push(end).push(end + 4 * shape.num_elems());
    end += 4 * shape.num_elems();
    tensor.set("dtype", "F32").set("shape", std::move(dims)).set("data_offsets", std::move(offsets));
    header.set(name + ".weight", std::move(tensor));
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // tensors that are not aligned would be copied
  const uint64_t length = text.size();
  std::ofstream(directory / "model.safetensors", std::ios::binary)
      .write(reinterpret_cast<const char*>(&length), sizeof length)
      .write(text.data(), static_cast<std::streamsize>(length));
  fs::resize_file(directory / "model.safetensors", sizeof length + length + static_cast<uint64_t>(end));
}

TEST(ConvertModel, what_the_disk_has_no_room_for_is_refused_before_it_is_written) {
  const fs::path model = fresh("holes"), out = fresh("out");
  try {
    write_holes(model);
  } catch (const fs::filesystem_error& error) {
    GTEST_SKIP() << "no file of holes here: " << error.what();
  }
  try {
    convert_to_gguf(model, out / "m.gguf", {.plan = {.mix = find_mix("f32")}});
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::does_not_fit) << error.text();
    EXPECT_NE(error.text().find("m.gguf: expected room for "), std::string::npos) << error.text();
  }
  EXPECT_TRUE(fs::is_empty(out));
  fs::remove_all(model);
}

}  // namespace
}  // namespace moxie
