// Experts against a plain loop in double: every format, activation and kernel set, few rows and many.
#include "moe/experts.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "moe/bank.h"

namespace moxie {
namespace {

using test::ExpertFormats;
using test::KnownExpert;
using test::Stage;

constexpr int64_t kHidden = 64;

// Expert e sees the rows of x listed in rows[e] (empty: all of them, as a dense block does).
struct Work {
  std::deque<KnownExpert> experts;
  std::vector<std::vector<int32_t>> rows;
  std::vector<float> x;
  int64_t num_tokens = 0;
  GluArgs activation;

  // Outputs expert after expert.
  std::vector<float> run(Stage& stage) const {
    std::vector<Expert> bank;
    std::vector<ExpertRun> runs;
    int64_t total = 0;
    for (const KnownExpert& e : experts) bank.push_back(e.expert());
    for (const auto& list : rows) total += list.empty() ? num_tokens : static_cast<int64_t>(list.size());
    std::vector<float> y(static_cast<size_t>(total * kHidden), NAN);
    float* out = y.data();
    for (size_t e = 0; e < bank.size(); ++e) {
      const int64_t n = rows[e].empty() ? num_tokens : static_cast<int64_t>(rows[e].size());
      runs.push_back({&bank[e], rows[e].empty() ? nullptr : rows[e].data(), n, out});
      out += n * kHidden;
    }
    Rows shared(x.data(), num_tokens, kHidden);
    run_experts(stage.exec, shared, runs, activation);
    return y;
  }

