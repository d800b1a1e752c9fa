// Block formats are written at least as near to the weights as ggml writes them, and survive any numbers.
#include <limits>
#include <map>

#include "support.h"

namespace moxie {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Formats whose smallest level is no small part of the largest: they have no zero beside an outlier.
bool coarse(FormatId format) {
  return format >= FormatId::iq2_xxs && format <= FormatId::iq3_s;
}

class BlockEncode : public testing::TestWithParam<FormatId> {
 protected:
  FormatId format() const { return GetParam(); }
  int64_t block_elems() const { return format_info(GetParam()).block_elems; }
  std::vector<float> through(const std::vector<float>& x) const { return decoded(format(), encoded(format(), x)); }
};

TEST_P(BlockEncode, is_as_near_as_ggml) {
  const auto x = read_golden<float>("x.f32");
  double theirs;
  if (coarse(format())) {
    // ggml_quantize_chunk of ggml-org/ggml@d99724f2b141 on x.f32 with an importance of 1 for each element.
    const std::map<FormatId, double> errors = {{FormatId::iq2_xxs, 0.327826},
                                               {FormatId::iq2_xs, 0.292764},
                                               {FormatId::iq2_s, 0.252062},
                                               {FormatId::iq3_xxs, 0.193160},
                                               {FormatId::iq3_s, 0.140419}};
    theirs = errors.at(format());
  } else {
    theirs = relative_error(x, read_golden<float>(golden_name(format()) + ".f32"));
  }
  EXPECT_LE(relative_error(x, through(x)), 1.001 * theirs);
}

TEST_P(BlockEncode, treats_each_block_alone) {
  const std::vector<float> x = normal_row(4 * block_elems(), 0.02f, 3);
  std::vector<uint8_t> parts;
  for (auto begin = x.begin(); begin != x.end(); begin += block_elems()) {
    const std::vector<uint8_t> part = encoded(format(), {begin, begin + block_elems()});
    parts.insert(parts.end(), part.begin(), part.end());
  }
  EXPECT_EQ(encoded(format(), x), parts);
}

// The middle one of three blocks keeps its elements in place: first, last, and those beside its neighbours.
TEST_P(BlockEncode, keeps_elements_in_place_at_block_edges) {
  const auto num = static_cast<size_t>(block_elems());
  for (const size_t at : {num, num + 1, num + 15, num + 16, 2 * num - 17, 2 * num - 2, 2 * num - 1}) {
    std::vector<float> x(3 * num, 0.0f);
    x[at] = -1.5f;
    const std::vector<float> y = through(x);
    for (size_t i = 0; i < y.size(); ++i) {
      if (i / num != 1) {
        ASSERT_EQ(y[i], 0) << at << " " << i;
      } else if (!coarse(format())) {
        ASSERT_NEAR(y[i], x[i], 0.05f) << at << " " << i;
      } else if (i != at) {
        ASSERT_LT(std::fabs(y[i]), 0.5f * std::fabs(y[at])) << at << " " << i;
      }
    }
    EXPECT_LT(y[at], -0.5f);
  }
}

TEST_P(BlockEncode, keeps_zeros) {
  for (const float value : through(std::vector<float>(static_cast<size_t>(2 * block_elems()), 0.0f))) {
    EXPECT_EQ(value, 0);
  }
  const std::vector<float> negative(static_cast<size_t>(block_elems()), -0.0f);
  for (const float value : through(negative)) EXPECT_EQ(value, 0);
}

TEST_P(BlockEncode, keeps_constants) {
  for (const float constant : {0.75f, -0.75f, 3e-3f, -100.0f}) {
    for (const float value : through(std::vector<float>(static_cast<size_t>(block_elems()), constant))) {
      EXPECT_NEAR(value, constant, 0.05f * std::fabs(constant));
    }
  }
}

TEST_P(BlockEncode, keeps_one_outlier) {
  std::vector<float> x = normal_row(block_elems(), 1, 4);
  for (const float outlier : {1000.0f, -1000.0f}) {
    x[11] = outlier;
    EXPECT_LT(relative_error(x, through(x)), coarse(format()) ? 0.75 : 0.08);
  }
}

TEST_P(BlockEncode, of_subnormal_and_tiny_numbers_is_near_zero) {
  for (const float scale : {1e-42f, 1e-38f, 1e-30f, 1e-15f, 1e-10f, 1e-8f, 1e-7f, 1e-6f}) {
    const std::vector<float> x = normal_row(block_elems(), scale, 5);
    const std::vector<float> y = through(x);
    EXPECT_LE(relative_error(x, y), 1.0001) << scale;  // no worse than zeros
  }
}

TEST_P(BlockEncode, of_huge_numbers_is_finite_and_large) {
  for (const float scale : {1e4f, 1e8f, 1e20f, 1e37f}) {
    std::vector<float> x = normal_row(block_elems(), scale, 6);
    x[3] = std::numeric_limits<float>::max();
    x[4] = std::numeric_limits<float>::lowest();
    const std::vector<float> y = through(x);
    for (const float value : y) ASSERT_TRUE(std::isfinite(value)) << scale;
    EXPECT_GT(y[3], 2000);
    EXPECT_LT(y[4], -2000);
  }
}

TEST_P(BlockEncode, takes_nan_as_zero_and_infinities_as_large) {
  std::vector<float> x(static_cast<size_t>(block_elems()), std::numeric_limits<float>::quiet_NaN());
  for (const float value : through(x)) EXPECT_EQ(value, 0);
  x[0] = kInfinity;
  x[1] = -kInfinity;
  const std::vector<float> y = through(x);
  for (const float value : y) EXPECT_TRUE(std::isfinite(value));
  EXPECT_GT(y[0], 2000);
  EXPECT_LT(y[1], -2000);
}

TEST_P(BlockEncode, of_any_bits_decodes_to_finite_numbers) {
  constexpr int kBlocks = 300;
  const std::vector<uint8_t> bytes = random_bytes(kBlocks * 2 * block_elems() * 4, 7);
  std::vector<float> x(static_cast<size_t>(kBlocks * block_elems())), importance(x.size());
  std::memcpy(x.data(), bytes.data(), x.size() * sizeof(float));
  std::memcpy(importance.data(), bytes.data() + bytes.size() / 2, x.size() * sizeof(float));
  for (const float* weights : {static_cast<const float*>(nullptr), static_cast<const float*>(importance.data())}) {
    for (const float value : decoded(format(), encoded(format(), x, weights))) ASSERT_TRUE(std::isfinite(value));
  }
}

TEST_P(BlockEncode, heeds_importance) {
  const auto x = read_golden<float>("x.f32");
  std::vector<float> importance = normal_row(static_cast<int64_t>(x.size()), 1, 8);
  for (float& weight : importance) weight = std::exp(2 * weight);
  const double plain = relative_error(x, through(x), importance.data());
  const double weighted =
      relative_error(x, decoded(format(), encoded(format(), x, importance.data())), importance.data());
  if (format() == FormatId::q8_0) {
    EXPECT_EQ(weighted, plain);  // no search: nothing to weigh
  } else {
    EXPECT_LT(weighted, (format() == FormatId::mxfp4_block ? 0.999 : 0.99) * plain);  // which has powers of two only
  }
}

TEST_P(BlockEncode, knows_only_ratios_of_importance) {
  const std::vector<float> x = normal_row(2 * block_elems(), 0.02f, 9);
  std::vector<float> equal(x.size(), 3e-20f), none(x.size(), 0.0f);
  EXPECT_EQ(encoded(format(), x, equal.data()), encoded(format(), x));
  EXPECT_EQ(encoded(format(), x, none.data()), encoded(format(), x));
}

INSTANTIATE_TEST_SUITE_P(All, BlockEncode, testing::ValuesIn(encodable_formats()), format_test_name);

TEST(BlockEncodeValues, on_the_levels_of_a_block_come_back) {
  const auto check = [](FormatId format, int low, int high, float scale, float offset) {
    std::vector<float> x(32);
    for (int i = 0; i < 32; ++i)
      x[static_cast<size_t>(i)] = scale * static_cast<float>(low + i * 5 % (high - low + 1)) + offset;
    EXPECT_EQ(decoded(format, encoded(format, x)), x) << format_name(format);
  };
  check(FormatId::q4_0, -8, 7, 0.25f, 0);
  check(FormatId::q4_0, -8, 7, -0.25f, 0);
  check(FormatId::q5_0, -16, 15, 0.125f, 0);
  check(FormatId::q4_1, 0, 15, 0.5f, 3);
  check(FormatId::q5_1, 0, 31, 0.5f, -7);
  std::vector<float> x(32);
  for (int i = 0; i < 32; ++i) x[static_cast<size_t>(i)] = 0.5f * static_cast<float>(127 - 8 * i);
  EXPECT_EQ(decoded(FormatId::q8_0, encoded(FormatId::q8_0, x)), x);
}

TEST(BlockEncodeValues, of_mxfp4_keep_their_error_over_the_range_of_its_scales) {
  const std::vector<float> x = normal_row(32, 1, 10);
  const double expected = relative_error(x, decoded(FormatId::mxfp4_block, encoded(FormatId::mxfp4_block, x)));
  for (const int exponent : {-120, -60, 60, 120}) {
    std::vector<float> scaled = x;
    for (float& value : scaled) value = std::ldexp(value, exponent);
    const std::vector<float> y = decoded(FormatId::mxfp4_block, encoded(FormatId::mxfp4_block, scaled));
    EXPECT_NEAR(relative_error(scaled, y), expected, 1e-6) << exponent;
  }
}

TEST(BlockEncodeValues, of_tiny_q8_0_use_the_smallest_step) {
  const std::vector<float> x = normal_row(32, 1e-6f, 11);
  const std::vector<float> y = decoded(FormatId::q8_0, encoded(FormatId::q8_0, x));
  for (size_t i = 0; i < x.size(); ++i) EXPECT_LE(std::fabs(x[i] - y[i]), 0x1p-25f);
}

}  // namespace
}  // namespace moxie
