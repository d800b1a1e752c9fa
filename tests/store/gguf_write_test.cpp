// The GGUF writer: against a file of the reference package byte by byte, and read back.
#include <gtest/gtest.h>

#include <cstring>

#include "store/gguf.h"
#include "store_test_util.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

const fs::path kTypes = fs::path(MOXIE_SOURCE_DIR) / "tests/data/gguf/types.gguf";

GgufMetadata metadata_of_types() {
  GgufMetadata metadata;
  metadata.set_string("general.architecture", "llama");
  metadata.set_string("general.name", "golden");
  metadata.set<uint8_t>("types.u8", 255);
  metadata.set<int8_t>("types.i8", -128);
  metadata.set<uint16_t>("types.u16", 65535);
  metadata.set<int16_t>("types.i16", -32768);
  metadata.set<uint32_t>("types.u32", UINT32_MAX);
  metadata.set<int32_t>("types.i32", INT32_MIN);
  metadata.set<uint64_t>("types.u64", UINT64_MAX);
  metadata.set<int64_t>("types.i64", INT64_MIN);
  metadata.set<float>("types.f32", 1e-5f);
  metadata.set<double>("types.f64", 0.1);
  metadata.set<bool>("types.yes", true);
  metadata.set<bool>("types.no", false);
  metadata.set_string("types.text", "h\xc3\xa9llo \xf0\x9f\x98\x80");
  metadata.set_strings("arrays.texts", std::vector<std::string>{"<s>", "a",
                                                                "\xe2\x96\x81"
                                                                "b"});
  metadata.set_array<int32_t>("arrays.numbers", std::vector<int32_t>{1, -2, 3});
  metadata.set_array<float>("arrays.floats", std::vector<float>{0.5f, -1.25f});
  return metadata;
}

/// The tensors of types.gguf in the order of its table.
std::vector<NamedView> tensors_of(const GgufFile& file) {
  std::vector<NamedView> tensors;
  for (const char* name : {"ramp.f32", "row.f16", "one.i32", "four.i8", "ramp.q8_0", "ramp.q4_0", "ramp.bf16"}) {
    for (const TensorEntry& entry : file.entries()) {
      if (entry.name == name) tensors.push_back({entry.name, entry.tensor.view});
    }
  }
  return tensors;
}

TEST(GgufWriter, writes_what_the_reference_package_writes_byte_for_byte) {
  TemporaryDirectory directory;
  const GgufFile file = GgufFile::open(kTypes);
  write_gguf(directory / "m.gguf", metadata_of_types(), tensors_of(file));
  EXPECT_EQ(bytes_of(directory / "m.gguf"), bytes_of(kTypes));
}

TEST(GgufWriter, what_it_writes_reads_back) {
  TemporaryDirectory directory;
  const std::vector<uint8_t> bytes(36 * 4, 7);
  GgufMetadata metadata;
  metadata.set_array<bool>("flags", {});
  metadata.set_strings("none", {});
  write_gguf(directory / "m.gguf", metadata,
             std::vector<NamedView>{{"b", dense_view(bytes.data(), FormatId::nvfp4, {2, 2, 64})},
                                    {"a", dense_view(bytes.data(), FormatId::f64, {1})}});
  const GgufFile file = GgufFile::open(directory / "m.gguf");
  EXPECT_EQ(file.metadata().dump(), R"({"flags": [], "none": []})");
  ASSERT_EQ(file.entries().size(), 2u);
  EXPECT_EQ(file.entries()[0].name, "a");
  const View& view = file.entries()[1].tensor.view;
  EXPECT_EQ(view.format, FormatId::nvfp4);
  EXPECT_EQ(view.shape, (Shape{2, 2, 64}));
  EXPECT_EQ(std::memcmp(view.data, bytes.data(), bytes.size()), 0);
}

TEST(GgufWriter, writes_a_file_of_nothing) {
  TemporaryDirectory directory;
  write_gguf(directory / "m.gguf", {}, {});
  EXPECT_TRUE(GgufFile::open(directory / "m.gguf").entries().empty());
}

TEST(GgufWriter, strided_rows_are_written_without_their_gaps) {
  TemporaryDirectory directory;
  const int8_t bytes[12] = {1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0};
  View view = dense_view(bytes, FormatId::i8, {3, 3});
  view.row_bytes = 4;
  write_gguf(directory / "m.gguf", {}, std::vector<NamedView>{{"x", view}});
  const std::string text = bytes_of(directory / "m.gguf");
  EXPECT_EQ(text.size() % 32, 0u);
  EXPECT_EQ(text.substr(text.size() - 32), std::string("\1\2\3\4\5\6\7\10\11") + std::string(23, '\0'));
}

