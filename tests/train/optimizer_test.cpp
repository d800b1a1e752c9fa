// AdamW over a block, against the formula in double and against itself with other numbers of threads.
#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "train/tiny.h"

namespace moxie {
namespace {

class OptimizerTest : public testing::Test {
 protected:
  OptimizerTest() : config_(test::tiny_config(directory_.path())) {}

  // Parameters with values, and gradients, that depend on their place.
  static void fill(const Parameters& parameters, float* gradients) {
    initialise(const_cast<Parameters&>(parameters), 7);
    for (const Parameter& parameter : parameters.list()) {
      for (int64_t i = 0; i < parameter.shape.num_elems(); ++i) {
        gradients[parameter.offset + i] = std::sin(0.37f * static_cast<float>(parameter.offset + i));
      }
    }
  }

  test::ScratchDirectory directory_;
  TrainConfig config_;
};

TEST_F(OptimizerTest, norm_is_the_root_of_the_sum_of_squares) {
  Parameters parameters(config_.spec);
  const Optimizer optimizer(parameters);
  ThreadPool pool(1);
  const auto gradients = parameters.new_block();
  fill(parameters, gradients.get());
  double sum = 0;
  for (int64_t i = 0; i < parameters.size(); ++i) sum += std::pow(static_cast<double>(gradients.get()[i]), 2);
  EXPECT_NEAR(optimizer.gradient_norm(pool, gradients.get()), std::sqrt(sum), 1e-9 * std::sqrt(sum));
}

TEST_F(OptimizerTest, two_steps_follow_the_formula_and_vectors_do_not_decay) {
  Parameters parameters(config_.spec);
  Optimizer optimizer(parameters);
  ThreadPool pool(1);
  const auto gradients = parameters.new_block();
  fill(parameters, gradients.get());
  const std::vector<float> before(parameters.values(), parameters.values() + parameters.size());
  const double lr = 1e-2, decay = 0.3, scale = 0.5, beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  for (int64_t update = 1; update <= 2; ++update) {
    optimizer.step(choose_kernel_set(), pool,
                   {.lr = lr,
                    .beta1 = beta1,
                    .beta2 = beta2,
                    .eps = eps,
                    .weight_decay = decay,
                    .grad_scale = scale,
                    .update = update},
                   gradients.get());
  }
  bool seen_vector = false;
  for (const Parameter& parameter : parameters.list()) {
    const bool decays = parameter.kind != ParameterKind::vector;
    seen_vector |= !decays;
    for (int64_t i = parameter.offset; i < parameter.offset + parameter.shape.num_elems(); ++i) {
      double w = before[static_cast<size_t>(i)], m = 0, v = 0;
      const double g = scale * static_cast<double>(gradients.get()[i]);
      for (int update = 1; update <= 2; ++update) {
        m = beta1 * m + (1 - beta1) * g;
        v = beta2 * v + (1 - beta2) * g * g;
        w = w * (1 - lr * (decays ? decay : 0)) -
            lr * (m / (1 - std::pow(beta1, update))) / (std::sqrt(v / (1 - std::pow(beta2, update))) + eps);
      }
      ASSERT_NEAR(parameters.values()[i], w, 1e-5 * (1 + std::abs(w))) << parameter.name;
    }
  }
  EXPECT_TRUE(seen_vector);
}

TEST_F(OptimizerTest, threads_do_not_change_bits) {
  std::vector<std::vector<float>> results;
  std::vector<double> norms;
  for (const int threads : {1, 2, 3}) {
    Parameters parameters(config_.spec);
    Optimizer optimizer(parameters);
    ThreadPool pool(threads);
    const auto gradients = parameters.new_block();
    fill(parameters, gradients.get());
    norms.push_back(optimizer.gradient_norm(pool, gradients.get()));
    optimizer.step(choose_kernel_set(), pool, {.lr = 1e-2, .weight_decay = 0.1}, gradients.get());
    results.emplace_back(parameters.values(), parameters.values() + parameters.size());
  }
  for (size_t i = 1; i < results.size(); ++i) {
    EXPECT_EQ(norms[i], norms[0]);
    EXPECT_EQ(std::memcmp(results[i].data(), results[0].data(), results[0].size() * sizeof(float)), 0);
  }
}

TEST(Optimizer, clipping_shortens_long_gradients_only) {
  EXPECT_EQ(clip_scale(4, 1), 0.25);
  EXPECT_EQ(clip_scale(0.5, 1), 1);
  EXPECT_EQ(clip_scale(100, 0), 1);
}

}  // namespace
}  // namespace moxie