  void expect_right(const KernelSet& set) const {
    Stage stage(set);
    const std::vector<float> y = run(stage);
    size_t at = 0;
    for (size_t e = 0; e < experts.size(); ++e) {
      std::vector<int32_t> list = rows[e];
      if (list.empty()) list.resize(static_cast<size_t>(num_tokens)), std::iota(list.begin(), list.end(), 0);
      const double allowed = test::block_tolerance(experts[e].is_exact_in(set));
      for (const int32_t row : list) {
        for (const double expected : experts[e].of(x.data() + row * kHidden, activation)) {
          const auto got = static_cast<double>(y[at++]);
          ASSERT_NEAR(got, expected, allowed * std::max(1.0, std::abs(expected)))
              << set.name << " expert " << e << " row " << row;
        }
      }
    }
  }
};

Work work_of(int64_t num_tokens) {
  return {.x = test::normals(num_tokens * kHidden, 99), .num_tokens = num_tokens};
}

TEST(Experts, compute_in_every_format_each_in_its_own) {
  for (const KernelSet* set : test::sets_here()) {
    Work work = work_of(12);
    for (const FormatId gate_up : test::kComputableFormats) {
      for (const FormatId down : test::kComputableFormats) {
        work.experts.emplace_back(ExpertFormats{gate_up, down}, 96, kHidden, true, 10 * work.experts.size());
        work.rows.push_back({3, 0, 11, 7, 7});
      }
    }
    work.expect_right(*set);
  }
}

// Hidden rows in blocks, written in pieces by several threads: 608 is two whole pieces of 256 and a rest.
TEST(Experts, compute_in_block_formats_and_a_row_has_the_same_bits_alone) {
  constexpr int64_t kRows = 9, kWide = 256, kInner = 608;
  for (const FormatId format : {FormatId::q8_0, FormatId::q4_0, FormatId::mxfp4_block}) {
    const auto matrix = [&](int64_t rows, int64_t columns, uint64_t seed) {
      std::vector<char> bytes(static_cast<size_t>(rows * row_bytes(format, columns)));
      const std::vector<float> values = test::normals(rows * columns, seed);
      encode_blocks(format, values.data(), rows * columns, nullptr, bytes.data());
      return bytes;
    };
    const std::vector<char> gate = matrix(kInner, kWide, 1), up = matrix(kInner, kWide, 2),
                            down = matrix(kWide, kInner, 3);
    Expert expert;
    expert.gate = dense_view(gate.data(), format, {kInner, kWide});
    expert.up = dense_view(up.data(), format, {kInner, kWide});
    expert.down = dense_view(down.data(), format, {kWide, kInner});
    const std::vector<float> x = test::normals(kRows * kWide, 4);
    const auto run = [&](const KernelSet& set, int threads, int64_t first, int64_t count) {
      Stage stage(set, threads);
      std::vector<float> y(static_cast<size_t>(count * kWide));
      Rows rows(x.data() + first * kWide, count, kWide);
      const ExpertRun whole{&expert, nullptr, count, y.data()};
      run_experts(stage.exec, rows, {&whole, 1}, {});
      return y;
    };
    const std::vector<float> expected = run(test::ref(), 1, 0, kRows);
    double size = 0;
    for (const float v : expected) size += static_cast<double>(v) * v;
    for (const KernelSet* set : test::sets_here()) {
      const std::vector<float> all = run(*set, 3, 0, kRows);
      double error = 0;
      for (size_t i = 0; i < all.size(); ++i) error += std::pow(static_cast<double>(all[i]) - expected[i], 2);
      EXPECT_LT(std::sqrt(error / size), 0.02) << set->name << " " << format_name(format);  // of int8 x
      for (int64_t m = 0; m < kRows; ++m) {
        const std::vector<float> alone = run(*set, 1, m, 1);
        EXPECT_EQ(std::memcmp(alone.data(), all.data() + m * kWide, kWide * sizeof(float)), 0) << set->name << m;
      }
    }
  }
}

TEST(Experts, compute_every_activation) {
  for (const KernelSet* set : test::sets_here()) {
    for (const GluArgs activation : {GluArgs{GluKind::swiglu}, GluArgs{GluKind::clamped_swiglu, 1.702f, 7.0f},
                                     GluArgs{GluKind::clamped_swiglu, 1.5f, 0.5f}, GluArgs{GluKind::geglu}}) {
      Work work = work_of(5);
      work.activation = activation;
      work.experts.emplace_back(ExpertFormats{}, 33, kHidden, true, 1);
      work.rows.push_back({});
      work.expect_right(*set);
    }
  }
}

// 600 rows are more than two of the chunks in which gate and up wait for the activation.
TEST(Experts, compute_a_hot_expert_beside_small_ones) {
  for (const KernelSet* set : test::sets_here()) {
    Work work = work_of(600);
    std::vector<int32_t> backwards(600);
    std::iota(backwards.rbegin(), backwards.rend(), 0);
    work.rows = {{5}, backwards, {0, 599}, {}};
    for (uint64_t e = 0; e < 4; ++e) work.experts.emplace_back(ExpertFormats{}, 50, kHidden, e % 2 == 0, e);
    work.expect_right(*set);
  }
}

TEST(Experts, an_expert_without_rows_does_nothing) {
  Stage stage;
  const KnownExpert known({}, 32, kHidden, false, 1);
  const Expert expert = known.expert();
  const std::vector<float> x = test::normals(kHidden, 1);
  float untouched = 42;
  Rows rows(x.data(), 1, kHidden);
  const int32_t none = 0;
  const ExpertRun run{&expert, &none, 0, &untouched};
  run_experts(stage.exec, rows, {&run, 1}, {});
  run_experts(stage.exec, rows, {}, {});
  EXPECT_EQ(untouched, 42);
}

// A checkpoint may store them apart, and then in two formats.
TEST(Experts, gate_and_up_may_differ_in_format) {
  for (const KernelSet* set : test::sets_here()) {
    const KnownExpert f32({FormatId::f32, FormatId::f32}, 40, kHidden, false, 1);
    Expert expert = f32.expert();
    const test::Matrix up(FormatId::bf16, 40, kHidden, 7);
    std::vector<float> decoded;
    for (int64_t i = 0; i < 40 * kHidden; ++i) decoded.push_back(static_cast<float>(up.at(i / kHidden, i % kHidden)));
    const std::vector<float> x = test::normals(3 * kHidden, 2);
    std::vector<float> mixed(3 * kHidden), plain(3 * kHidden);
    Stage stage(*set);
    for (const bool stored_as_bf16 : {true, false}) {
      expert.up = stored_as_bf16 ? up.view() : dense_view(decoded.data(), FormatId::f32, {40, kHidden});
      Rows rows(x.data(), 3, kHidden);
      const ExpertRun run{&expert, nullptr, 3, stored_as_bf16 ? mixed.data() : plain.data()};
      run_experts(stage.exec, rows, {&run, 1}, {});
    }
    const double allowed = test::block_tolerance(test::is_exact(*set, FormatId::bf16));
    for (size_t i = 0; i < mixed.size(); ++i) {
      EXPECT_NEAR(static_cast<double>(mixed[i]), static_cast<double>(plain[i]), allowed) << set->name;
    }
  }
}

TEST(Experts, a_row_has_the_same_bits_whoever_stands_beside_it) {
  for (const KernelSet* set : test::sets_here()) {
    for (const FormatId format : test::kComputableFormats) {
      Work many = work_of(300), alone = work_of(300);
      for (uint64_t e = 0; e < 5; ++e)
        many.experts.emplace_back(ExpertFormats{format, format}, 96, kHidden, true, 6 * e);
      alone.experts.emplace_back(ExpertFormats{format, format}, 96, kHidden, true, 6);
      many.rows = {{1, 2}, {}, {9}, {250, 251}, {}};
      std::vector<float> expected;
      for (const int threads : {1, 2, 3}) {
        Stage stage(*set, threads);
        const std::vector<float> y = many.run(stage);
        if (threads == 1) expected = y;
        EXPECT_EQ(0, std::memcmp(y.data(), expected.data(), y.size() * sizeof(float))) << set->name << threads;
        for (const int32_t row : {0, 77, 256, 299}) {
          alone.rows = {{row}};
          const std::vector<float> one = alone.run(stage);
          EXPECT_EQ(0, std::memcmp(one.data(), expected.data() + (2 + row) * kHidden, kHidden * sizeof(float)))
              << set->name << " row " << row;
        }
      }
    }
  }
}

}  // namespace
}  // namespace moxie
