// Cross-entropy over rows against a plain double implementation and finite differences.
#include "ops/cross_entropy.h"

#include "ops/stage.h"

namespace moxie::test {
namespace {

double plain_loss(const std::vector<double>& logits, size_t target) {
  double total = 0;
  for (double v : logits) total += std::exp(v - logits[target]);
  return std::log(total);
}

std::vector<int32_t> some_targets(int64_t num_rows, int64_t n) {
  std::vector<int32_t> targets;
  for (int64_t row = 0; row < num_rows; ++row) targets.push_back(row % 5 == 3 ? -1 : static_cast<int32_t>(row * 7 % n));
  return targets;
}

TEST(CrossEntropyOp, equals_a_plain_implementation_and_its_differences_and_skips_rows_without_target) {
  for (const KernelSet* set : sets_here()) {
    Stage stage(*set);
    for (const auto& [num_rows, n] : {std::pair<int64_t, int64_t>{1, 1}, {4, 2}, {37, 19}, {70, 65}}) {
      const std::vector<float> x = normals(num_rows * n, 1);
      const std::vector<int32_t> targets = some_targets(num_rows, n);
      std::vector<float> logits = x, losses(static_cast<size_t>(num_rows), 9.0f);
      const float scale = 0.5f;
      cross_entropy(stage.exec, logits.data(), num_rows, n, targets.data(), scale, losses.data());
      for (int64_t row = 0; row < num_rows; ++row) {
        const int32_t target = targets[static_cast<size_t>(row)];
        std::vector<double> at(x.begin() + row * n, x.begin() + (row + 1) * n);
        const double loss = target < 0 ? 0 : plain_loss(at, static_cast<size_t>(target));
        ASSERT_NEAR(losses[static_cast<size_t>(row)], loss, 1e-5) << set->name;
        for (size_t i = 0; i < at.size(); ++i) {
          double slope = 0;
          if (target >= 0) {
            constexpr double kStep = 1e-4;
            at[i] += kStep;
            const double up = plain_loss(at, static_cast<size_t>(target));
            at[i] -= 2 * kStep;
            slope = (up - plain_loss(at, static_cast<size_t>(target))) / (2 * kStep);
            at[i] += kStep;
          }
          ASSERT_NEAR(logits[static_cast<size_t>(row * n) + i], scale * slope, 1e-6) << set->name;
        }
      }
    }
  }
}

TEST(CrossEntropyOp, bits_do_not_depend_on_threads) {
  const int64_t num_rows = 50, n = 33;
  const std::vector<int32_t> targets = some_targets(num_rows, n);
  for (const KernelSet* set : sets_here()) {
    std::vector<float> first_logits, first_losses;
    for (int threads : {1, 2, 3}) {
      Stage stage(*set, threads);
      std::vector<float> logits = normals(num_rows * n, 1), losses(static_cast<size_t>(num_rows));
      cross_entropy(stage.exec, logits.data(), num_rows, n, targets.data(), 1.0f, losses.data());
      if (threads == 1) {
        first_logits = logits;
        first_losses = losses;
      }
      EXPECT_EQ(logits, first_logits) << set->name;
      EXPECT_EQ(losses, first_losses) << set->name;
    }
  }
}

}  // namespace
}  // namespace moxie::test
