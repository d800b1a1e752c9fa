// Sharded checkpoints: a real index, and every way in which index and shards may disagree.
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "store/safetensors.h"
#include "store_test_util.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

const fs::path kData = fs::path(MOXIE_SOURCE_DIR) / "tests/data";
const fs::path kMixtralIndex = kData / "layouts/mixtral-8x22b.model.safetensors.index.json";

std::string index_refusal(std::string_view text) {
  return refusal_of([&] { parse_shard_index(text, "i.json"); });
}

/// A directory with an index of the given weight_map and shards of one-byte tensors of the given names.
struct ShardedModel {
  TemporaryDirectory directory;

  void shard(std::string_view file, const std::vector<std::string>& names) const {
    const uint8_t byte = 1;
    std::vector<NamedView> tensors;
    for (const std::string& name : names) tensors.push_back({name, dense_view(&byte, FormatId::u8, {1})});
    write_safetensors(directory / file, tensors);
  }

  std::string refusal(std::string_view index) const {
    directory.put("model.safetensors.index.json", index);
    return refusal_of([&] { Checkpoint::open(directory.path()); });
  }
};

TEST(ShardIndex, reads_a_real_index_of_59_shards) {
  const ShardIndex index = parse_shard_index(read_file(kMixtralIndex, 1 << 20), "index");
  EXPECT_EQ(index.shards.size(), 59u);
  EXPECT_EQ(index.total_size, 281241268224);
  size_t count = 0;
  for (const auto& [shard, names] : index.shards) count += names.size();
  EXPECT_EQ(count, 1739u);
  EXPECT_EQ(index.shards.at("model-00059-of-00059.safetensors").front(), "lm_head.weight");
}

TEST(ShardIndex, opens_a_checkpoint_of_59_shards) {  // the names of the real one, one byte a tensor
  const ShardIndex index = parse_shard_index(read_file(kMixtralIndex, 1 << 20), "index");
  ShardedModel model;
  json::Value map;
  for (const auto& [shard, names] : index.shards) {
    model.shard(shard, names);
    for (const std::string& name : names) map.set(name, shard);
  }
  json::Value root;
  root.set("metadata", json::Value().set("total_size", 1739));
  root.set("weight_map", map);
  model.directory.put("model.safetensors.index.json", root.dump());
  const Checkpoint checkpoint = Checkpoint::open(model.directory.path());
  EXPECT_EQ(checkpoint.entries().size(), 1739u);
  EXPECT_EQ(checkpoint.total_bytes(), 1739);
  const Tensor* found = checkpoint.find("model.layers.55.block_sparse_moe.experts.7.w3.weight");
  ASSERT_NE(found, nullptr);
  EXPECT_TRUE(std::is_sorted(checkpoint.entries().begin(), checkpoint.entries().end(),
                             [](const auto& a, const auto& b) { return a.name < b.name; }));
}

TEST(ShardIndex, opens_the_same_tensors_from_shards_as_from_one_file) {
  const Checkpoint whole = Checkpoint::open(kData / "golden/mixtral");
  const Checkpoint sharded = Checkpoint::open(kData / "golden-layouts/mixtral-sharded");
  ASSERT_EQ(whole.entries().size(), sharded.entries().size());
  for (size_t i = 0; i < whole.entries().size(); ++i) {
    EXPECT_EQ(whole.entries()[i].name, sharded.entries()[i].name);
    EXPECT_EQ(whole.entries()[i].tensor.view.shape, sharded.entries()[i].tensor.view.shape);
    EXPECT_NE(sharded.entries()[i].file.find("-of-00003.safetensors"), std::string::npos);
  }
  EXPECT_EQ(Checkpoint::open(kData / "golden-layouts/mixtral-sharded/model.safetensors.index.json").entries().size(),
            whole.entries().size());
}

