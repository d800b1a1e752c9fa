// metrics.jsonl read back: what is kept, what a resumed or still running file gives, what is refused and how it is
// named.
#include "report/run_log.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "report/run_logs.h"

namespace moxie {
namespace {

const std::string kRun =
    "{\"type\":\"run\",\"name\":\"a\",\"num_experts\":2,\"balance\":{\"method\":\"aux\",\"aux\":{\"coef\":0.01}}}\n";

std::string refused(const std::string& text) {
  try {
    parse_run_log(text, "m.jsonl");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid);
    return error.text();
  }
  return "accepted";
}

TEST(RunLog, keeps_what_every_kind_of_line_says) {
  const RunLog log =
      parse_run_log(kRun +
                        "{\"type\":\"step\",\"step\":1,\"tokens\":64,\"loss\":3.5,\"aux\":null,\"unknown\":[1]}\n"
                        "{\"type\":\"routing\",\"step\":1,\"layers\":[{\"layer\":2,\"load\":[0.25,0.75]}]}\n"
                        "{\"type\":\"eval\",\"step\":1,\"loss\":3.25,\"domains\":[{\"name\":\"d\",\"loss\":3}],"
                        "\"layers\":[{\"layer\":2,\"saturation\":0.5}],\"specialisation\":[[[0.4,1.6]]],\"co_"
                        "activation\":[[[1,0],[0,1]]],"
                        "\"vocabulary\":[0.75]}\n"
                        "{\"type\":\"event\",\"step\":1,\"kind\":\"spike\",\"text\":\"t\"}\n"
                        "{\"type\":\"of tomorrow\",\"step\":\"x\"}\n\n",
                    "m");
  EXPECT_EQ(log.facts.name, "a");
  const std::vector<std::pair<std::string, std::string>> balance{{"method", "aux"}, {"aux.coef", "0.01"}};
  EXPECT_EQ(log.facts.balance, balance);
  ASSERT_EQ(log.steps.size(), 1u);
  EXPECT_EQ(log.steps[0].loss, 3.5);
  EXPECT_TRUE(std::isnan(log.steps[0].aux));
  EXPECT_TRUE(std::isnan(log.steps[0].mfu));
  ASSERT_EQ(log.load.columns.size(), 1u);
  EXPECT_EQ(log.load.layers[0].layer, 2);
  EXPECT_EQ(log.load.columns[0].load, (std::vector<float>{0.25f, 0.75f}));
  EXPECT_EQ(log.evals[0].domains[0].name, "d");
  EXPECT_EQ(log.evals[0].layers[0].saturation, 0.5);
  EXPECT_EQ(log.specialisation[0].columns, 2);
  EXPECT_EQ(log.co_activation[0].rows, 2);
  EXPECT_EQ(log.vocabulary, std::vector<double>{0.75});
  EXPECT_EQ(log.events[0].text, "t");
  EXPECT_EQ(log.notice, "");
}

TEST(RunLog, a_resumed_run_says_its_steps_once) {
  std::string text = kRun;
  for (const int step : {1, 2, 3, 2, 3, 4}) {
    if (step == 2 && text.find("\"step\":3") != std::string::npos) text += kRun;
    text += fmt::format("{{\"type\":\"step\",\"step\":{},\"loss\":{}}}\n", step, text.size());
    text += fmt::format("{{\"type\":\"routing\",\"step\":{},\"layers\":[{{\"layer\":0,\"load\":[1]}}]}}\n", step);
  }
  const RunLog log = parse_run_log(text, "m");
  EXPECT_EQ(log.times_started, 2);
  ASSERT_EQ(log.steps.size(), 4u);
  ASSERT_EQ(log.load.columns.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(log.steps[i].step, static_cast<int64_t>(i) + 1);
    EXPECT_EQ(log.load.columns[i].first_step, static_cast<int64_t>(i) + 1);
  }
  EXPECT_GT(log.steps[1].loss, 300);  // the later word holds
}

TEST(RunLog, many_routing_lines_become_few_columns_that_keep_the_mean) {
  std::string text = kRun;
  const int lines = 1000;
  for (int i = 0; i < lines; ++i) {
    const double share = static_cast<double>(i) / lines;
    text += fmt::format("{{\"type\":\"routing\",\"step\":{},\"layers\":[{{\"layer\":0,\"load\":[{},{}]}}]}}\n", i,
                        share, 1 - share);
  }
  const LoadHistory history = parse_run_log(text, "m").load;
  EXPECT_LT(history.columns.size(), LoadHistory::kMaxColumns);
  EXPECT_GE(history.columns.size(), LoadHistory::kMaxColumns / 2 - 3);
  int64_t counted = 0;
  for (size_t i = 0; i < history.columns.size(); ++i) {
    const LoadColumn& column = history.columns[i];
    EXPECT_EQ(column.first_step, counted);
    counted += column.lines;
    EXPECT_EQ(column.last_step, counted - 1);
    EXPECT_NEAR(column.load[0], static_cast<double>(column.first_step + column.last_step) / 2 / lines, 1e-5);
  }
  EXPECT_EQ(counted, lines);
}

TEST(RunLog, a_last_line_that_is_being_written_is_left_out_with_a_notice) {
  const RunLog log = parse_run_log(kRun + "{\"type\":\"step\",\"step\":1}\n{\"type\":\"st", "m.jsonl");
  EXPECT_EQ(log.steps.size(), 1u);
  EXPECT_NE(log.notice.find("m.jsonl"), std::string::npos);
  EXPECT_NE(log.notice.find("line 3"), std::string::npos);
  EXPECT_EQ(parse_run_log(kRun + "{\"type\":\"step\",\"step\":1}", "m").steps.size(),
            1u);  // only its newline is missing
}

TEST(RunLog, every_prefix_of_a_file_is_a_run_or_names_what_is_missing) {
  const std::string text = testing::make_run({.steps = 6, .every = 2, .layers = 1, .experts = 4});
  for (size_t size = text.find('\n') + 1; size < text.size(); ++size)
    parse_run_log(std::string_view(text).substr(0, size), "m");
}

TEST(RunLog, faults_are_named_by_file_line_and_byte) {
  const std::string byte = std::to_string(kRun.size());
  for (const auto& [line, names] : std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"{\"type\":\"step\",}\n", {"m.jsonl", "line 2"}},
           {"[]]\n", {"m.jsonl", "line 2"}},
           {"[1]\n", {"m.jsonl", "line 2", "an object"}},
           {"{\"type\":\"step\",\"step\":1,\"loss\":\"x\"}\n",
            {"line 2", std::to_string(kRun.size() + 31), "loss", "a number"}},
           {"{\"type\":\"step\",\"step\":-1}\n", {"line 2", "step", "a count"}},
           {"{\"type\":\"step\",\"step\":1.5}\n", {"line 2", "step"}},
           {"{\"type\":\"eval\",\"step\":1,\"specialisation\":[[[1,2],[1]]]}\n", {"line 2", "specialisation"}},
           {"{\"type\":\"eval\",\"step\":1,\"specialisation\":[[[]]]}\n", {"line 2", "specialisation"}},
           {"{\"type\":\"eval\",\"step\":1,\"co_activation\":[3]}\n", {"line 2", "co_activation"}},
           {"{\"type\":\"routing\",\"step\":1,\"layers\":[{\"layer\":0,\"load\":[1.5]}]}\n",
            {"line 2", "load", "shares"}},
           {"{\"type\":\"routing\",\"step\":1,\"layers\":[{\"layer\":0,\"load\":[1]}]}\n"
            "{\"type\":\"routing\",\"step\":2,\"layers\":[{\"layer\":0,\"load\":[1,0]}]}\n",
            {"line 3", "1 experts as before"}},
           {"{\"type\":\"routing\",\"step\":1,\"layers\":[{\"layer\":0,\"load\":[1]}]}\n"
            "{\"type\":\"routing\",\"step\":2,\"layers\":[3,4]}\n",
            {"line 3", "1 layers"}},
           {"{\"type\":\"step\",\"step\":1,\"step\":2}\n", {"line 2"}},
           {"\xff\n", {"line 2"}}}) {
    const std::string text = refused(kRun + line);
    for (const std::string& name : names) EXPECT_NE(text.find(name), std::string::npos) << name << "\n" << text;
  }
  EXPECT_NE(refused("").find("type \"run\""), std::string::npos);
  EXPECT_NE(refused("{\"type\":\"step\",\"step\":1}\n").find("type \"run\""), std::string::npos);
}

TEST(RunLog, reads_a_directory_or_the_file_itself) {
  const std::filesystem::path directory = std::filesystem::path(::testing::TempDir()) / "run_log_test";
  std::filesystem::create_directories(directory);
  std::ofstream(directory / "metrics.jsonl") << kRun;
  EXPECT_EQ(read_run_log(directory).facts.name, "a");
  EXPECT_EQ(read_run_log(directory / "metrics.jsonl").facts.name, "a");
  EXPECT_THROW(read_run_log(directory / "none"), Error);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace moxie
