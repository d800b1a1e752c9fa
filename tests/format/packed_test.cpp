// Packed rows: a permutation that comes back byte for byte, and decodes as the plain rows do.
#include "format/packed.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "format/block.h"

namespace moxie::test {
namespace {

constexpr FormatId kPackable[] = {FormatId::q4_0,       FormatId::q4_1, FormatId::q5_0,   FormatId::q5_1,
                                  FormatId::q8_0,       FormatId::q2_k, FormatId::q3_k,   FormatId::q4_k,
                                  FormatId::q5_k,       FormatId::q6_k, FormatId::iq4_nl, FormatId::iq4_xs,
                                  FormatId::mxfp4_block};

TEST(Packed, rows_come_back_byte_for_byte) {
  std::mt19937 random(1);
  for (const FormatId format : kPackable) {
    ASSERT_TRUE(can_pack(format)) << format_name(format);
    const int64_t elems = 3 * format_info(format).block_elems, bytes = row_bytes(format, elems), stride = bytes + 5;
    std::vector<char> rows(static_cast<size_t>(kPackedRows * stride)), packed(static_cast<size_t>(kPackedRows * bytes));
    for (char& byte : rows) byte = static_cast<char>(random());
    pack_rows(format, rows.data(), stride, elems, packed.data());
    std::vector<char> back(static_cast<size_t>(bytes));
    for (int64_t row = 0; row < kPackedRows; ++row) {
      unpack_row(format, packed.data(), row, elems, back.data());
      const auto first = rows.begin() + row * stride;
      EXPECT_TRUE(std::equal(back.begin(), back.end(), first)) << format_name(format) << " row " << row;
    }
  }
}

TEST(Packed, rows_decode_as_they_did) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (const FormatId format : kPackable) {
    const int64_t elems = 2 * format_info(format).block_elems, bytes = row_bytes(format, elems);
    std::vector<float> x(static_cast<size_t>(kPackedRows * elems)), plain(static_cast<size_t>(elems)), got(plain);
    for (float& v : x) v = normal(random);
    std::vector<char> rows(static_cast<size_t>(kPackedRows * bytes)), packed(rows);
    encode_blocks(format, x.data(), kPackedRows * elems, nullptr, rows.data());
    pack_rows(format, rows.data(), bytes, elems, packed.data());
    for (int64_t row = 0; row < kPackedRows; ++row) {
      decode_blocks(format, rows.data() + row * bytes, elems, plain.data());
      decode_packed_row(format, packed.data(), row, elems, got.data());
      EXPECT_EQ(got, plain) << format_name(format) << " row " << row;
    }
  }
}

TEST(Packed, other_formats_stay_as_they_are) {
  for (const FormatId format : {FormatId::f32, FormatId::bf16, FormatId::mxfp4, FormatId::iq2_xs, FormatId::nvfp4}) {
    EXPECT_FALSE(can_pack(format)) << format_name(format);
  }
}

}  // namespace
}  // namespace moxie::test
