// The table of tensors in a GGUF header: every malformed entry by file, field and byte offset.
#include <gtest/gtest.h>

#include <limits>

#include "gguf_bytes.h"
#include "store/gguf.h"
#include "store_test_util.h"

namespace moxie {
namespace {

constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kHalf = uint64_t{1} << 63;
constexpr uint32_t kF32 = 0, kI8 = 24, kF64 = 28, kQ4K = 12;
const std::string kData(64, '\1');

// In a file with the one tensor "x" of one dimension: its name's length at 24, the name at 32, rank at 33, the
// dimension at 37, type at 45, offset at 49.
std::string refusal(const std::string& file) {
  return refusal_of([&] { parse_gguf_header(file, "t.gguf"); });
}

std::string refusal_of_one(const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset = 0) {
  return refusal(gguf({}, {tensor("x", dims, type, offset)}, kData));
}

TEST(GgufTensors, refuses_names_of_no_possible_length) {  // G15
  for (const uint64_t length : {kMost, uint64_t{0}, uint64_t{64}, uint64_t{65}}) {
    const std::string file = gguf({}, {u64(length) + std::string(80, 'n')});
    EXPECT_TRUE(
        says(refusal(file), {"t.gguf: tensor 0 length at byte 24", "1 to 63 bytes", "got " + std::to_string(length)}));
  }
  EXPECT_EQ(refusal(gguf({}, {tensor(std::string(63, 'n'), {64}, kI8, 0)}, kData)), "accepted");
  EXPECT_TRUE(says(refusal(gguf({}, {u64(63) + std::string(40, 'n')}, "", 1)),
                   {"t.gguf: tensor 0 length at byte 24", "at most 40", "ends at byte 72"}));
}

TEST(GgufTensors, refuses_names_with_nul_and_names_twice) {  // G15
  EXPECT_TRUE(says(refusal(gguf({}, {tensor(std::string("a\0b", 3), {64}, kI8, 0)}, kData)),
                   {"t.gguf: tensor 0 at byte 33", "without NUL"}));
  EXPECT_TRUE(
      says(refusal(gguf({}, {tensor("a\xff", {64}, kI8, 0)}, kData)), {"t.gguf: tensor 0 at byte 33", "UTF-8"}));
  const std::string one = tensor("xy", {32}, kI8, 0);
  EXPECT_TRUE(
      says(refusal(gguf({}, {one, tensor("a", {1}, kI8, 32), tensor("xy", {32}, kI8, 64)}, kData + kData.substr(32))),
           {"t.gguf: tensor \"xy\" at byte " + std::to_string(24 + 2 * one.size() - 1), "each name once",
            "first at byte 24"}));
}

TEST(GgufTensors, refuses_ranks_outside_one_to_four) {  // G16
  for (const uint32_t rank : {0u, 5u, 8u, 9u, 0xffffffffu}) {
    std::string file = gguf({}, {tensor("x", {64}, kI8, 0)}, kData);
    file.replace(33, 4, u32(rank));
    EXPECT_TRUE(says(refusal(file), {"t.gguf: tensor \"x\" rank at byte 33", "1 to 4", "got " + std::to_string(rank)}));
  }
}

TEST(GgufTensors, refuses_packed_rows_that_cannot_be) {
  constexpr uint32_t kPacked = 1 << 16, kQ80 = 8, kIq2Xxs = 16;
  const auto file = [](const std::vector<uint64_t>& dims, uint32_t type) {
    return gguf({}, {tensor("x", dims, type, 0)}, std::string(64 * 34, '\0'));
  };
  const GgufHeader header = parse_gguf_header(file({32, 64}, kPacked + kQ80), "t.gguf");
  EXPECT_TRUE(header.tensors[0].packed);
  EXPECT_FALSE(parse_gguf_header(file({32, 64}, kQ80), "t.gguf").tensors[0].packed);
  EXPECT_TRUE(says(refusal(file({32, 64}, kPacked + kF32)), {"type at byte 53", "can be packed", "f32"}));
  EXPECT_TRUE(says(refusal(file({256, 32}, kPacked + kIq2Xxs)), {"type at byte 53", "can be packed", "iq2_xxs"}));
  EXPECT_TRUE(says(refusal(file({32, 63}, kPacked + kQ80)), {"type at byte 53", "32 rows or a multiple", "[63, 32]"}));
  EXPECT_TRUE(says(refusal(file({32}, kPacked + kQ80)), {"type at byte 45", "32 rows or a multiple", "[32]"}));
  EXPECT_TRUE(says(refusal(file({32, 64}, 2 * kPacked + kQ80)), {"not known to this build"}));
}

TEST(GgufTensors, refuses_dimensions_that_are_no_sizes) {  // G17
  for (const uint64_t dim : {kMost, uint64_t{0}, kHalf}) {
    EXPECT_TRUE(says(refusal_of_one({dim}, kI8),
                     {"t.gguf: tensor \"x\" dimension 0 at byte 37", "1 to 2^63-1", "got " + std::to_string(dim)}));
    EXPECT_TRUE(says(refusal_of_one({4, 4, dim}, kI8), {"t.gguf: tensor \"x\" dimension 2 at byte 53"}));
  }
}

TEST(GgufTensors, refuses_more_elements_than_63_bits_count) {  // G18
  for (const std::vector<uint64_t>& dims : {std::vector<uint64_t>{uint64_t{1} << 32, uint64_t{1} << 31},
                                            {uint64_t{1} << 32, uint64_t{1} << 32},
                                            {3, 6148914691236517206},
                                            {kHalf - 1, kHalf - 1}}) {
    EXPECT_TRUE(
        says(refusal_of_one(dims, kI8), {"t.gguf: tensor \"x\" dimension 1 at byte 45", "fewer than 2^63 elements"}));
  }
  EXPECT_TRUE(says(refusal_of_one({1u << 16, 1u << 16, 1u << 16, 1u << 16}, kI8), {"dimension 3 at byte 61", "2^63"}));
}

TEST(GgufTensors, refuses_sizes_that_wrap_though_the_elements_do_not) {  // G19, G20
  EXPECT_TRUE(says(refusal_of_one({uint64_t{1} << 61}, kF32), {"t.gguf: tensor \"x\" type at byte 45", "2^63 bytes"}));
  EXPECT_TRUE(says(refusal_of_one({uint64_t{1} << 62, 1}, kF64), {"tensor \"x\" type at byte 53", "2^63 bytes"}));
  // 2^63-1 bytes fit, and padding would wrap: there is no such file.
  EXPECT_TRUE(says(refusal_of_one({kHalf - 1}, kI8),
                   {"t.gguf: tensor \"x\" offset at byte 49", "9223372036854775807 bytes", "cut short"}));
}

TEST(GgufTensors, refuses_sizes_whose_sum_would_wrap) {  // G21
  const uint64_t size = 0x7fffffffffffffc0;
  const std::string file = gguf({}, {tensor("x", {size}, kI8, 0), tensor("y", {size}, kI8, size)}, kData);
  EXPECT_TRUE(says(refusal(file), {"t.gguf: tensor \"x\" offset at byte 49", std::to_string(size), "cut short"}));
}

TEST(GgufTensors, refuses_types_removed_or_unknown) {  // G22
  const std::pair<uint32_t, std::string_view> removed[] = {{4, "q4_2"},        {5, "q4_3"},       {31, "q4_0_4_4"},
                                                           {32, "q4_0_4_8"},   {33, "q4_0_8_8"},  {36, "iq4_nl_4_4"},
                                                           {37, "iq4_nl_4_8"}, {38, "iq4_nl_8_8"}};
  for (const auto& [type, name] : removed) {
    EXPECT_TRUE(says(refusal_of_one({256}, type),
                     {"t.gguf: tensor \"x\" type at byte 45", fmt::format("{} ({}), a removed type", type, name)}));
  }
  for (const uint32_t type : {9u, 15u, 43u, 100u, 0x80000000u, 0xffffffffu}) {
    EXPECT_TRUE(says(refusal_of_one({256}, type), {"t.gguf: tensor \"x\" type at byte 45",
                                                   fmt::format("type {}, which is not known to this build", type)}));
  }
}

TEST(GgufTensors, refuses_rows_that_are_not_whole_blocks) {  // G23
  EXPECT_TRUE(says(refusal_of_one({255, 2}, kQ4K),
                   {"t.gguf: tensor \"x\" type at byte 53", "a multiple of 256 q4_k elements", "[2, 255]"}));
  EXPECT_TRUE(says(refusal_of_one({16, 16}, 8), {"tensor \"x\" type at byte 53", "a multiple of 32 q8_0 elements"}));
}

TEST(GgufTensors, refuses_offsets_misaligned_or_past_the_end) {  // G24
  EXPECT_TRUE(
      says(refusal_of_one({32}, kI8, 16), {"t.gguf: tensor \"x\" offset at byte 49", "a multiple of 32", "got 16"}));
  for (const uint64_t offset : {uint64_t{64}, uint64_t{1} << 40, kHalf, kMost - 31}) {
    EXPECT_TRUE(
        says(refusal_of_one({64}, kI8, offset), {"t.gguf: tensor \"x\" offset at byte 49", std::to_string(offset)}))
        << offset;
  }
}

TEST(GgufTensors, refuses_overlaps_and_holes) {  // G24
  const auto two = [](uint64_t a, uint64_t b, size_t data) {
    return gguf({}, {tensor("a", {40}, kI8, a), tensor("b", {32}, kI8, b)}, std::string(data, '\1'));
  };
  const std::string overlap = two(0, 32, 200);
  EXPECT_TRUE(says(refusal(overlap), {"t.gguf: tensor \"b\" offset", at(overlap, u64(32), 8 + 4).substr(0, 8),
                                      "expected 64", "after tensor \"a\"", "got 32 (an overlap)"}));
  EXPECT_TRUE(says(refusal(two(0, 96, 200)), {"tensor \"b\" offset at byte", "expected 64", "got 96 (a hole)"}));
  EXPECT_TRUE(says(refusal(two(32, 96, 200)),
                   {"tensor \"a\" offset at byte 49", "expected 0, the start of the data", "got 32 (a hole)"}));
  EXPECT_TRUE(says(refusal(two(32, 0, 72)), {"accepted"}));
  EXPECT_TRUE(says(refusal(two(0, 0, 96)), {"tensor \"a\" offset at byte 49", "expected 32", "got 0 (an overlap)"}));
}

TEST(GgufTensors, refuses_data_cut_one_byte_short) {  // G25
  const std::string file = gguf({}, {tensor("a", {8}, kF32, 0), tensor("b", {16}, kF32, 32)}, kData + kData.substr(32));
  EXPECT_EQ(refusal(file), "accepted");
  const std::string cut = file.substr(0, file.size() - 1);
  EXPECT_TRUE(says(refusal(cut), {"t.gguf: tensor \"b\" offset at byte " + std::to_string(49 + 33),
                                  "64 bytes that end with the file, at byte " + std::to_string(cut.size()),
                                  "an offset of 32", "cut short"}));
  EXPECT_TRUE(says(refusal(gguf({}, {tensor("a", {8}, kF32, 0)})), {"tensor \"a\" offset at byte 49", "cut short"}));
}

TEST(GgufTensors, refuses_data_behind_the_last_tensor) {  // G26
  const std::string file = gguf({}, {tensor("a", {40}, kI8, 0)}, kData.substr(0, 40));
  const std::string end = "at byte " + std::to_string(file.size());
  EXPECT_TRUE(says(refusal(file + std::string(25, '\0')),
                   {"t.gguf: data " + end, "no more than 24 bytes of padding", "25 more bytes"}));
  EXPECT_TRUE(says(refusal(file + std::string("\0\0\1", 3)),
                   {"t.gguf: padding at byte " + std::to_string(file.size() + 2), "zeros", "0x01"}));
  EXPECT_TRUE(says(refusal(gguf({}) + std::string(9, '\0')), {"t.gguf: data at byte 24", "9 more bytes"}));
}

TEST(GgufTensors, refuses_padding_in_front_of_the_data_that_is_not_zeros) {
  std::string file = gguf({}, {tensor("x", {64}, kI8, 0)}, kData);
  file[60] = 'z';
  EXPECT_TRUE(says(refusal(file), {"t.gguf: padding at byte 60", "zeros", "0x7a"}));
}

TEST(GgufTensors, refuses_a_table_that_the_file_cuts) {
  const std::string file = gguf({}, {tensor("x", {64}, kI8, 0)}, kData);
  for (size_t size = 24; size < file.size(); ++size) EXPECT_NE(refusal(file.substr(0, size)), "accepted") << size;
}

}  // namespace
}  // namespace moxie
