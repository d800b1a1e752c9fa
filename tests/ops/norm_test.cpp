// Norms over rows against a plain double implementation and finite differences.
#include "ops/norm.h"

#include "ops/stage.h"

namespace moxie::test {
namespace {

constexpr float kEps = 1e-3f;

struct Case {
  int64_t num_rows, n, stride;
  bool has_bias;
};
const Case kCases[] = {{1, 1, 1, false}, {5, 7, 9, false}, {64, 33, 33, true}, {65, 8, 8, false}, {200, 20, 31, true}};

struct Inputs {
  explicit Inputs(const Case& c)
      : x(normals(c.num_rows * c.stride, 1)),
        dy(normals(c.num_rows * c.stride, 2)),
        dx(normals(c.num_rows * c.stride, 3)),
        weight(normals(c.n, 4)),
        bias(normals(c.n, 5)),
        d_weight(normals(c.n, 6)),
        d_bias(normals(c.n, 7)),
        params{.weight = weight.data(), .bias = c.has_bias ? bias.data() : nullptr, .eps = kEps} {}
  Inputs(const Inputs&) = delete;
  Inputs& operator=(const Inputs&) = delete;

  void backward(Exec& exec, const Case& c) {
    norm_backward(exec, params, x.data(), c.stride, dy.data(), c.stride, c.num_rows, c.n, dx.data(), c.stride,
                  d_weight.data(), c.has_bias ? d_bias.data() : nullptr);
  }

  std::vector<float> x, dy, dx, weight, bias, d_weight, d_bias;
  NormParams params;
};

/// The normed row before weight and bias.
std::vector<double> normed(const float* x, int64_t n, bool centred) {
  double mean = 0, squares = 0;
  for (int64_t i = 0; i < n && centred; ++i) mean += x[i] / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean) / static_cast<double>(n);
  std::vector<double> y;
  for (int64_t i = 0; i < n; ++i) y.push_back((x[i] - mean) / std::sqrt(squares + static_cast<double>(kEps)));
  return y;
}

double row_loss(const Inputs& in, const float* x, const float* dy, int64_t n, bool has_bias) {
  const std::vector<double> y = normed(x, n, has_bias);
  double loss = 0;
  for (int64_t i = 0; i < n; ++i) loss += y[static_cast<size_t>(i)] * in.weight[static_cast<size_t>(i)] * dy[i];
  return loss;
}

TEST(Norm, forward_equals_a_plain_implementation_also_in_place) {
  for (const KernelSet* set : sets_here()) {
    Stage stage(*set);
    for (const Case& c : kCases) {
      Inputs in(c);
      std::vector<float> y(static_cast<size_t>(c.num_rows * (c.n + 2)), 7.0f);
      norm_forward(stage.exec, in.params, in.x.data(), c.stride, c.num_rows, c.n, y.data(), c.n + 2);
      const std::vector<float> x = in.x;
      norm_forward(stage.exec, in.params, in.x.data(), c.stride, c.num_rows, c.n, in.x.data(), c.stride);
      for (int64_t row = 0; row < c.num_rows; ++row) {
        const std::vector<double> expected = normed(x.data() + row * c.stride, c.n, c.has_bias);
        for (int64_t i = 0; i < c.n; ++i) {
          const auto at = static_cast<size_t>(i);
          const float got = y[static_cast<size_t>(row * (c.n + 2) + i)];
          ASSERT_NEAR(got, expected[at] * in.weight[at] + (c.has_bias ? in.bias[at] : 0), 1e-5) << set->name;
          ASSERT_EQ(got, in.x[static_cast<size_t>(row * c.stride + i)]);
        }
        ASSERT_EQ(y[static_cast<size_t>(row * (c.n + 2) + c.n)], 7.0f) << "between rows nothing is written";
      }
    }
  }
}

TEST(Norm, backward_follows_finite_differences_and_adds_to_what_was_there) {
  for (const KernelSet* set : sets_here()) {
    Stage stage(*set);
    for (const Case& c : kCases) {
      const Inputs before(c);
      Inputs in(c);
      in.backward(stage.exec, c);
      std::vector<double> d_weight(in.weight.size()), d_bias(in.weight.size());
      for (int64_t row = 0; row < c.num_rows; ++row) {
        std::vector<float> x(in.x.begin() + row * c.stride, in.x.begin() + row * c.stride + c.n);
        const float* dy = in.dy.data() + row * c.stride;
        const std::vector<double> y = normed(x.data(), c.n, c.has_bias);
        for (int64_t i = 0; i < c.n; ++i) {
          const auto at = static_cast<size_t>(i), at_dx = static_cast<size_t>(row * c.stride + i);
          d_weight[at] += y[at] * dy[i];
          d_bias[at] += dy[i];
          const float middle = x[at], up = middle + 0x1p-10f, down = middle - 0x1p-10f;  // x rounds: divide by the rest
          x[at] = up;
          const double loss_up = row_loss(in, x.data(), dy, c.n, c.has_bias);
          x[at] = down;
          const double slope =
              (loss_up - row_loss(in, x.data(), dy, c.n, c.has_bias)) / (static_cast<double>(up) - down);
          x[at] = middle;
          if (c.n > 1) {  // of one column the norm is a step: differences say nothing about its slope
            ASSERT_NEAR(in.dx[at_dx], before.dx[at_dx] + slope, 2e-4) << set->name << " " << row << " " << i;
          }
        }
      }
      for (size_t i = 0; i < in.weight.size(); ++i) {
        ASSERT_NEAR(in.d_weight[i], before.d_weight[i] + d_weight[i], 1e-4) << set->name;
        ASSERT_NEAR(in.d_bias[i], before.d_bias[i] + (c.has_bias ? d_bias[i] : 0), 1e-4) << set->name;
      }
    }
  }
}

TEST(Norm, bits_of_gradients_do_not_depend_on_threads) {
  for (const KernelSet* set : sets_here()) {
    for (const Case& c : kCases) {
      Stage one(*set, 1);
      Inputs expected(c);
      expected.backward(one.exec, c);
      for (int threads : {2, 3}) {
        Stage stage(*set, threads);
        Inputs in(c);
        in.backward(stage.exec, c);
        EXPECT_EQ(in.dx, expected.dx) << set->name;
        EXPECT_EQ(in.d_weight, expected.d_weight) << set->name;
        EXPECT_EQ(in.d_bias, expected.d_bias) << set->name;
      }
    }
  }
}

}  // namespace
}  // namespace moxie::test
