// Block formats decode as ggml decodes them, whatever the bytes, and as their integers say.
#include <cstdlib>

#include "format/codebooks.h"
#include "support.h"

namespace moxie {
namespace {

class BlockDecode : public testing::TestWithParam<FormatId> {};

TEST_P(BlockDecode, equals_the_golden_bit_for_bit) {
  const auto bytes = read_golden<uint8_t>(golden_name(GetParam()) + ".bin");
  const auto expected = read_golden<float>(golden_name(GetParam()) + ".f32");
  const std::vector<float> row = decoded(GetParam(), bytes);
  ASSERT_EQ(row.size(), expected.size());
  for (size_t i = 0; i < row.size(); ++i) {
    ASSERT_EQ(std::memcmp(&row[i], &expected[i], sizeof(float)), 0) << i << ": " << row[i] << " " << expected[i];
  }
}

// The buffer ends with the row, so that a sanitizer sees a byte read too far; and it begins at an odd address.
TEST_P(BlockDecode, reads_the_row_alone_at_any_address) {
  const FormatInfo& info = format_info(GetParam());
  for (int num_blocks = 1; num_blocks <= 3; ++num_blocks) {
    const std::vector<uint8_t> bytes = random_bytes(num_blocks * info.block_bytes, 1);
    const std::vector<float> expected = decoded(GetParam(), bytes);
    auto* shifted = static_cast<uint8_t*>(std::malloc(bytes.size() + 1));
    std::memcpy(shifted + 1, bytes.data(), bytes.size());
    std::vector<float> row(expected.size());
    decode_blocks(GetParam(), shifted + 1, static_cast<int64_t>(row.size()), row.data());
    std::free(shifted);
    for (size_t i = 0; i < row.size(); ++i) ASSERT_TRUE(same_number(row[i], expected[i])) << i;
  }
}

TEST_P(BlockDecode, of_any_bytes_equals_its_integers) {
  const FormatInfo& info = format_info(GetParam());
  constexpr int kBlocks = 500;
  const std::vector<uint8_t> bytes = random_bytes(kBlocks * info.block_bytes, 2);
  const std::vector<float> row = decoded(GetParam(), bytes);
  for (int block = 0; block < kBlocks; ++block) {
    IntBlock ints;
    ASSERT_TRUE(int_block(GetParam(), bytes.data() + block * info.block_bytes, &ints));
    ASSERT_TRUE(ints.sub_elems == 16 || ints.sub_elems == 32);
    for (int i = 0; i < info.block_elems; ++i) {
      const int sub = i / ints.sub_elems;
      ASSERT_LE(std::abs(ints.value[i]), 128);
      const float scale = ints.d * ints.scale[sub];
      const float expected = scale * ints.value[i] - ints.dmin * ints.min[sub];
      const float got = row[static_cast<size_t>(block * info.block_elems + i)];
      ASSERT_TRUE(same_number(got, expected)) << got << " " << expected;
    }
  }
}

TEST_P(BlockDecode, takes_all_ones_and_all_zeros) {
  const auto num_bytes = static_cast<size_t>(format_info(GetParam()).block_bytes);
  for (const float value : decoded(GetParam(), std::vector<uint8_t>(num_bytes, 0))) EXPECT_LE(std::fabs(value), 1e-37f);
  EXPECT_EQ(decoded(GetParam(), std::vector<uint8_t>(num_bytes, 0xff)).size(),
            static_cast<size_t>(format_info(GetParam()).block_elems));
}

INSTANTIATE_TEST_SUITE_P(All, BlockDecode, testing::ValuesIn(block_formats()), format_test_name);

TEST(BlockFormats, are_those_from_q4_0_to_nvfp4) {
  for (int id = 0; id <= static_cast<int>(FormatId::nvfp4); ++id) {
    const auto format = static_cast<FormatId>(id);
    EXPECT_EQ(is_block_format(format), id >= static_cast<int>(FormatId::q4_0)) << format_name(format);
  }
  IntBlock ints;
  const uint8_t bytes[64] = {};
  EXPECT_FALSE(int_block(FormatId::bf16, bytes, &ints));
  EXPECT_FALSE(int_block(FormatId::mxfp4, bytes, &ints));  // its scales lie elsewhere
  EXPECT_FALSE(can_encode(FormatId::f32));
}

TEST(BlockFormats, q4_k_follows_its_formula) {
  std::vector<uint8_t> bytes(144, 0);
  bytes[1] = 0x3c;            // d = 1
  bytes[3] = 0x40;            // dmin = 2
  bytes[4 + 1] = 0xc5;        // sub-block 1: scale 5; sub-block 5: scale 48 + ...
  bytes[4 + 5] = 0x43;        // sub-block 1: min 3; sub-block 5: min 16 + ...
  bytes[4 + 9] = 0x21;        // sub-block 5: ... 1 and ... 2
  bytes[16 + 7] = 0x90;       // element 7 of sub-block 1 is 9
  bytes[16 + 64 + 3] = 0xa0;  // element 3 of sub-block 5 is 10
  const std::vector<float> row = decoded(FormatId::q4_k, bytes);
  EXPECT_EQ(row[7], 0);
  EXPECT_EQ(row[32 + 7], 1.0f * 5 * 9 - 2.0f * 3);
  EXPECT_EQ(row[32 + 8], -6);
  EXPECT_EQ(row[5 * 32 + 3], 1.0f * 49 * 10 - 2.0f * 18);
}

TEST(BlockFormats, fp4_scales_reach_both_ends_of_their_range) {
  std::vector<uint8_t> mx(17, 0x72);  // elements 0..15 are 1, 16..31 are 6
  mx[0] = 0;
  EXPECT_EQ(decoded(FormatId::mxfp4_block, mx)[0], 0x1p-127f);
  mx[0] = 127;
  EXPECT_EQ(decoded(FormatId::mxfp4_block, mx)[0], 1);
  EXPECT_EQ(decoded(FormatId::mxfp4_block, mx)[31], 6);
  mx[0] = 252;
  EXPECT_EQ(decoded(FormatId::mxfp4_block, mx)[31], 6 * 0x1p125f);
  std::vector<uint8_t> nv(36, 0x72);  // of each 16: 8 times 1, 8 times 6
  const uint8_t scales[4] = {0x01, 0x7e, 0x7f, 0xb8};
  std::memcpy(nv.data(), scales, 4);
  const std::vector<float> row = decoded(FormatId::nvfp4, nv);
  EXPECT_EQ(row[0], 0x1p-9f);
  EXPECT_EQ(row[16 + 15], 6 * 448);
  EXPECT_EQ(row[32], 0);
  EXPECT_EQ(row[48], 1);
}

TEST(Codebooks, have_even_signs_and_distinct_entries) {
  EXPECT_EQ(even_signs(0), 0);
  EXPECT_EQ(even_signs(1), 0x81);
  EXPECT_EQ(even_signs(3), 3);
  EXPECT_EQ(even_signs(127), 0xff);
  EXPECT_EQ(kIq2XxsGrid[0], 0x0808080808080808u);
  EXPECT_EQ(kIq3SGrid[0], 0x01010101u);
  for (size_t i = 1; i < kIq2SGrid.size(); ++i) ASSERT_NE(kIq2SGrid[i], kIq2SGrid[i - 1]);
  for (size_t i = 1; i < kIq3XxsGrid.size(); ++i) ASSERT_NE(kIq3XxsGrid[i], kIq3XxsGrid[i - 1]);
}

}  // namespace
}  // namespace moxie