TEST(GgufWriter, refuses_what_the_format_cannot_hold_and_leaves_no_file) {
  TemporaryDirectory directory;
  const uint64_t bytes[4] = {};
  const auto refusal = [&](const std::string& name, FormatId format, const Shape& shape) {
    const std::vector<NamedView> tensors = {{"first", dense_view(bytes, FormatId::i8, {1})},
                                            {name, dense_view(bytes, format, shape)}};
    return refusal_of([&] { write_gguf(directory / "m.gguf", {}, tensors); });
  };
  EXPECT_TRUE(says(refusal("x", FormatId::u64, {1}), {"m.gguf: tensor \"x\"", "a GGUF type", "u64"}));
  EXPECT_TRUE(says(refusal("x", FormatId::i8, {}), {"tensor \"x\"", "1 to 4 dimensions", "[]"}));
  EXPECT_TRUE(says(refusal("x", FormatId::i8, {1, 1, 1, 1, 1}), {"tensor \"x\"", "1 to 4 dimensions"}));
  EXPECT_TRUE(says(refusal("x", FormatId::i8, {0, 2}), {"tensor \"x\"", "at least 1", "[0, 2]"}));
  EXPECT_TRUE(says(refusal("first", FormatId::i8, {1}), {"tensor \"first\"", "each name once"}));
  EXPECT_TRUE(says(refusal("", FormatId::i8, {1}), {"tensor \"\"", "1 to 63 bytes", "got 0"}));
  EXPECT_TRUE(says(refusal(std::string(64, 'n'), FormatId::i8, {1}), {"1 to 63 bytes", "got 64"}));
  EXPECT_TRUE(says(refusal("\xff", FormatId::i8, {1}), {"UTF-8"}));
  EXPECT_EQ(refusal(std::string(63, 'n'), FormatId::i8, {1}), "accepted");
  fs::remove(directory / "m.gguf");
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

TEST(GgufWriter, says_when_the_disk_fails) {
  TemporaryDirectory directory;
  try {
    write_gguf(directory / "none/m.gguf", {}, {});
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::runtime);
    EXPECT_TRUE(says(error.text(), {"none/m.gguf", "No such file or directory"}));
  }
}

// ---- tensors that are made while they are written ----

MadeTensor counted(std::string name, int64_t rows, int64_t columns) {
  return {std::move(name), FormatId::i32, {rows, columns}, [columns](int64_t begin, int64_t end, char* out) {
            for (int64_t i = begin * columns; i < end * columns; ++i, out += 4) {
              const auto value = static_cast<int32_t>(i);
              std::memcpy(out, &value, 4);
            }
          }};
}

TEST(GgufWriter, made_rows_stand_in_order_whatever_the_number_of_threads) {
  TemporaryDirectory directory;
  std::vector<double> told;
  const std::vector<MadeTensor> tensors = {counted("big", 5001, 1000), counted("small", 1, 3)};
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    told.clear();
    write_gguf(directory / std::to_string(threads), {}, tensors, pool, [&](double share) { told.push_back(share); });
  }
  EXPECT_EQ(bytes_of(directory / "1"), bytes_of(directory / "3"));
  const GgufFile file = GgufFile::open(directory / "3");
  const auto* values = static_cast<const int32_t*>(file.entries()[0].tensor.view.data);
  for (int32_t i = 0; i < 5001000; ++i) ASSERT_EQ(values[i], i);
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_EQ(told.back(), 1);
  EXPECT_EQ(told[told.size() - 2], 5001 * 4000 / (5001 * 4000 + 12.0));
}

TEST(GgufWriter, a_fault_while_rows_are_made_leaves_no_file) {
  TemporaryDirectory directory;
  std::vector<MadeTensor> tensors = {counted("x", 4000, 1000)};
  tensors[0].make_rows = [](int64_t begin, int64_t, char*) { throw make_error(ErrorCode::invalid, "row {}", begin); };
  ThreadPool pool(2);
  EXPECT_EQ(refusal_of([&] { write_gguf(directory / "m.gguf", {}, tensors, pool); }), "row 0");
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

TEST(GgufWriter, rows_of_broken_blocks_are_refused) {
  TemporaryDirectory directory;
  const std::vector<MadeTensor> tensors = {{"x", FormatId::q8_0, {2, 33}, {}}};
  ThreadPool pool(1);
  EXPECT_TRUE(says(refusal_of([&] { write_gguf(directory / "m.gguf", {}, tensors, pool); }),
                   {"tensor \"x\"", "whole blocks of 32", "[2, 33]"}));
}

TEST(GgufWriter, metadata_is_copied_with_its_types) {
  TemporaryDirectory directory;
  const GgufFile file = GgufFile::open(kTypes);
  GgufMetadata metadata;
  for (size_t i = 0; i < file.metadata().members().size(); ++i) metadata.copy(file, i);
  write_gguf(directory / "m.gguf", metadata, tensors_of(file));
  EXPECT_EQ(bytes_of(directory / "m.gguf"), bytes_of(kTypes));
}

using GgufWriterDeathTest = testing::Test;

TEST(GgufWriterDeathTest, keys_that_no_reader_takes_are_our_mistake) {
  GgufMetadata metadata;
  metadata.set<bool>("a", true);
  EXPECT_DEATH(metadata.set<bool>("a", true), "CHECK failed");
  EXPECT_DEATH(metadata.set<bool>("", true), "CHECK failed");
  EXPECT_DEATH(metadata.set<uint32_t>("general.alignment", 64), "CHECK failed");
  EXPECT_DEATH(metadata.set_string("b", "\xff"), "CHECK failed");
}

}  // namespace
}  // namespace moxie
