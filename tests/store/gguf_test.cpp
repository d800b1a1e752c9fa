// GGUF files: those that others wrote, split sets and what may be wrong with them, and the writer.
#include "store/gguf.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "gguf_bytes.h"
#include "store_test_util.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

const fs::path kData = fs::path(MOXIE_SOURCE_DIR) / "tests/data/gguf";
constexpr uint32_t kI8 = 24;

std::string refusal(const fs::path& path) {
  return refusal_of([&] { GgufFile::open(path); });
}

const Tensor& tensor_of(const GgufFile& file, std::string_view name) {
  for (const TensorEntry& entry : file.entries()) {
    if (entry.name == name) return entry.tensor;
  }
  throw make_error(ErrorCode::invalid, "no tensor {}", name);
}

std::string bytes_of_view(const View& view) {
  return {static_cast<const char*>(view.data), static_cast<size_t>(view.num_bytes())};
}

// ---- files that others wrote ----

TEST(Gguf, maps_a_file_that_the_reference_package_wrote) {
  const GgufFile file = GgufFile::open(kData / "types.gguf");
  const json::Value& metadata = file.metadata();
  EXPECT_EQ(metadata.members()[0].key, "general.architecture");
  EXPECT_EQ(metadata.find("types.u64")->as_uint(), UINT64_MAX);
  EXPECT_EQ(metadata.find("types.i64")->as_int(), INT64_MIN);
  EXPECT_EQ(metadata.find("types.i8")->as_int(), -128);
  EXPECT_EQ(metadata.find("types.f32")->as_double(), double{1e-5f});
  EXPECT_EQ(metadata.find("types.f64")->as_double(), 0.1);
  EXPECT_EQ(metadata.find("types.text")->as_string(), "h\xc3\xa9llo \xf0\x9f\x98\x80");
  EXPECT_EQ(metadata.find("arrays.numbers")->dump(), "[1, -2, 3]");
  EXPECT_EQ(metadata.find("arrays.texts")->items()[0].as_string(), "<s>");
  ASSERT_EQ(file.entries().size(), 7u);
  EXPECT_EQ(file.entries()[0].name, "four.i8");
  EXPECT_EQ(file.entries()[0].file, file.source());
  const View& ramp = tensor_of(file, "ramp.f32").view;
  ASSERT_EQ(ramp.shape, (Shape{2, 3, 64}));
  for (int i = 0; i < 384; ++i) EXPECT_EQ(ramp.f32()[i], static_cast<float>(i));
  EXPECT_EQ(bytes_of_view(tensor_of(file, "row.f16").view), std::string("\x00\x38\x00\xc0\xff\x7b", 6));
  const View& blocks = tensor_of(file, "ramp.q8_0").view;
  EXPECT_EQ(blocks.format, FormatId::q8_0);
  EXPECT_EQ(blocks.row_bytes, 2 * 34);
  EXPECT_EQ(tensor_of(file, "ramp.bf16").view.format, FormatId::bf16);
  EXPECT_EQ(tensor_of(file, "four.i8").view.shape, (Shape{2, 2, 2, 2}));
}

TEST(Gguf, joins_the_parts_of_a_split_set) {
  const GgufFile whole = GgufFile::open(kData / "types.gguf");
  const GgufFile parts = GgufFile::open(kData / "split-00001-of-00003.gguf");
  EXPECT_EQ(parts.maps().size(), 3u);
  EXPECT_EQ(parts.metadata().find("types.u8")->as_int(), 255);
  EXPECT_EQ(parts.metadata().find("arrays.nested")->dump(), "[[1, 2], [3]]");
  ASSERT_EQ(parts.entries().size(), whole.entries().size());
  for (size_t i = 0; i < whole.entries().size(); ++i) {
    const View& a = whole.entries()[i].tensor.view;
    const View& b = parts.entries()[i].tensor.view;
    EXPECT_EQ(parts.entries()[i].name, whole.entries()[i].name);
    EXPECT_EQ(b.shape, a.shape);
    EXPECT_EQ(bytes_of_view(b), bytes_of_view(a)) << whole.entries()[i].name;
  }
  EXPECT_NE(parts.entries()[0].file, parts.entries()[1].file);
}

