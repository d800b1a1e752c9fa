// Linear layers against a plain loop in double, for every kernel set, and independence of threads.
#include "ops/linear.h"

#include <gtest/gtest.h>

#include "ops/stage.h"

namespace moxie {
namespace {

using test::Matrix;
using test::Stage;

constexpr float kUntouched = 12345;

struct Job {
  Job(FormatId format, int64_t n, int64_t k, bool with_bias, uint64_t seed)
      : w(format, n, k, seed), bias(with_bias ? test::normals(n, seed + 1) : std::vector<float>()) {}

  LinearJob to(std::vector<float>& y, int64_t num_rows, int64_t gap) const {
    const int64_t stride = w.view().shape[0] + gap;
    y.assign(static_cast<size_t>(num_rows * stride), kUntouched);
    return {w.view(), bias.empty() ? nullptr : bias.data(), y.data(), stride};
  }

  // Worst error against the sum in double, as a share of sum |x w| + |b|; gaps must be untouched.
  double error(const std::vector<float>& x, const std::vector<float>& y, int64_t num_rows, int64_t gap) const {
    const int64_t n = w.view().shape[0], k = w.view().shape[1];
    double worst = 0;
    for (int64_t m = 0; m < num_rows; ++m) {
      for (int64_t i = 0; i < n; ++i) {
        double sum = bias.empty() ? 0 : static_cast<double>(bias[static_cast<size_t>(i)]), magnitude = std::abs(sum);
        for (int64_t j = 0; j < k; ++j) {
          const double term = static_cast<double>(x[static_cast<size_t>(m * k + j)]) * w.at(i, j);
          sum += term, magnitude += std::abs(term);
        }
        const double off = std::abs(static_cast<double>(y[static_cast<size_t>(m * (n + gap) + i)]) - sum) / magnitude;
        if (!(off <= worst)) worst = off;  // NaN counts
      }
      for (int64_t i = n; i < n + gap; ++i) EXPECT_EQ(y[static_cast<size_t>(m * (n + gap) + i)], kUntouched);
    }
    return worst;
  }

  Matrix w;
  std::vector<float> bias;
};

// x rounded to bf16 is off by 2^-9 a term at most.
double tolerance(const KernelSet& set, FormatId weight) {
  return test::is_exact(set, weight) ? 2e-6 : 0x1p-9;
}

TEST(Linear, is_the_matrix_product_for_odd_shapes_and_any_number_of_rows) {
  for (const KernelSet* set : test::sets_here()) {
    for (const int64_t rows : {1, 2, 3, 7, 8, 9, 31, 64, 65, 600}) {
      for (const auto& [n, k] : {std::pair<int64_t, int64_t>{1, 1}, {7, 3}, {25, 31}, {97, 65}, {193, 129}}) {
        if (rows == 600 && n > 97) continue;
        const std::vector<float> x = test::normals(rows * k, static_cast<uint64_t>(rows));
        Stage stage(*set);
        Rows shared(x.data(), rows, k);
        const Job job(FormatId::f32, n, k, rows % 2 == 1, static_cast<uint64_t>(n));
        std::vector<float> y;
        const LinearJob run = job.to(y, rows, 0);
        linear(stage.exec, shared, {&run, 1});
        EXPECT_LE(job.error(x, y, rows, 0), tolerance(*set, FormatId::f32))
            << set->name << " " << rows << " rows, " << n << " x " << k;
      }
    }
  }
}

// q, k and v of a block: one input, several weights of different sizes and formats, results with gaps between rows.
TEST(Linear, several_products_share_their_rows) {
  for (const KernelSet* set : test::sets_here()) {
    for (const int64_t rows : {1, 5, 8, 70}) {
      constexpr int64_t k = 96;
      const std::vector<float> x = test::normals(rows * k, 3);
      const Job jobs[] = {{FormatId::bf16, 130, k, true, 1},
                          {FormatId::f32, 1, k, false, 2},
                          {FormatId::mxfp4, 33, k, true, 3},
                          {FormatId::f16, 400, k, false, 4}};
      for (const bool exact : {false, true}) {
        Stage stage(*set, 3);
        Rows shared(x.data(), rows, k);
        std::vector<float> y[4];
        std::vector<LinearJob> runs;
        for (size_t i = 0; i < 4; ++i) runs.push_back(jobs[i].to(y[i], rows, static_cast<int64_t>(i)));
        linear(stage.exec, shared, runs, exact);
        for (size_t i = 0; i < 4; ++i) {
          const double allowed = exact ? 2e-6 : tolerance(*set, jobs[i].w.view().format);
          EXPECT_LE(jobs[i].error(x, y[i], rows, static_cast<int64_t>(i)), allowed)
              << set->name << " job " << i << ", " << rows << " rows" << (exact ? ", exact" : "");
        }
      }
    }
  }
}

TEST(Linear, a_row_has_the_same_bits_alone_and_among_others_for_any_number_of_threads) {
  constexpr int64_t rows = 37, n = 201, k = 160;
  const std::vector<float> x = test::normals(rows * k, 9);
  for (const KernelSet* set : test::sets_here()) {
    for (const FormatId format : test::kComputableFormats) {
      const Job job(format, n, k, true, 5);
      std::vector<float> expected, y;
      for (const int threads : {1, 2, 3}) {
        Stage stage(*set, threads);
        Rows shared(x.data(), rows, k);
        LinearJob run = job.to(y, rows, 0);
        linear(stage.exec, shared, {&run, 1});
        if (threads == 1) expected = y;
        EXPECT_EQ(y, expected) << set->name << " " << threads << " threads";
      }
      Stage stage(*set);
      for (const int64_t row : {int64_t{0}, int64_t{17}, rows - 1}) {
        Rows alone(x.data() + row * k, 1, k);
        LinearJob run = job.to(y, 1, 0);
        linear(stage.exec, alone, {&run, 1});
        EXPECT_EQ(y, std::vector<float>(expected.begin() + row * n, expected.begin() + (row + 1) * n)) << set->name;
      }
    }
  }
}

TEST(Linear, rows_are_rounded_once_for_all_who_ask) {
  Stage stage;
  const std::vector<float> x = test::normals(20 * 7, 1);
  Rows rows(x.data(), 20, 7);
  EXPECT_EQ(rows.as(stage.exec, FormatId::f32).data, x.data());
  const Rows::Encoded first = rows.as(stage.exec, FormatId::bf16);
  EXPECT_EQ(rows.as(stage.exec, FormatId::bf16).data, first.data);
  ASSERT_EQ(first.row_bytes, 64);  // 7 of 2 bytes, and on to the next cache line
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(static_cast<const uint16_t*>(first.data)[i / 7 * 32 + i % 7], f32_to_bf16(x[i]));
  }
}

TEST(Linear, blocks_of_columns_cover_every_width_with_whole_tiles) {
  for (const int threads : {1, 2, 16}) {
    Stage stage(test::ref(), threads);
    for (const int64_t jobs : {1, 3, 128}) {
      for (const int64_t n : {1, 24, 25, 100, 1536, 151936}) {
        for (const int64_t rows : {1, 512}) {
          const int64_t block = column_block(stage.exec, n, jobs, column_cut(rows, FormatId::f32));
          EXPECT_TRUE(block >= 24 && block <= gemm_column_block(rows, FormatId::f32) && block % 24 == 0) << block;
        }
      }
    }
    const int64_t block = column_block(stage.exec, 4096, 1, column_cut(512, FormatId::f32));
    EXPECT_GE((4096 + block - 1) / block, threads);  // no thread goes without
  }
}

}  // namespace
}  // namespace moxie