TEST(ShardIndex, refuses_shard_names_that_lead_elsewhere) {  // X1, X6
  for (const std::string_view name :
       {"../other.safetensors", "/etc/x.safetensors", "a\\\\b.safetensors", "https://example.org/m.safetensors",
        "a\\u0000.safetensors", "", ".", "..", "model.safetensors.index.json", "m.bin", ".hidden.safetensors",
        "C:m.safetensors"}) {
    const std::string text = fmt::format(R"({{"weight_map":{{"w":"{}"}}}})", name);
    EXPECT_TRUE(says(index_refusal(text), {"i.json: weight_map \"w\" at byte 19", "plain name"})) << name;
  }
}

TEST(ShardIndex, refuses_a_map_that_is_none) {
  EXPECT_TRUE(says(index_refusal(R"({"metadata":{}})"), {"i.json: weight_map at byte 0", "no such field"}));
  EXPECT_TRUE(says(index_refusal(R"({"weight_map":[]})"), {"i.json: weight_map at byte 14", "an array"}));
  EXPECT_TRUE(says(index_refusal(R"({"weight_map":{}})"), {"i.json: weight_map at byte 14", "none"}));
  EXPECT_TRUE(says(index_refusal(R"({"weight_map":{"w":1}})"), {"weight_map \"w\" at byte 19", "a string"}));
  EXPECT_TRUE(
      says(index_refusal(R"({"weight_map":{"w":"a.safetensors","w":"a.safetensors"}})"), {"byte 35", "byte 15"}));
  EXPECT_TRUE(says(index_refusal("[]"), {"i.json: weight_map at byte 0"}));
}

TEST(ShardIndex, lists_the_shards_that_are_missing) {  // X2
  ShardedModel model;
  model.shard("a.safetensors", {"x"});
  EXPECT_TRUE(says(model.refusal(R"({"weight_map":{"x":"a.safetensors","y":"b.safetensors","z":"c.safetensors"}})"),
                   {"model.safetensors.index.json", "3 shards", "2 missing: b.safetensors, c.safetensors"}));
}

TEST(ShardIndex, lists_the_tensors_that_a_shard_does_not_hold) {  // X3
  ShardedModel model;
  model.shard("a.safetensors", {"x"});
  EXPECT_TRUE(says(model.refusal(R"({"weight_map":{"x":"a.safetensors","y":"a.safetensors","z":"a.safetensors"}})"),
                   {"a.safetensors", "none named y, z"}));
}

TEST(ShardIndex, refuses_a_tensor_in_two_shards) {  // X4
  ShardedModel model;
  model.shard("a.safetensors", {"x", "y"});
  model.shard("b.safetensors", {"y"});
  EXPECT_TRUE(says(model.refusal(R"({"weight_map":{"x":"a.safetensors","y":"b.safetensors"}})"),
                   {"model.safetensors.index.json", "others beside: y in a.safetensors"}));
}

TEST(ShardIndex, refuses_a_total_that_is_not_the_sum) {  // X5
  ShardedModel model;
  model.shard("a.safetensors", {"x", "y"});
  EXPECT_TRUE(
      says(model.refusal(R"({"metadata":{"total_size":3},"weight_map":{"x":"a.safetensors","y":"a.safetensors"}})"),
           {"metadata total_size", "expected 2", "got 3"}));
  EXPECT_EQ(model.refusal(R"({"metadata":{"total_size":2},"weight_map":{"x":"a.safetensors","y":"a.safetensors"}})"),
            "accepted");
}

TEST(ShardIndex, refuses_a_shard_that_is_an_index_or_a_loop) {  // X6
  ShardedModel model;
  model.directory.put("a.safetensors", R"({"weight_map":{"x":"a.safetensors"}})");
  EXPECT_TRUE(
      says(model.refusal(R"({"weight_map":{"x":"a.safetensors"}})"), {"a.safetensors: header length at byte 0"}));
  fs::remove(model.directory / "a.safetensors");
  fs::create_symlink("a.safetensors", model.directory / "a.safetensors");
  EXPECT_TRUE(says(model.refusal(R"({"weight_map":{"x":"a.safetensors"}})"), {"a.safetensors", "symbolic links"}));
}

}  // namespace
}  // namespace moxie