TEST(Gguf, reads_a_real_vocabulary) {
  TemporaryDirectory directory;
  const fs::path path = directory / "gpt-2.gguf";
  const fs::path stored = kData / "../tokenizers/ggml-vocab/gpt-2.gguf.gz";
  ASSERT_EQ(std::system(("gzip -dc '" + stored.string() + "' > '" + path.string() + "'").c_str()), 0);
  const GgufFile file = GgufFile::open(path);
  const json::Value& metadata = file.metadata();
  EXPECT_TRUE(file.entries().empty());
  EXPECT_EQ(metadata.members().size(), 16u);
  EXPECT_EQ(metadata.find("general.architecture")->as_string(), "gpt2");
  EXPECT_EQ(metadata.find("gpt2.context_length")->as_int(), 1024);
  EXPECT_EQ(metadata.find("gpt2.attention.layer_norm_epsilon")->as_double(), double{1e-5f});
  EXPECT_EQ(metadata.find("tokenizer.ggml.model")->as_string(), "gpt2");
  const json::Array& tokens = metadata.find("tokenizer.ggml.tokens")->items();
  ASSERT_EQ(tokens.size(), 50257u);
  EXPECT_EQ(tokens[0].as_string(), "!");
  EXPECT_EQ(tokens[50256].as_string(), "<|endoftext|>");
  EXPECT_EQ(metadata.find("tokenizer.ggml.token_type")->items().size(), 50257u);
  EXPECT_EQ(metadata.find("tokenizer.ggml.merges")->items()[0].as_string(), "\xc4\xa0 t");
  const std::string bytes = bytes_of(path);
  EXPECT_EQ(bytes.substr(tokens[50256].offset() + 8, 13), "<|endoftext|>");
}

TEST(Gguf, a_tensor_keeps_its_file_mapped) {
  Tensor ramp;
  { ramp = tensor_of(GgufFile::open(kData / "types.gguf"), "ramp.f32"); }
  EXPECT_EQ(ramp.view.f32()[383], 383.0f);
}

TEST(Gguf, says_what_it_was_given_instead) {
  TemporaryDirectory directory;
  EXPECT_TRUE(says(refusal(directory.path()), {"expected a regular file", "a directory"}));
  EXPECT_TRUE(says(refusal(directory / "none.gguf"), {"none.gguf", "No such file"}));
  EXPECT_TRUE(says(refusal(directory.put("z.gguf", "\x1f\x8b\x08")), {"z.gguf: magic at byte 0", "gzip"}));
  EXPECT_TRUE(says(refusal(directory.put("e.gguf", "")), {"e.gguf: magic at byte 0", "a file of 0 bytes"}));
}

// ---- split sets that are not whole (G14) ----

/// Part `no` of a set as llama.cpp's tools write them, with one tensor.
std::string part(uint16_t no, uint16_t count, uint32_t tensors, std::string_view name) {
  return gguf(
      {key("split.no", 2, u16(no)), key("split.count", 2, u16(count)), key("split.tensors.count", 5, u32(tensors))},
      {tensor(name, {1}, kI8, 0)}, "\1");
}

constexpr std::string_view kFirst = "m-00001-of-00002.gguf", kSecond = "m-00002-of-00002.gguf";

TEST(Gguf, a_count_of_zero_or_one_is_a_whole_file) {  // tools that merge leave 0 behind
  TemporaryDirectory directory;
  EXPECT_EQ(refusal(directory.put("0.gguf", part(0, 0, 1, "a"))), "accepted");
  EXPECT_EQ(refusal(directory.put("1.gguf", part(0, 1, 1, "a"))), "accepted");
}

TEST(Gguf, names_the_parts_that_are_missing) {
  TemporaryDirectory directory;
  const fs::path first = directory.put(kFirst, part(0, 2, 2, "a"));
  EXPECT_TRUE(says(refusal(first), {"m-00001-of-00002.gguf: metadata \"split.count\" at byte", "2 parts",
                                    "1 missing: m-00002-of-00002.gguf"}));
  directory.put(kSecond, part(1, 2, 2, "b"));
  EXPECT_EQ(refusal(first), "accepted");
  const fs::path many = directory.put("m-00001-of-00999.gguf", part(0, 999, 2, "a"));
  EXPECT_TRUE(says(refusal(many), {"998 missing: m-00002-of-00999.gguf, ", " and 990 more"}));
}

