// Products of every fast set against the reference set, over odd shapes, formats, gathers and alignments.
#include "kernels/activation.h"
#include "kernels/product.h"

namespace moxie::test {
namespace {

void expect_close(const KernelSet& set, const Product& product, const std::vector<int32_t>& x_rows, int64_t n_begin,
                  int64_t n_end, FormatId x_format) {
  const ProductShape& shape = product.shape();
  const std::vector<float> expected = product.run(ref(), x_rows, n_begin, n_end);
  const std::vector<float> got = product.run(set, x_rows, n_begin, n_end, x_format);
  ASSERT_EQ(got.size(), expected.size());
  const int64_t width = n_end - n_begin;
  for (size_t i = 0; i < got.size(); ++i) {
    const int64_t m = static_cast<int64_t>(i) / width, n = static_cast<int64_t>(i) % width + n_begin;
    const int64_t source = x_rows.empty() ? m : x_rows[static_cast<size_t>(m)];
    const double allowed = tolerance(shape.format) * product.magnitude(source, n);
    ASSERT_NEAR(got[i], expected[i], allowed)
        << set.name << " " << format_name(shape.format) << " x rows " << shape.num_x_rows << " n " << shape.n << " k "
        << shape.k << " at " << m << "," << n;
  }
}

/// Rows of x in the format the set wants for the weights, and in f32, which always works.
void expect_close(const KernelSet& set, const Product& product, const std::vector<int32_t>& x_rows, int64_t n_begin,
                  int64_t n_end) {
  const FormatId wanted = set.activation_format(product.shape().format);
  expect_close(set, product, x_rows, n_begin, n_end, wanted);
  if (wanted != FormatId::f32) expect_close(set, product, x_rows, n_begin, n_end, FormatId::f32);
}

TEST(Gemm, agrees_with_the_reference_for_every_length_of_k) {
  for (const KernelSet* set : fast_sets()) {
    for (FormatId format : kFormats) {
      for (int64_t k = 1; k <= 70; ++k) {
        for (int64_t rows : {1, 11}) {
          if (k != whole_blocks(format, k)) continue;
          Product product({.format = format, .num_x_rows = rows, .n = 7, .k = k}, static_cast<uint64_t>(k));
          expect_close(*set, product, {}, 0, 7);
        }
      }
    }
  }
}

TEST(Gemm, agrees_with_the_reference_for_every_number_of_rows) {
  for (const KernelSet* set : fast_sets()) {
    for (FormatId format : kFormats) {
      for (int64_t rows = 1; rows <= 40; ++rows) {
        Product product({.format = format, .num_x_rows = rows, .n = 13, .k = whole_blocks(format, 61)},
                        static_cast<uint64_t>(rows));
        expect_close(*set, product, {}, 0, 13);
      }
    }
  }
}

TEST(Gemm, agrees_with_the_reference_beyond_one_block_of_rows_columns_and_k) {
  for (const KernelSet* set : fast_sets()) {
    for (FormatId format : kFormats) {
      Product product({.format = format, .num_x_rows = 133, .n = 103, .k = whole_blocks(format, 701)}, 5);
      expect_close(*set, product, {}, 0, 103);
      Product deep({.format = format, .num_x_rows = 9, .n = 5, .k = whole_blocks(format, 2111)}, 6);
      const std::vector<float> expected = deep.run(ref(), {}, 0, 5), got = deep.run(*set, {}, 0, 5);
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_NEAR(got[i], expected[i], 2 * tolerance(format) * deep.magnitude(static_cast<int64_t>(i) / 5, i % 5));
      }
    }
  }
}

TEST(Gemm, takes_rows_at_any_byte_offset_and_stride) {
  for (const KernelSet* set : fast_sets()) {
    for (FormatId format : kFormats) {
      for (int64_t misalign = 1; misalign <= 12; ++misalign) {
        for (int64_t rows : {1, 3, 12}) {
          Product product({.format = format,
                           .num_x_rows = rows,
                           .n = 9,
                           .k = whole_blocks(format, 45),
                           .misalign = misalign,
                           .gap = misalign % 2 == 0},
                          static_cast<uint64_t>(misalign));
          expect_close(*set, product, {}, 0, 9);
        }
      }
    }
  }
}

TEST(Gemm, gathers_rows_and_takes_any_range_of_columns) {
  for (const KernelSet* set : fast_sets()) {
    for (FormatId format : kFormats) {
      Product product({.format = format, .num_x_rows = 20, .n = 31, .k = whole_blocks(format, 67)}, 3);
      Random random(9);
      for (int64_t rows : {1, 2, 5, 8, 9, 17, 33}) {
        std::vector<int32_t> x_rows;
        for (int64_t i = 0; i < rows; ++i) x_rows.push_back(static_cast<int32_t>(random.below(20)));
        expect_close(*set, product, x_rows, 0, 31);
        expect_close(*set, product, x_rows, 3, 20);
        expect_close(*set, product, x_rows, 30, 31);
      }
    }
  }
}

// As experts make their hidden rows.
TEST(Gemm, takes_rows_of_x_made_in_pieces) {
  for (const KernelSet* set : fast_sets()) {
    for (FormatId format : kFormats) {
      const FormatId to = set->activation_format(format);
      const int64_t k = whole_blocks(format, 2 * 256 + 96), piece = piece_columns(to);
      const std::vector<float> x = normals(k, 4);
      std::vector<char> whole(static_cast<size_t>(row_bytes(to, k))), made(whole.size());
      set->encode_row(to, x.data(), k, whole.data());
      for (int64_t begin = 0; begin < k; begin += piece) {
        set->encode_row(to, x.data() + begin, std::min(piece, k - begin), made.data() + row_bytes(to, begin));
      }
      EXPECT_EQ(made, whole) << set->name << " " << format_name(format);
    }
  }
}

TEST(Gemm, gives_packed_rows_the_bits_of_plain_ones) {
  std::vector<const KernelSet*> sets = fast_sets();
  sets.push_back(&ref());
  for (const KernelSet* set : sets) {
    for (FormatId format : kFormats) {
      if (!can_pack(format)) continue;
      for (int64_t rows : {1, 2, 3, 7, 13, 40}) {
        Product product({.format = format, .num_x_rows = rows, .n = 96, .k = whole_blocks(format, 32 * 13)}, 8);
        const std::vector<float> all = product.run(*set, {}, 0, 96), some = product.run(*set, {}, 32, 96);
        const std::vector<float> exact = product.run(*set, {}, 32, 64, FormatId::f32);
        product.pack();
        EXPECT_EQ(product.run(*set, {}, 0, 96), all) << set->name << " " << format_name(format) << " " << rows;
        EXPECT_EQ(product.run(*set, {}, 32, 96), some) << set->name << " " << format_name(format) << " " << rows;
        EXPECT_EQ(product.run(*set, {}, 32, 64, FormatId::f32), exact) << set->name << " " << format_name(format);
      }
    }
  }
}

TEST(Gemm, gives_fp8_weights_the_bits_of_the_same_numbers_in_f32) {
  std::vector<const KernelSet*> sets = fast_sets();
  sets.push_back(&ref());
  for (const KernelSet* set : sets) {
    for (const int64_t k : {5, 128, 300}) {
      for (const int64_t rows : {1, 3, 40}) {
        Product product({.format = FormatId::f8_e4m3, .num_x_rows = rows, .n = 300, .k = k}, 7);
        std::vector<float> decoded(static_cast<size_t>(300 * k)), y(static_cast<size_t>(rows * 170));
        const WeightRef w = product.weights();
        for (int64_t n = 0; n < 300; ++n) {
          const char* scales = static_cast<const char*>(w.scales) + n / 128 * w.scale_row_bytes;
          ref().decode_row(w.format, product.w_row(n), scales, k, decoded.data() + n * k);
        }
        Scratch scratch(set->gemm_scratch_bytes(rows, k));
        set->gemm({.x = product.x().data(),
                   .x_row_bytes = k * 4,
                   .num_rows = rows,
                   .w = {.data = decoded.data(), .row_bytes = k * 4},
                   .bias = product.bias().data(),
                   .n_begin = 120,
                   .n_end = 290,
                   .k = k,
                   .y = y.data(),
                   .y_stride = 170,
                   .scratch = scratch.get()});
        EXPECT_EQ(product.run(*set, {}, 120, 290), y) << set->name << " k " << k << " rows " << rows;
      }
    }
  }
}

// Where a block has f16 scales.
std::vector<int> halves_of(FormatId format) {
  switch (format) {
    case FormatId::q4_1:
    case FormatId::q5_1:
    case FormatId::q4_k:
    case FormatId::q5_k:
      return {0, 2};
    case FormatId::q2_k:
      return {80, 82};
    case FormatId::q3_k:
      return {108};
    case FormatId::q6_k:
      return {208};
    case FormatId::mxfp4_block:
    case FormatId::nvfp4:
      return {};
    default:
      return {0};
  }
}

/// Blocks of bytes from `byte`, with scales as models have them.
template <typename Byte>
void fill_with(Product& product, Random& random, const Byte& byte) {
  const FormatId format = product.shape().format;
  const FormatInfo& info = format_info(format);
  for (int64_t n = 0; n < product.shape().n; ++n) {
    char* block = product.w_row(n);
    for (int64_t k = 0; k < product.shape().k; k += info.block_elems, block += info.block_bytes) {
      for (int i = 0; i < info.block_bytes; ++i) block[i] = static_cast<char>(byte());
      for (const int at : halves_of(format)) {
        const uint16_t d = f32_to_f16(0.01f * random.normal());
        std::memcpy(block + at, &d, 2);
      }
      if (format == FormatId::mxfp4_block) block[0] = static_cast<char>(110 + random.below(20));
    }
  }
}

// Files may hold any bytes: the lowest int8, every scale, every entry of a codebook. With x at its ends too, sums in
// fewer bits than 32 are as full as they get.
TEST(Gemm, agrees_with_the_reference_on_any_bytes_in_a_block) {
  for (const KernelSet* set : fast_sets()) {
    for (FormatId format : kFormats) {
      if (!is_block_format(format)) continue;
      Random random(1);
      for (int pattern = 0; pattern < 5; ++pattern) {
        for (int64_t rows : {1, 3, 9}) {
          Product product({.format = format, .num_x_rows = rows, .n = 12, .k = whole_blocks(format, 256 + 32)}, 5);
          fill_with(product, random, [&]() -> uint32_t {
            constexpr uint32_t kBytes[] = {0xff, 0x00, 0x80, 0x7f};
            return pattern == 0 ? random.bits() : pattern == 4 ? 0x7f + random.below(2) : kBytes[pattern - 1];
          });
          expect_close(*set, product, {}, 0, 12);
          for (const bool one_sign : {true, false}) {
            for (float& v : product.x()) v = one_sign || random.below(2) == 0 ? 127.0f / 8 : -127.0f / 8;
            expect_close(*set, product, {}, 0, 12);
          }
        }
      }
    }
  }
}

TEST(Gemm, takes_the_largest_scale_of_mxfp4_for_a_number) {
  for (const KernelSet* set : fast_sets()) {
    for (int64_t rows : {1, 9}) {
      Product product({.format = FormatId::mxfp4_block, .num_x_rows = rows, .n = 3, .k = 320}, 5);
      for (float& v : product.x()) v *= 1e-6f;
      for (int64_t n = 0; n < 3; ++n) {
        std::memset(product.w_row(n), 0x21, 17);  // the numbers 2^125 and 2^126
        *product.w_row(n) = static_cast<char>(253);
      }
      expect_close(*set, product, {}, 0, 3);
    }
  }
}

TEST(Gemm, agrees_with_the_reference_for_a_few_long_rows_and_many_short_ones) {
  for (const KernelSet* set : fast_sets()) {
    for (FormatId format : {FormatId::q4_k, FormatId::q8_0, FormatId::mxfp4_block}) {
      for (const auto& [rows, k] : {std::pair{2, 24 * 1024}, std::pair{8, 24 * 1024}, std::pair{2500, 256}}) {
        Product product({.format = format, .num_x_rows = rows, .n = 3, .k = k}, 6);
        const std::vector<float> expected = product.run(ref(), {}, 0, 3), got = product.run(*set, {}, 0, 3);
        for (size_t i = 0; i < got.size(); ++i) {
          const auto m = static_cast<int64_t>(i) / 3;
          if (m > 40 && m < rows - 40) continue;
          ASSERT_NEAR(got[i], expected[i], 10 * tolerance(format) * product.magnitude(m, static_cast<int64_t>(i) % 3));
        }
      }
    }
  }
}

TEST(Gemm, block_formats_keep_a_row_that_is_not_finite_to_itself) {
  for (const KernelSet* set : fast_sets()) {
    for (FormatId format : kFormats) {
      if (!is_block_format(format)) continue;
      const int64_t k = whole_blocks(format, 256 + 96);
      for (int64_t rows : {4, 12}) {
        Product product({.format = format, .num_x_rows = rows, .n = 9, .k = k}, 4);
        product.x()[static_cast<size_t>(1 * k + 5)] = NAN;
        product.x()[static_cast<size_t>(2 * k + k - 1)] = -INFINITY;
        const std::vector<float> y = product.run(*set, {}, 0, 9);
        for (int64_t i = 0; i < rows * 9; ++i) {
          const bool bad = i / 9 == 1 || i / 9 == 2;
          EXPECT_EQ(std::isfinite(y[static_cast<size_t>(i)]), !bad) << set->name << " " << format_name(format) << i;
        }
      }
    }
  }
}

TEST(Gemm, carries_infinities_and_nans_to_their_outputs_only) {
  for (const KernelSet* set : fast_sets()) {
    for (int64_t rows : {3, 12}) {
      Product product({.format = FormatId::f32, .num_x_rows = rows, .n = 9, .k = 37}, 4);
      product.x()[1 * 37 + 36] = NAN;
      product.x()[2 * 37 + 5] = INFINITY;
      const float one = 1, minus_one = -1;
      for (int64_t n = 0; n < 9; ++n) std::memcpy(product.w_row(n) + 4 * 5, n % 2 == 0 ? &one : &minus_one, 4);
      const std::vector<float> y = product.run(*set, {}, 0, 9);
      for (int64_t i = 0; i < rows * 9; ++i) {
        const float v = y[static_cast<size_t>(i)];
        if (i / 9 == 1) {
          EXPECT_TRUE(std::isnan(v));
        } else if (i / 9 == 2) {
          EXPECT_EQ(v, i % 9 % 2 == 0 ? INFINITY : -INFINITY);
        } else {
          EXPECT_TRUE(std::isfinite(v));
        }
      }
    }
  }
}

TEST(Gemm, in_major_agrees_with_the_reference_and_with_itself_row_by_row) {
  for (const KernelSet* set : fast_sets()) {
    for (FormatId format : {FormatId::f32, FormatId::bf16, FormatId::f16}) {
      for (int64_t n : {1, 7, 16, 17, 31, 33, 48, 65, 100, 131}) {
        for (int64_t rows : {1, 4, 7}) {
          const int64_t k = 19;
          Product weights({.format = format, .n = k, .k = n, .gap = true}, static_cast<uint64_t>(n));  // [K, N]
          const std::vector<float> x = normals(rows * k, 8);
          const auto run = [&](const KernelSet& s, int64_t first, int64_t count) {
            std::vector<float> y(static_cast<size_t>(count * n));
            s.gemm_in_major(x.data() + first * k, k, count, weights.weights(), k, n, y.data(), n);
            return y;
          };
          const std::vector<float> got = run(*set, 0, rows), expected = run(ref(), 0, rows);
          for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], 4e-5) << set->name << " n " << n;
          for (int64_t m = 0; m < rows; ++m) {
            const std::vector<float> alone = run(*set, m, 1);
            ASSERT_EQ(std::memcmp(alone.data(), got.data() + m * n, static_cast<size_t>(n) * 4), 0);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace moxie::test
