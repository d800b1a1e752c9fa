// The numbers of a run and of a pair of runs, against ones computed by hand.
#include "report/run_summary.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "report/run_logs.h"

namespace moxie {
namespace {

/// Ten tokens, 100 FLOPs and `seconds` a step; validation losses at steps 10, 20, 30.
RunLog hand_made(const std::string& name, int experts, double seconds, const std::vector<double>& losses) {
  std::string text = fmt::format(
      "{{\"type\":\"run\",\"name\":\"{}\",\"num_experts\":{},\"top_k\":2,\"moe_layers\":[{}],\"steps\":40,"
      "\"parameters_total\":100,\"parameters_active\":40}}\n",
      name, experts, experts > 0 ? "0" : "");
  for (int step = 1; step <= 30; ++step) {
    text += fmt::format(
        "{{\"type\":\"step\",\"step\":{0},\"tokens\":{1},\"flops\":{2},\"seconds\":{3},\"loss\":{4},\"max_vio\":{5},"
        "\"dead_experts\":2,\"tokens_per_second\":{6},\"mfu\":0.5}}\n",
        step, 10 * step, 100 * step, seconds * step, 40 - step, 0.1 * step, step == 30 ? 9999 : 100 + step);
    if (step % 10 == 0) {
      text += fmt::format(
          "{{\"type\":\"eval\",\"step\":{},\"tokens\":{},\"flops\":{},\"seconds\":{},\"loss\":{},\"nats_per_byte\":{},"
          "\"max_vio_global\":0.25}}\n",
          step, 10 * step, 100 * step, seconds * step, losses[static_cast<size_t>(step / 10 - 1)], 0.5);
    }
  }
  return parse_run_log(text, name);
}

TEST(RunSummary, has_the_numbers_of_a_run_made_by_hand) {
  const RunSummary run = summarize(hand_made("a", 4, 2, {5, 3, 4}));
  EXPECT_TRUE(run.is_moe);
  EXPECT_EQ(run.step, 30);
  EXPECT_EQ(run.planned_steps, 40);
  EXPECT_EQ(run.tokens, 300);
  EXPECT_EQ(run.flops, 3000);
  EXPECT_EQ(run.seconds, 60);
  EXPECT_DOUBLE_EQ(run.train_loss, 11);  // of steps 28, 29, 30: a tenth of the lines
  EXPECT_DOUBLE_EQ(run.max_vio, 2.9);
  EXPECT_EQ(run.eval_loss, 4);
  EXPECT_EQ(run.best_eval_loss, 3);
  EXPECT_EQ(run.nats_per_byte, 0.5);
  EXPECT_EQ(run.max_vio_global, 0.25);
  EXPECT_EQ(run.dead_experts, 2);
  EXPECT_EQ(run.tokens_per_second, 116);  // the median: one odd step does not count
  EXPECT_TRUE(std::isnan(run.entropy));
  ASSERT_EQ(run.warnings.size(), 1u);
  EXPECT_EQ(run.warnings[0], "a: ends with about 2 dead experts");
}

TEST(RunSummary, compares_at_equal_loss_tokens_flops_and_time) {
  const std::vector<RunLog> logs{hand_made("moe", 4, 2, {5, 3, 2}), hand_made("dense", 0, 1, {6, 5, 4})};
  const std::vector<RunComparison> pairs = compare(logs);
  ASSERT_EQ(pairs.size(), 1u);
  const RunComparison& pair = pairs[0];
  EXPECT_EQ(pair.run, 0u);
  EXPECT_EQ(pair.baseline, 1u);  // the dense one, though it comes second
  EXPECT_TRUE(pair.by_eval);
  EXPECT_EQ(pair.target_loss, 4);
  EXPECT_DOUBLE_EQ(*pair.tokens_ratio, 150.0 / 300);  // half way from 5 to 3
  EXPECT_DOUBLE_EQ(*pair.flops_ratio, 1500.0 / 3000);
  EXPECT_DOUBLE_EQ(*pair.seconds_ratio, 30.0 / 30);
  EXPECT_DOUBLE_EQ(*pair.difference_at_equal_tokens, -2);
  EXPECT_DOUBLE_EQ(*pair.difference_at_equal_seconds, 0);  // at 30 s: 4 and 4
  const std::string sentence = comparison_sentence(pair, {summarize(logs[0]), summarize(logs[1])});
  EXPECT_EQ(
      sentence,
      "moe reaches dense's last validation loss of 4.0000 with 50% of the tokens, 50% of the FLOPs, 100% of the "
      "training time; its loss is −2.0000 at equal tokens, −2.0000 at equal FLOPs, +0.0000 at equal training time.");
}

TEST(RunSummary, a_run_that_never_gets_there_has_no_ratio) {
  const std::vector<RunLog> logs{hand_made("moe", 4, 2, {9, 8, 7}), hand_made("dense", 0, 1, {6, 5, 4})};
  const RunComparison pair = compare(logs)[0];
  EXPECT_FALSE(pair.tokens_ratio || pair.flops_ratio || pair.seconds_ratio);
  EXPECT_DOUBLE_EQ(*pair.difference_at_equal_tokens, 3);
}

TEST(RunSummary, training_losses_compare_where_nothing_was_evaluated) {
  std::vector<RunLog> logs{hand_made("a", 4, 2, {9, 8, 7}), hand_made("b", 4, 1, {6, 5, 4})};
  for (RunLog& log : logs) log.evals.clear();
  const RunComparison pair = compare(logs)[0];
  EXPECT_EQ(pair.baseline, 0u);  // no dense run: the first
  EXPECT_FALSE(pair.by_eval);
  EXPECT_DOUBLE_EQ(*pair.tokens_ratio, 1);
  EXPECT_DOUBLE_EQ(*pair.seconds_ratio, 0.5);
}

TEST(RunSummary, smoothing_keeps_a_straight_line_straight) {
  RunLog log = hand_made("a", 0, 1, {1, 1, 1});
  const StepLine some = log.steps[0];
  log.steps.clear();
  for (int i = 0; i < 1000; ++i) {
    StepLine line = some;
    line.step = i + 1;
    line.tokens = i;
    line.loss = i == 500 ? NAN : 2000.0 - i;
    log.steps.push_back(line);
  }
  const LossCurve curve = train_curve(log);
  ASSERT_EQ(curve.loss.size(), 999u);
  EXPECT_DOUBLE_EQ(curve.loss[0], 2000);
  EXPECT_NEAR(curve.loss[200], 1800, 1e-9);
  EXPECT_DOUBLE_EQ(curve.loss[998], 1005.5);  // of the last ten: one step alone says little
}

TEST(RunSummary, a_collapse_is_told_first_and_in_red) {
  const std::vector<RunLog> logs{parse_run_log(testing::make_run({.name = "c", .steps = 200, .collapse_at = 50}), "c")};
  const RunSummary run = summarize(logs[0]);
  EXPECT_TRUE(run.collapsed);
  ASSERT_FALSE(run.warnings.empty());
  EXPECT_NE(run.warnings[0].find("c, step 110: layer 0 has collapsed"), std::string::npos) << run.warnings[0];
  EXPECT_GT(run.max_vio_global, 6);
  EXPECT_GT(run.dead_experts, 40);
  EXPECT_NE(run_terminal(logs, true).find("\x1b[31mwarning: c, step 110"), std::string::npos);
  EXPECT_EQ(run_terminal(logs, false).find('\x1b'), std::string::npos);
}

TEST(RunSummary, json_holds_every_run_and_pair_and_null_for_the_unknown) {
  const std::vector<RunLog> logs{hand_made("moe", 4, 2, {5, 3, 2}), hand_made("dense", 0, 1, {6, 5, 4})};
  const json::Value value = json::parse(to_json(logs).dump(), {.source = "json"});
  EXPECT_EQ(value.find("schema_version")->as_int(), 1);
  ASSERT_EQ(value.find("runs")->items().size(), 2u);
  EXPECT_EQ(value.find("runs")->items()[0].find("eval_loss")->as_double(), 2);
  EXPECT_TRUE(value.find("runs")->items()[1].find("max_vio")->is_null());
  EXPECT_EQ(value.find("comparisons")->items()[0].find("tokens_ratio")->as_double(), 0.5);
}

TEST(RunSummary, hostile_names_cannot_move_the_cursor) {
  EXPECT_EQ(run_terminal({hand_made("a\\u001b[2J", 0, 1, {1, 1, 1})}, false).find('\x1b'), std::string::npos);
}

TEST(RunSummary, numbers_are_written_as_people_do) {
  EXPECT_EQ(short_count(7'340'032), "7.34M");
  EXPECT_EQ(short_count(999600), "1.00M");
  EXPECT_EQ(short_count(512), "512");
  EXPECT_EQ(short_count(NAN), "–");
  EXPECT_EQ(short_flops(7.37e13), "73.7 TFLOP");
  EXPECT_EQ(short_time(12.34), "12.3 s");
  EXPECT_EQ(short_time(400), "6 min 40 s");
  EXPECT_EQ(short_time(3720), "1 h 02 min");
  EXPECT_EQ(percent(0.412), "41.2%");
}

}  // namespace
}  // namespace moxie
