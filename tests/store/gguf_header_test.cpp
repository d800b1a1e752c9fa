// The GGUF header: what must load, and every malformed header by file, field and byte offset.
#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <limits>

#include "gguf_bytes.h"
#include "store/gguf.h"
#include "store_test_util.h"

namespace moxie {
namespace {

std::string refusal(const std::string& file) {
  return refusal_of([&] { parse_gguf_header(file, "t.gguf"); });
}

GgufHeader parsed(const std::string& file) {
  return parse_gguf_header(file, "t.gguf");
}

const std::string kData(64, '\1');
constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
constexpr uint32_t kF32 = 0, kI8 = 24;

// ---- what must load ----

TEST(GgufHeader, reads_metadata_and_tensors_with_their_ranges) {
  const std::string file =
      gguf({key("general.architecture", 8, text("llama"))}, {tensor("b", {3, 2}, kF32, 0), tensor("a", {16}, kI8, 32)},
           std::string(24, '\1') + std::string(8, '\0') + std::string(16, '\1'));
  const GgufHeader header = parsed(file);
  EXPECT_EQ(header.version, 3u);
  EXPECT_EQ(header.alignment, 32u);
  EXPECT_EQ(header.metadata.find("general.architecture")->as_string(), "llama");
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[0].begin, 32);
  EXPECT_EQ(header.tensors[0].end, 48);
  EXPECT_EQ(header.tensors[0].format, FormatId::i8);
  EXPECT_EQ(header.tensors[1].shape, (Shape{2, 3}));  // outermost first
  EXPECT_EQ(header.tensors[1].begin, 0);
  EXPECT_EQ(header.data_begin + 48, static_cast<int64_t>(file.size()));
}

TEST(GgufHeader, accepts_a_file_of_nothing_and_one_of_metadata_only) {
  EXPECT_TRUE(parsed(gguf({})).metadata.members().empty());
  const GgufHeader header = parsed(gguf({key("a", 4, u32(1))}));
  EXPECT_TRUE(header.tensors.empty());
  EXPECT_EQ(header.metadata.find("a")->as_int(), 1);
}

TEST(GgufHeader, accepts_version_two) {
  std::string file = gguf({key("a", 4, u32(1))});
  file[4] = 2;
  EXPECT_EQ(parsed(file).version, 2u);
}

TEST(GgufHeader, accepts_ranks_one_to_four) {
  std::vector<uint64_t> dims;
  for (uint64_t rank = 1; rank <= 4; ++rank) {
    dims.push_back(rank);
    EXPECT_EQ(refusal(gguf({}, {tensor("x", dims, kI8, 0)},
                           std::string(24, '\1').substr(24 - (rank == 4   ? 24
                                                              : rank == 3 ? 6
                                                                          : rank)))),
              "accepted")
        << rank;
  }
  EXPECT_EQ(parsed(gguf({}, {tensor("x", dims, kI8, 0)}, kData.substr(0, 24))).tensors[0].shape, (Shape{4, 3, 2, 1}));
}

TEST(GgufHeader, reads_every_type_of_value_in_file_order_with_its_offset) {
  const std::vector<std::string> keys = {key("u8", 0, "\xff"),
                                         key("i8", 1, "\xff"),
                                         key("u16", 2, u16(65535)),
                                         key("i16", 3, u16(65535)),
                                         key("u32", 4, u32(0xffffffff)),
                                         key("i32", 5, u32(0xffffffff)),
                                         key("f32", 6, number_bytes(1.5f)),
                                         key("yes", 7, "\1"),
                                         key("no", 7, std::string(1, '\0')),
                                         key("text", 8, text("\xc3\xa9")),
                                         key("u64", 10, u64(kMost)),
                                         key("i64", 11, u64(kMost)),
                                         key("f64", 12, number_bytes(0.1)),
                                         key("nan", 6, number_bytes(std::nanf("")))};
  const std::string file = gguf(keys);
  const json::Value metadata = parsed(file).metadata;
  EXPECT_EQ(metadata.find("u8")->as_int(), 255);
  EXPECT_EQ(metadata.find("i8")->as_int(), -1);
  EXPECT_EQ(metadata.find("u16")->as_int(), 65535);
  EXPECT_EQ(metadata.find("i16")->as_int(), -1);
  EXPECT_EQ(metadata.find("u32")->as_int(), 4294967295);
  EXPECT_EQ(metadata.find("i32")->as_int(), -1);
  EXPECT_EQ(metadata.find("f32")->as_double(), 1.5);
  EXPECT_TRUE(metadata.find("yes")->as_bool());
  EXPECT_FALSE(metadata.find("no")->as_bool());
  EXPECT_EQ(metadata.find("text")->as_string(), "\xc3\xa9");
  EXPECT_EQ(metadata.find("u64")->as_uint(), kMost);
  EXPECT_EQ(metadata.find("i64")->as_int(), -1);
  EXPECT_EQ(metadata.find("f64")->as_double(), 0.1);
  EXPECT_TRUE(std::isnan(metadata.find("nan")->as_double()));
  size_t begin = 24;
  for (size_t i = 0; i < keys.size(); ++i) {
    const json::Member& member = metadata.members()[i];
    EXPECT_EQ(member.key_offset, begin) << member.key;
    EXPECT_EQ(member.value.offset(), begin + 8 + member.key.size() + 4) << member.key;
    begin += keys[i].size();
  }
}

TEST(GgufHeader, reads_arrays_empty_and_nested) {
  const std::string nested = u32(9) + u64(2) + u32(0) + u64(2) + "\1\2" + u32(8) + u64(1) + text("x");
  const std::string file = gguf(
      {key("none", 9, u32(8) + u64(0)), key("n", 9, nested), key("t", 9, u32(8) + u64(2) + text("") + text("ab"))});
  const json::Value metadata = parsed(file).metadata;
  EXPECT_TRUE(metadata.find("none")->items().empty());
  EXPECT_EQ(metadata.find("n")->dump(), R"([[1, 2], ["x"]])");
  EXPECT_EQ(metadata.find("n")->items()[1].items()[0].offset(), file.find(text("x")));
  EXPECT_EQ(metadata.find("t")->items()[1].as_string(), "ab");
  EXPECT_EQ(metadata.find("t")->items()[1].offset(), file.find(text("ab")));
}

TEST(GgufHeader, accepts_a_table_out_of_order_whose_tensors_still_tile_the_data) {
  const std::string file = gguf({}, {tensor("b", {1}, kI8, 32), tensor("a", {32}, kI8, 0)}, kData.substr(0, 33));
  EXPECT_EQ(parsed(file).tensors[0].end, 32);
}

TEST(GgufHeader, accepts_padding_behind_the_last_tensor_whole_in_part_or_none) {  // G26
  for (const size_t pad : {0, 1, 31}) {
    EXPECT_EQ(refusal(gguf({}, {tensor("a", {1}, kI8, 0)}, "\1" + std::string(pad, '\0'))), "accepted") << pad;
  }
  const std::string file = gguf({key("a", 4, u32(1))});
  EXPECT_EQ(refusal(file + std::string(32 - file.size() % 32, '\0')), "accepted");
}

TEST(GgufHeader, a_vocabulary_of_200_thousand_texts_loads_in_linear_time) {
  const auto seconds = [](uint64_t count) {
    std::string tokens = u32(8) + u64(count);
    for (uint64_t i = 0; i < count; ++i) tokens += text("token number " + std::to_string(i));
    const std::string file = gguf({key("tokenizer.ggml.tokens", 9, tokens)});
    const std::clock_t begin = std::clock();  // of the processor: others may be busy on the machine
    EXPECT_EQ(parsed(file).metadata.find("tokenizer.ggml.tokens")->items().size(), count);
    return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  };
  const double small = seconds(20'000);
  EXPECT_LT(seconds(200'000), 30 * small + 0.5);  // 10x the texts: quadratic would be 100x
}

TEST(GgufHeader, fifty_thousand_tensors_and_keys_load_in_linear_time) {
  const auto seconds = [](uint64_t count) {
    std::vector<std::string> keys, tensors;
    for (uint64_t i = 0; i < count; ++i) {
      keys.push_back(key("key." + std::to_string(i), 0, "\1"));
      tensors.push_back(tensor("tensor." + std::to_string(i), {32}, kI8, 32 * i));
    }
    const std::string file = gguf(keys, tensors, std::string(32 * count, '\1'));
    const std::clock_t begin = std::clock();  // of the processor: others may be busy on the machine
    EXPECT_EQ(parsed(file).tensors.size(), count);
    return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  };
  const double small = seconds(5'000);
  EXPECT_LT(seconds(50'000), 30 * small + 0.5);
}

// ---- the frame (G1-G4) ----

TEST(GgufHeader, refuses_another_magic_and_says_what_it_is) {  // G1
  EXPECT_TRUE(says(refusal(""), {"t.gguf: magic at byte 0", "\"GGUF\"", "a file of 0 bytes"}));
  EXPECT_TRUE(says(refusal("GGU"), {"t.gguf: magic at byte 0", "a file of 3 bytes"}));
  EXPECT_TRUE(says(refusal("GGUf" + u32(3)), {"magic at byte 0", "got \"GGUf\""}));
  EXPECT_TRUE(says(refusal("FUGG" + u32(3)), {"magic at byte 0", "got \"FUGG\""}));
  EXPECT_TRUE(says(refusal("tjgg" + u32(3)), {"magic at byte 0", "older than GGUF"}));
  EXPECT_TRUE(says(refusal(file_of("{}")), {"magic at byte 0", "a safetensors file"}));
  EXPECT_TRUE(says(refusal("version https://git-lfs.github.com/spec/v1\n"), {"magic at byte 0", "Git LFS"}));
  EXPECT_TRUE(says(refusal("<!DOCTYPE html>"), {"magic at byte 0", "HTML"}));
}

TEST(GgufHeader, refuses_other_versions_and_names_the_other_byte_order) {  // G2
  std::string file = gguf({});
  for (const uint32_t version : {0u, 1u, 4u, 0xffffffffu}) {
    file.replace(4, 4, u32(version));
    EXPECT_TRUE(says(refusal(file), {"t.gguf: version at byte 4", "2 or 3", "got " + std::to_string(version)}));
  }
  file.replace(4, 4, u32(0x03000000));
  EXPECT_TRUE(says(refusal(file), {"t.gguf: version at byte 4", "0x03000000", "big-endian"}));
  EXPECT_TRUE(says(refusal(file.substr(0, 6)), {"t.gguf: version at byte 4", "the end of the file after 2"}));
}

TEST(GgufHeader, refuses_counts_that_the_file_has_no_room_for) {  // G3, G4
  std::string file = gguf({}) + std::string(76, '\0');
  for (const uint64_t count : {kMost, uint64_t{1} << 62, uint64_t{1'000'000'000}}) {
    const std::string got = "got " + std::to_string(count);
    file.replace(8, 16, u64(count) + u64(0));
    EXPECT_TRUE(says(refusal(file), {"t.gguf: number of tensors at byte 8", "the file ends at byte 100", got}));
    file.replace(8, 16, u64(0) + u64(count));
    EXPECT_TRUE(says(refusal(file), {"t.gguf: number of metadata keys at byte 16", "the file ends at byte 100", got}));
  }
  EXPECT_TRUE(says(refusal(file.substr(0, 12)), {"number of tensors at byte 8", "8 bytes", "after 4"}));
  EXPECT_TRUE(says(refusal(gguf({}).substr(0, 16)), {"number of metadata keys at byte 16", "8 bytes", "after 0"}));
}

// ---- metadata (G5-G13) ----

TEST(GgufHeader, refuses_keys_of_no_possible_length) {  // G5
  const auto with = [](uint64_t length) { return gguf({u64(length) + std::string(100'000, 'k')}); };
  for (const uint64_t length : {kMost, uint64_t{0}, uint64_t{65'536}}) {
    EXPECT_TRUE(says(refusal(with(length)), {"t.gguf: metadata key 0 length at byte 24", "1 to 65535 bytes",
                                             "got " + std::to_string(length)}));
  }
  EXPECT_TRUE(says(refusal(gguf({u64(15) + std::string(14, 'k')})),
                   {"t.gguf: metadata key 0 length at byte 24", "at most 14", "ends at byte 46", "got 15"}));
  EXPECT_EQ(refusal(gguf({key(std::string(65'535, 'k'), 0, "\1")})), "accepted");
}

TEST(GgufHeader, refuses_keys_with_nul_or_bytes_that_are_not_utf8) {  // G6
  EXPECT_TRUE(
      says(refusal(gguf({key(std::string("a\0b", 3), 0, "\1")})), {"t.gguf: metadata key 0 at byte 33", "NUL"}));
  for (const char* bad : {"ab\xff", "ab\xc0\xaf", "ab\xed\xa0\x80"}) {
    EXPECT_TRUE(says(refusal(gguf({key(bad, 0, "\1")})), {"t.gguf: metadata key 0 at byte 34", "UTF-8"}));
  }
}

TEST(GgufHeader, refuses_a_key_twice) {  // G7
  const std::string file = gguf({key("a", 0, "\1"), key("ab", 0, "\1"), key("a", 4, u32(1))});
  EXPECT_TRUE(says(refusal(file), {"t.gguf: metadata \"a\" at byte " + std::to_string(24 + 14 + 15), "each key once"}));
}

TEST(GgufHeader, refuses_unknown_types_of_values) {  // G8
  for (const uint32_t type : {13u, 0xffffffffu, 0x80000000u}) {
    const std::string got = "got " + std::to_string(type);
    EXPECT_TRUE(
        says(refusal(gguf({key("k", type, "1234")})), {"t.gguf: metadata \"k\" type at byte 33", "0 to 12", got}));
    EXPECT_TRUE(says(refusal(gguf({key("k", 9, u32(type) + u64(0))})),
                     {"t.gguf: metadata \"k\" item type at byte 37", "0 to 12", got}));
  }
}

TEST(GgufHeader, refuses_arrays_nested_deeper_than_eight) {  // G9
  const auto nested = [](int depth) {
    std::string value;
    for (int i = 1; i < depth; ++i) value += u32(9) + u64(1);
    return gguf({key("k", 9, value + u32(0) + u64(0))});
  };
  EXPECT_EQ(refusal(nested(8)), "accepted");
  for (const int depth : {9, 1000}) {
    EXPECT_TRUE(says(refusal(nested(depth)),
                     {"t.gguf: metadata \"k\" item type at byte " + std::to_string(37 + 7 * 12), "at most 8 levels"}));
  }
}

TEST(GgufHeader, refuses_arrays_that_the_file_has_no_room_for) {  // G10
  for (const auto& [type, most] : {std::pair<uint32_t, int>{8, 2}, {0, 20}, {10, 2}, {9, 1}, {2, 10}}) {
    for (const uint64_t count : {uint64_t{1} << 63, kMost, static_cast<uint64_t>(most) + 1}) {
      const std::string file = gguf({key("k", 9, u32(type) + u64(count) + std::string(20, '\0'))});
      EXPECT_TRUE(says(refusal(file), {"t.gguf: metadata \"k\" count at byte 41", fmt::format("at most {} ", most),
                                       "got " + std::to_string(count)}))
          << type;
    }
  }
}

TEST(GgufHeader, refuses_more_values_than_four_million) {
  std::string bytes(size_t{1} << 22, '\1');
  EXPECT_TRUE(says(refusal(gguf({key("k", 9, u32(0) + u64(bytes.size()) + bytes)})),
                   {"t.gguf: metadata \"k\" at byte 41", "at most 4194304 metadata values", "got 4194305"}));
}

TEST(GgufHeader, refuses_texts_longer_than_the_file_or_not_utf8) {  // G11
  for (const uint64_t length : {kMost, uint64_t{1} << 63, uint64_t{4}}) {
    EXPECT_TRUE(says(refusal(gguf({key("k", 8, u64(length) + "abc")})),
                     {"t.gguf: metadata \"k\" length at byte 37", "at most 3", "got " + std::to_string(length)}));
  }
  const std::string file = gguf({key("k", 9, u32(8) + u64(2) + text("ok") + u64(9) + "abc")});
  EXPECT_TRUE(says(refusal(file), {"t.gguf: metadata \"k\" length", at(file, u64(9) + "abc"), "got 9"}));
  EXPECT_TRUE(
      says(refusal(gguf({key("k", 8, text("ab\xff"))})), {"t.gguf: metadata \"k\" at byte 47", "UTF-8", "0xff"}));
}

TEST(GgufHeader, refuses_a_truth_value_of_two) {  // G12
  EXPECT_TRUE(says(refusal(gguf({key("k", 7, "\2")})), {"t.gguf: metadata \"k\" at byte 37", "0 or 1", "got 2"}));
  EXPECT_TRUE(says(refusal(gguf({key("k", 9, u32(7) + u64(2) + "\1\2")})), {"metadata \"k\" at byte 50", "0 or 1"}));
}

TEST(GgufHeader, refuses_values_that_the_file_cuts) {
  const std::string file = gguf({key("k", 4, u32(1))});
  for (size_t size = 24; size < file.size(); ++size) EXPECT_NE(refusal(file.substr(0, size)), "accepted") << size;
  EXPECT_TRUE(
      says(refusal(file.substr(0, file.size() - 1)), {"t.gguf: metadata \"k\" at byte 37", "4 bytes", "after 3"}));
}

TEST(GgufHeader, refuses_alignments_that_are_none) {  // G13
  const auto with = [](uint32_t type, const std::string& value) {
    return gguf({key("general.alignment", type, value)});
  };
  for (const uint32_t alignment : {0u, 4u, 13u, 24u, 131072u, 0x80000000u, 0xffffffe0u}) {
    EXPECT_TRUE(
        says(refusal(with(4, u32(alignment))), {"t.gguf: metadata \"general.alignment\" at byte 53",
                                                "a power of two from 8 to 65536", "got " + std::to_string(alignment)}));
  }
  for (const auto& [type, value] :
       {std::pair<uint32_t, std::string>{5, u32(32)}, {8, text("32")}, {10, u64(32)}, {9, u32(4) + u64(1) + u32(32)}}) {
    EXPECT_TRUE(says(refusal(with(type, value)), {"t.gguf: metadata \"general.alignment\" type at byte 49", "4 (u32)",
                                                  "got " + std::to_string(type)}));
  }
}

TEST(GgufHeader, places_the_data_by_the_alignment_of_the_file) {
  for (const uint32_t alignment : {8u, 64u, 4096u}) {
    const GgufHeader header = parsed(gguf({key("general.alignment", 4, u32(alignment))},
                                          {tensor("a", {1}, kI8, 0), tensor("b", {1}, kI8, alignment)},
                                          "\1" + std::string(alignment - 1, '\0') + "\1", alignment));
    EXPECT_EQ(header.alignment, alignment);
    EXPECT_EQ(header.data_begin % alignment, 0);
  }
}

}  // namespace
}  // namespace moxie
