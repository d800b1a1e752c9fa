// The training product: every set against the reference, over both storage orders, gathers, tails and partial sums.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/rng.h"
#include "kernels/kernels.h"

namespace moxie {
namespace {

// A random matrix [rows, columns] with rows `stride` apart.
std::vector<float> random_matrix(int64_t rows, int64_t stride, uint64_t seed) {
  std::vector<float> data(static_cast<size_t>(rows * stride));
  const Rng rng(seed, 7);
  for (size_t i = 0; i < data.size(); ++i) data[i] = rng.normal(i);
  return data;
}

struct Case {
  int64_t m, n, k;
  bool a_k_major, b_k_major, gather, accumulate, bias;
  Precision precision;
};

struct Product {
  explicit Product(const Case& c) : shape(c) {
    const int64_t a_rows = c.a_k_major ? c.k : c.m, a_columns = c.a_k_major ? c.m : c.k;
    const int64_t b_rows = c.b_k_major ? c.k : c.n, b_columns = c.b_k_major ? c.n : c.k;
    a = random_matrix(2 * a_rows + 1, a_columns + 3, 1);
    b = random_matrix(2 * b_rows + 1, b_columns + 1, 2);
    for (int64_t i = 0; i < a_rows; ++i) a_gather.push_back(static_cast<int32_t>((i * 7) % (2 * a_rows + 1)));
    for (int64_t i = 0; i < b_rows; ++i) b_gather.push_back(static_cast<int32_t>((i * 3) % (2 * b_rows + 1)));
    bias = random_matrix(1, c.n, 3);
    start = random_matrix(c.m, c.n + 5, 4);
    args = {.a = {a.data(), a_columns + 3, c.a_k_major, c.gather ? a_gather.data() : nullptr},
            .b = {b.data(), b_columns + 1, c.b_k_major, c.gather ? b_gather.data() : nullptr},
            .m_end = c.m,
            .n_end = c.n,
            .k = c.k,
            .precision = c.precision,
            .accumulate = c.accumulate,
            .bias = c.bias ? bias.data() : nullptr,
            .c_stride = c.n + 5};
  }

  std::vector<float> run(const KernelSet& set, int64_t m0, int64_t m1, int64_t n0, int64_t n1) const {
    std::vector<float> c = start;
    std::vector<char> scratch(static_cast<size_t>(set.matmul_scratch_bytes()) + 64);
    MatmulArgs mine = args;
    mine.m_begin = m0, mine.m_end = m1, mine.n_begin = n0, mine.n_end = n1;
    mine.c = c.data();
    mine.scratch = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64);
    set.matmul(mine);
    return c;
  }
  std::vector<float> run(const KernelSet& set) const { return run(set, 0, shape.m, 0, shape.n); }

  Case shape;
  std::vector<float> a, b, bias, start;
  std::vector<int32_t> a_gather, b_gather;
  MatmulArgs args;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  const int64_t sizes[][3] = {{1, 1, 1},   {5, 3, 2},    {12, 32, 16},  {13, 33, 17},   {7, 64, 0},
                              {24, 31, 5}, {25, 70, 31}, {200, 40, 33}, {30, 300, 200}, {197, 270, 41}};
  for (const auto& [m, n, k] : sizes) {
    for (int flags = 0; flags < 8; ++flags) {
      for (const Precision precision : {Precision::f32, Precision::bf16}) {
        all.push_back({m, n, k, (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0, (flags & 1) != 0,
                       (flags & 2) == 0, precision});
      }
    }
  }
  return all;
}

TEST(Matmul, every_set_agrees_with_the_reference) {
  for (const KernelSet* set : all_kernel_sets()) {
    if (!runs_here(*set)) continue;
    for (const Case& c : cases()) {
      const Product product(c);
      const std::vector<float> expected = product.run(*find_kernel_set("ref")), got = product.run(*set);
      const double bound = 3e-6 * std::sqrt(static_cast<double>(c.k) + 1) * 4;
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_NEAR(got[i], expected[i], bound) << set->name << " m " << c.m << " n " << c.n << " k " << c.k << " at "
                                                << i << " bf16 " << (c.precision == Precision::bf16);
      }
    }
  }
}

TEST(Matmul, bits_do_not_depend_on_how_the_call_is_cut) {
  for (const KernelSet* set : all_kernel_sets()) {
    if (!runs_here(*set)) continue;
    for (const Case& c : cases()) {
      const Product product(c);
      const std::vector<float> whole = product.run(*set);
      const int64_t m = c.m / 2, n = c.n / 3;
      const std::vector<float> part = product.run(*set, m, c.m, n, c.n);
      for (int64_t i = 0; i < c.m; ++i) {
        for (int64_t j = 0; j < c.n; ++j) {
          const size_t at = static_cast<size_t>(i * product.args.c_stride + j);
          const float expected = i >= m && j >= n ? whole[at] : product.start[at];
          ASSERT_EQ(0, std::memcmp(&part[at], &expected, sizeof(float))) << set->name << " " << i << " " << j;
        }
      }
    }
  }
}

}  // namespace
}  // namespace moxie
