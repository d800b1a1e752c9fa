// The learning rate of each step, by exact values.
#include <gtest/gtest.h>

#include <cmath>

#include "train/config.h"

namespace moxie {
namespace {

LoopConfig loop(Schedule schedule) {
  LoopConfig config;
  config.steps = 110;
  config.lr = 1;
  config.min_lr = 0.1;
  config.warmup = 10;
  config.schedule = schedule;
  return config;
}

TEST(Schedule, warms_up_linearly_from_one_share) {
  const LoopConfig config = loop(Schedule::cosine);
  EXPECT_DOUBLE_EQ(learning_rate(config, 1), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(config, 5), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(config, 10), 1);
}

TEST(Schedule, takes_warmup_below_one_as_a_share) {
  LoopConfig config = loop(Schedule::linear);
  config.steps = 100;
  config.warmup = 0.04;
  EXPECT_DOUBLE_EQ(learning_rate(config, 1), 0.25);
  config.warmup = 0;
  EXPECT_DOUBLE_EQ(learning_rate(config, 50), 0.55);
}

TEST(Schedule, follows_its_curve_to_min_lr) {
  EXPECT_DOUBLE_EQ(learning_rate(loop(Schedule::cosine), 60), 0.55);
  EXPECT_DOUBLE_EQ(learning_rate(loop(Schedule::cosine), 35), 0.1 + 0.9 * 0.5 * (1 + std::sqrt(0.5)));
  EXPECT_DOUBLE_EQ(learning_rate(loop(Schedule::linear), 35), 0.775);
  EXPECT_DOUBLE_EQ(learning_rate(loop(Schedule::constant), 110), 1);
  for (Schedule schedule : {Schedule::cosine, Schedule::linear, Schedule::wsd}) {
    EXPECT_NEAR(learning_rate(loop(schedule), 110), 0.1, 1e-12);
    EXPECT_NEAR(learning_rate(loop(schedule), 500), 0.1, 1e-12);
  }
}

TEST(Schedule, holds_until_the_last_share_in_wsd) {
  const LoopConfig config = loop(Schedule::wsd);  // the last 22 steps decay
  EXPECT_DOUBLE_EQ(learning_rate(config, 88), 1);
  EXPECT_DOUBLE_EQ(learning_rate(config, 99), 0.55);
}

TEST(Schedule, gives_the_decay_without_the_warm_up) {
  const LoopConfig config = loop(Schedule::linear);
  EXPECT_EQ(rate_decay(config, 1), 1);
  EXPECT_EQ(rate_decay(config, 10), 1);
  EXPECT_DOUBLE_EQ(rate_decay(config, 35), 0.775);
  EXPECT_DOUBLE_EQ(rate_decay(config, 110), 0.1);
}

TEST(Schedule, may_be_warm_up_alone) {
  LoopConfig config = loop(Schedule::cosine);
  config.warmup = 110;
  EXPECT_DOUBLE_EQ(learning_rate(config, 110), 1);
}

}  // namespace
}  // namespace moxie
