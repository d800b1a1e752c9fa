// The rotary table against transformers' formulas on real configs; the expected values were computed apart, in double.
#include "spec/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <numeric>

#include "spec/config.h"

namespace moxie {
namespace {

RopeSpec real(const std::string& name) {
  return load_config(std::filesystem::path(MOXIE_SOURCE_DIR) / "tests/data/configs" / (name + ".json")).rope;
}

struct Expected {
  const char* config;
  int64_t length;
  double second, quarter, half, last, sum;
};

TEST(Rope, frequencies_match_the_formulas_on_real_configs) {
  const Expected cases[] = {
      {"Meta-Llama-3.1-8B", 1, 0.814617234, 0.0376060309, 0.000524846161, 3.06892599e-07, 5.3860582},
      {"DeepSeek-V3", 1, 0.749894209, 0.1, 0.0055, 3.33380358e-06, 3.94893627},
      {"Kimi-K2-Instruct", 1, 0.713111085, 0.0668740305, 0.00447213595, 8.76441291e-07, 3.48176234},
      {"gpt-oss-120b", 1, 0.689044306, 0.0508132748, 0.000456483919, 3.02351143e-07, 3.18043828},
      {"Phi-3.5-MoE", 4096, 0.832658034, 0.0934579498, 0.0066666672, 4.13900359e-05, 7.09441622},
      {"Phi-3.5-MoE", 4097, 0.840742085, 0.0671140989, 0.000258197757, 1.77768165e-06, 6.5557888},
  };
  for (const Expected& expected : cases) {
    const std::vector<float> table = rope_inverse_frequencies(real(expected.config), expected.length);
    const size_t n = table.size();
    EXPECT_NEAR(table[1] / expected.second, 1, 1e-6) << expected.config;
    EXPECT_NEAR(table[n / 4] / expected.quarter, 1, 1e-6) << expected.config;
    EXPECT_NEAR(table[n / 2] / expected.half, 1, 1e-6) << expected.config;
    EXPECT_NEAR(table[n - 1] / expected.last, 1, 1e-6) << expected.config;
    EXPECT_NEAR(std::accumulate(table.begin(), table.end(), 0.0) / expected.sum, 1, 1e-6) << expected.config;
  }
}

TEST(Rope, linear_scaling_divides_every_frequency) {
  RopeSpec rope = {.theta = 10000, .dim = 8};
  const std::vector<float> plain = rope_inverse_frequencies(rope, 1);
  EXPECT_FLOAT_EQ(plain[1], 0.1f);
  EXPECT_FLOAT_EQ(plain[3], 0.001f);
  rope.scaling = RopeScaling::linear;
  rope.factor = 4;
  EXPECT_FLOAT_EQ(rope_inverse_frequencies(rope, 1)[2], 0.0025f);
}

TEST(Rope, longrope_changes_factors_above_the_original_context) {
  RopeSpec rope = {.theta = 10000, .dim = 4, .scaling = RopeScaling::longrope, .original_max_position = 16};
  rope.short_factors = {1, 2};
  rope.long_factors = {4, 8};
  rope.attention_factor = 1.5;
  rope.short_attention_factor = 1.25;
  EXPECT_FLOAT_EQ(rope_inverse_frequencies(rope, 16)[1], 0.005f);
  EXPECT_FLOAT_EQ(rope_inverse_frequencies(rope, 17)[1], 0.00125f);
  EXPECT_EQ(rope_attention_factor(rope, 16), 1.25);
  EXPECT_EQ(rope_attention_factor(rope, 17), 1.5);
}

TEST(Rope, factors_of_a_file_turn_as_the_scaling_they_were_made_of) {
  const RopeSpec llama3 = real("Meta-Llama-3.1-8B");
  RopeSpec file = llama3;
  file.scaling = RopeScaling::none;
  for (const double slowdown : rope_slowdowns(llama3)) file.slowdowns.push_back(static_cast<float>(slowdown));
  EXPECT_EQ(rope_slowdowns(file), file.slowdowns);
  EXPECT_EQ(rope_inverse_frequencies(file, 1), rope_inverse_frequencies(llama3, 1));
}

TEST(Rope, yarn_survives_a_ramp_of_no_width) {
  RopeSpec rope = {.theta = 10000, .dim = 4, .scaling = RopeScaling::yarn, .factor = 8, .original_max_position = 1};
  for (float frequency : rope_inverse_frequencies(rope, 1)) EXPECT_TRUE(std::isfinite(frequency));
}

}  // namespace
}  // namespace moxie
