// The same-bits law of products: an output's bits do not depend on what else stands in the call.
#include "kernels/product.h"

namespace moxie::test {
namespace {

class SameBits : public testing::TestWithParam<FormatId> {
 protected:
  int64_t k(int64_t wanted) const { return whole_blocks(GetParam(), wanted); }
};

/// Row `m` of `all` (columns 0..n) equals `part` (columns n_begin..n_end), bit for bit.
void expect_same(const KernelSet& set, const std::vector<float>& all, int64_t n, int64_t m, const float* part,
                 int64_t n_begin, int64_t n_end) {
  for (int64_t c = n_begin; c < n_end; ++c) {
    const float a = all[static_cast<size_t>(m * n + c)], b = part[c - n_begin];
    ASSERT_EQ(std::bit_cast<uint32_t>(a), std::bit_cast<uint32_t>(b))
        << set.name << " row " << m << " column " << c << ": " << hex(a) << " and " << hex(b);
  }
}

TEST_P(SameBits, a_row_alone_equals_the_row_in_any_batch) {
  for (const KernelSet* set : fast_sets()) {
    for (int64_t wanted : {45, 1100, 2080}) {  // one block of k, and several
      const int64_t n = 23, rows = 40;
      Product product({.format = GetParam(), .num_x_rows = rows, .n = n, .k = k(wanted)}, 11);
      product.x() = normals(rows * k(wanted), 14);  // every block of x has a scale of its own
      std::vector<float> alone;
      for (int32_t m = 0; m < rows; ++m) {
        const std::vector<float> row = product.run(*set, {m}, 0, n);
        alone.insert(alone.end(), row.begin(), row.end());
      }
      for (int32_t count = 1; count <= rows; ++count) {
        std::vector<int32_t> x_rows;
        for (int32_t i = 0; i < count; ++i) x_rows.push_back(i * 7 % static_cast<int32_t>(rows));
        const std::vector<float> batch = product.run(*set, x_rows, 0, n);
        for (int32_t i = 0; i < count; ++i) {
          expect_same(*set, alone, n, x_rows[static_cast<size_t>(i)], batch.data() + i * n, 0, n);
        }
      }
    }
  }
}

TEST_P(SameBits, a_long_row_alone_equals_the_row_in_a_batch) {
  for (const KernelSet* set : fast_sets()) {
    const int64_t n = 17, rows = 2, long_k = k(256 * 66);
    Product product({.format = GetParam(), .num_x_rows = rows, .n = n, .k = long_k}, 15);
    product.x() = normals(rows * long_k, 16);
    const std::vector<float> all = product.run(*set, {}, 0, n);
    for (int32_t m = 0; m < rows; ++m) expect_same(*set, all, n, m, product.run(*set, {m}, 0, n).data(), 0, n);
  }
}

TEST_P(SameBits, no_bias_is_a_bias_of_zeros) {
  for (const KernelSet* set : fast_sets()) {
    for (int64_t rows : {1, 40}) {
      Product product({.format = GetParam(), .num_x_rows = rows, .n = 45, .k = k(300)}, 17);
      product.bias().assign(product.bias().size(), 0);
      const std::vector<float> zeros = product.run(*set, {}, 0, 45);
      product.bias().clear();
      EXPECT_EQ(product.run(*set, {}, 0, 45), zeros) << set->name << " " << rows;
    }
  }
}

TEST_P(SameBits, a_column_is_the_same_in_any_split_of_the_columns) {
  for (const KernelSet* set : fast_sets()) {
    for (int64_t rows : {1, 6, 30, 150}) {
      const int64_t n = 205;
      Product product({.format = GetParam(), .num_x_rows = rows, .n = n, .k = k(1100)}, 12);
      const std::vector<float> all = product.run(*set, {}, 0, n);
      for (int64_t width : {1, 5, 32, 97}) {
        for (int64_t begin = 0; begin < n; begin += width) {
          const int64_t end = std::min(n, begin + width);
          const std::vector<float> part = product.run(*set, {}, begin, end);
          for (int64_t m = 0; m < rows; ++m) {
            expect_same(*set, all, n, m, part.data() + m * (end - begin), begin, end);
          }
          if (width < 32 && begin > 40) break;
        }
      }
    }
  }
}

TEST_P(SameBits, where_memory_lies_does_not_matter) {
  for (const KernelSet* set : fast_sets()) {
    Product aligned({.format = GetParam(), .num_x_rows = 14, .n = 9, .k = k(77)}, 13);
    Product shifted({.format = GetParam(), .num_x_rows = 14, .n = 9, .k = k(77), .misalign = 5, .gap = true}, 13);
    const std::vector<float> a = aligned.run(*set, {}, 0, 9), b = shifted.run(*set, {}, 0, 9);
    ASSERT_EQ(std::memcmp(a.data(), b.data(), a.size() * 4), 0) << set->name;
  }
}

INSTANTIATE_TEST_SUITE_P(Gemm, SameBits, testing::ValuesIn(kFormats),
                         [](const auto& format) { return std::string(format_name(format.param)); });

}  // namespace
}  // namespace moxie::test