TEST(Gguf, refuses_counts_and_numbers_of_parts_that_cannot_be) {
  TemporaryDirectory directory;
  const auto with = [&](const std::string& no, uint32_t type, const std::string& count) {
    return refusal(directory.put(kFirst, gguf({key("split.no", 2, no), key("split.count", type, count)})));
  };
  const std::string where = "m-00001-of-00002.gguf: metadata \"split.count\" at byte 69";
  EXPECT_TRUE(says(with(u16(0), 4, u32(65536)), {where, "0 to 65535", "got 65536"}));
  EXPECT_TRUE(says(with(u16(0), 5, u32(0xffffffff)), {where, "0 to 65535", "got -1"}));
  EXPECT_TRUE(says(with(u16(0), 8, text("2")), {where, "0 to 65535", "got \"2\""}));
  EXPECT_TRUE(says(with(u16(0), 9, u32(0) + u64(1) + "\2"), {where, "0 to 65535", "got an array"}));
  EXPECT_TRUE(says(with(u16(0), 2, u16(3)), {where, "-00001-of-00003.gguf", "got m-00001-of-00002.gguf"}));
  EXPECT_TRUE(says(with(u16(2), 2, u16(2)), {"\"split.no\" at byte 44", "less than 2", "got 2"}));
  EXPECT_TRUE(says(with(u16(1), 2, u16(1)), {"\"split.no\" at byte 44", "less than 1", "got 1"}));
  EXPECT_TRUE(
      says(with(u16(1), 2, u16(2)), {"\"split.no\" at byte 44", "the first part", "got 1", "-00001-of-00002.gguf"}));
}

TEST(Gguf, refuses_parts_of_different_sets) {
  TemporaryDirectory directory;
  const fs::path first = directory.put(kFirst, part(0, 2, 2, "a"));
  const auto with = [&](const std::string& second) {
    directory.put(kSecond, second);
    return refusal(first);
  };
  const std::string source = (directory / kSecond).string() + ": ";
  EXPECT_TRUE(
      says(with(part(0, 2, 2, "b")), {source + "metadata \"split.no\" at byte 44", "expected 1, as part 2", "got 0"}));
  EXPECT_TRUE(says(with(part(1, 3, 2, "b")), {source + "metadata \"split.count\" at byte 69", "expected 2", "got 3"}));
  EXPECT_TRUE(says(with(part(1, 2, 5, "b")), {source + "metadata \"split.tensors.count\"", "expected 2", "got 5"}));
  EXPECT_TRUE(says(with(gguf({})), {source + "metadata \"split.no\"", "no such key"}));
  EXPECT_TRUE(says(with(part(1, 2, 2, "a")), {source + "tensor \"a\"", "each name in one part", std::string(kFirst)}));
  EXPECT_TRUE(says(with("GGUF"), {source + "version at byte 4"}));
  directory.put(kFirst, part(0, 2, 9, "a"));
  EXPECT_TRUE(says(with(part(1, 2, 9, "b")),
                   {first.string() + ": metadata \"split.tensors.count\"", "2, the tensors of all parts", "got 9"}));
}

// ---- tensors under other names ----

TEST(Gguf, its_tensors_make_a_checkpoint_under_other_names) {
  TemporaryDirectory directory;
  const fs::path path = directory.put("m.gguf", bytes_of(kData / "types.gguf"));
  const GgufFile file = GgufFile::open(path);
  std::vector<TensorEntry> entries = {{"z", tensor_of(file, "ramp.f32"), file.source()},
                                      {"model.norm", tensor_of(file, "row.f16"), file.source()}};
  const Checkpoint checkpoint = Checkpoint::from_entries(file.maps(), entries);
  EXPECT_EQ(checkpoint.entries()[0].name, "model.norm");
  EXPECT_EQ(checkpoint.find("z")->view.f32()[5], 5.0f);
  EXPECT_EQ(checkpoint.total_bytes(), 384 * 4 + 3 * 2);
  checkpoint.check_unchanged();
  entries[0].name = "model.norm";
  EXPECT_TRUE(says(refusal_of([&] { Checkpoint::from_entries(file.maps(), entries); }),
                   {"m.gguf: tensor \"model.norm\"", "each name once"}));
  fs::resize_file(path, 100);
  EXPECT_TRUE(says(refusal_of([&] { checkpoint.check_unchanged(); }), {"m.gguf", "100 bytes", "shrank"}));
}

}  // namespace
}  // namespace moxie
