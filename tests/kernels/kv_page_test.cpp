// Pages of keys and values: every number comes back as its format's codec says, and none lies on another.
#include "kernels/kv_page.h"

#include "format/block.h"
#include "kernels/support.h"

namespace moxie::test {
namespace {

constexpr FormatId kFormats[] = {FormatId::f32, FormatId::f16, FormatId::bf16, FormatId::q8_0};
constexpr int64_t kDims[] = {1, 7, 31, 32, 33, 40, 64, 80, 192, 576};

// What the row of a position decodes to.
std::vector<float> rounded(FormatId format, const float* x, int64_t dim) {
  std::vector<float> row(static_cast<size_t>((dim + 31) / 32 * 32)), out(row.size());
  std::copy_n(x, dim, row.begin());
  for (size_t i = 0; i < row.size(); ++i) {
    out[i] = format == FormatId::f16    ? f16_to_f32(f32_to_f16(row[i]))
             : format == FormatId::bf16 ? bf16_to_f32(f32_to_bf16(row[i]))
                                        : row[i];
  }
  if (format == FormatId::q8_0) {
    std::vector<char> blocks(row.size() / 32 * 34);
    encode_blocks(format, row.data(), static_cast<int64_t>(row.size()), nullptr, blocks.data());
    decode_blocks(format, blocks.data(), static_cast<int64_t>(row.size()), out.data());
  }
  return out;
}

using Store = void (*)(const KernelSet&, FormatId, const float*, int64_t, int64_t, void*) noexcept;
using Load = float (*)(FormatId, const void*, int64_t, int64_t, int64_t) noexcept;

// Slots are written in a scattered order, over bytes of NaN, and all are read back at the end.
void expect_rows_come_back(const KernelSet& set, FormatId format, int64_t dim, int64_t bytes, Store store, Load load) {
  GuardedBytes part(static_cast<size_t>(bytes));
  std::memset(part.data(), 0xff, part.size());
  const std::vector<float> rows = normals(kKeyBlock * dim, static_cast<uint64_t>(dim));
  for (int64_t i = 0; i < kKeyBlock; ++i) {
    const int64_t slot = i * 37 % kKeyBlock;
    store(set, format, rows.data() + slot * dim, dim, slot, part.data());
  }
  for (int64_t slot = 0; slot < kKeyBlock; ++slot) {
    const std::vector<float> expected = rounded(format, rows.data() + slot * dim, dim);
    for (int64_t d = 0; d < dim; ++d) {
      ASSERT_EQ(load(format, part.data(), dim, slot, d), expected[static_cast<size_t>(d)])
          << format_name(format) << " dim " << dim << " slot " << slot << " element " << d;
    }
  }
}

TEST(KvPage, gives_back_what_the_codec_of_its_format_gives) {
  for (const FormatId format : kFormats) {
    ASSERT_TRUE(is_kv_format(format));
    for (const int64_t dim : kDims) {
      for (const KernelSet* set : sets_here()) {
        expect_rows_come_back(*set, format, dim, key_part_bytes(format, dim), store_key, load_key);
        expect_rows_come_back(*set, format, dim, value_part_bytes(format, dim), store_value, load_value);
      }
    }
  }
  EXPECT_FALSE(is_kv_format(FormatId::q4_0));
}

TEST(KvPage, takes_the_bytes_of_its_format) {
  for (const FormatId format : kFormats) {
    for (const int64_t dim : {int64_t{64}, int64_t{128}, int64_t{576}}) {
      EXPECT_EQ(key_part_bytes(format, dim), kKeyBlock * row_bytes(format, dim)) << format_name(format);
      EXPECT_EQ(value_part_bytes(format, dim), kKeyBlock * row_bytes(format, dim)) << format_name(format);
    }
    for (const int64_t dim : kDims) EXPECT_EQ(key_part_bytes(format, dim) % 64, 0) << format_name(format);
  }
}

}  // namespace
}  // namespace moxie::test
