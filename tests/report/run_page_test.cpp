// The run page as a file: what it holds, its size, its escapes. How it behaves: tests/browser.
#include "report/run_page.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "report/run_charts.h"
#include "report/run_logs.h"
#include "report/run_matrices.h"

namespace moxie {
namespace {

using testing::MadeRun;
using testing::make_run;

RunLog made(const MadeRun& run) {
  return parse_run_log(make_run(run), run.name);
}

size_t count(std::string_view text, std::string_view part) {
  size_t found = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++found;
  return found;
}

const MadeRun kDense{.name = "dense", .experts = 1, .loss_floor = 2.5, .step_seconds = 0.3};
const MadeRun kCollapses{.name = "collapses", .collapse_at = 300};

std::vector<std::string> fixture_names() {
  return {"moe", "collapses", "dense"};
}

TEST(RunPage, shows_loss_load_balance_domains_speed_and_events_of_every_run) {
  const std::string page = run_page({made({}), made(kCollapses), made(kDense)});
  for (const char* title : {"Loss against tokens", "Loss against FLOPs", "Loss against training time",
                            "Expert load over time", "MaxVio", "Dead experts", "specialise", "work together",
                            "Learning rate", "Gradient norm", "Side by side", "Settings of"}) {
    EXPECT_NE(page.find(title), std::string::npos) << title;
  }
  for (const std::string& name : fixture_names()) EXPECT_NE(page.find("</i>" + name), std::string::npos) << name;
  EXPECT_EQ(count(page, "class=\"panel load\""), 8u);  // the dense run has none
  EXPECT_EQ(count(page, "class=\"panel domains\""), 8u);
  EXPECT_EQ(count(page, "class=\"panel pairs\""), 8u);
  EXPECT_EQ(count(page, "id=\"collapses\""), 1u);
  EXPECT_NE(page.find("<tr class=\"run-1 collapse\">"), std::string::npos);
  EXPECT_EQ(page.find("nan"), std::string::npos);
  EXPECT_EQ(page.find("inf,"), std::string::npos);
}

TEST(RunPage, a_dense_run_has_no_balance) {
  const std::string page = run_page({made(kDense)});
  EXPECT_EQ(page.find("Balance over time"), std::string::npos);
  EXPECT_EQ(page.find("Expert load over time"), std::string::npos);
  EXPECT_EQ(page.find("Side by side"), std::string::npos);
  EXPECT_NE(page.find("Loss against tokens"), std::string::npos);
}

TEST(RunPage, a_run_that_has_only_begun_has_a_page) {
  const std::string page = run_page({parse_run_log("{\"type\":\"run\",\"name\":\"new\"}\n", "new")});
  EXPECT_NE(page.find("not recorded"), std::string::npos);
  run_page({parse_run_log("{\"type\":\"run\"}\n{\"type\":\"step\",\"step\":1,\"loss\":null,\"tokens\":5}\n", "x")});
  run_page({parse_run_log("{\"type\":\"run\"}\n{\"type\":\"step\",\"step\":1,\"loss\":0,\"tokens\":0}\n", "x")});
}

TEST(RunPage, no_text_can_leave_its_place) {
  const std::string evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{data}}";
  MadeRun run{.name = evil, .steps = 40, .every = 5, .domains = {evil, "\x01"}};
  RunLog log = made(run);
  log.facts.family = log.facts.started = log.source = evil;
  log.facts.balance = {{evil, evil}};
  log.events.push_back({3, "collapse", evil});
  log.events.push_back({4, evil, evil});
  const std::string page = run_page({log, log});
  EXPECT_EQ(page.find("<script>alert"), std::string::npos);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(page.find("x\"'&{{"), std::string::npos);
  EXPECT_EQ(count(page, "</script"), 6u);  // the data and five of our own
  EXPECT_EQ(utf8_error_offset(page), std::string::npos);
}

TEST(RunPage, asks_nothing_of_a_network_and_styles_nothing_inline) {
  std::string page = run_page({made({})});
  const std::string_view name = "http://www.w3.org/2000/svg";  // a name, not an address
  for (size_t at; (at = page.find(name)) != std::string::npos;) page.erase(at, name.size());
  for (const std::string_view address : {"http://", "https://", "src=\"", "@import", "url(", " style=\""}) {
    EXPECT_EQ(page.find(address), std::string::npos) << address;
  }
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
}

TEST(RunPage, long_and_wide_runs_stay_below_three_megabytes) {
  const RunLog wide = made({.name = "wide", .steps = 60, .every = 1, .layers = 48, .experts = 128, .top_k = 8});
  EXPECT_LT(run_page(std::vector<RunLog>(8, wide)).size(), 3'000'000u);
  RunLog longer = made({.steps = 500});
  const std::vector<StepLine> some = longer.steps;
  while (longer.steps.size() < 100'000) {
    StepLine line = some[longer.steps.size() % some.size()];
    line.step = static_cast<int64_t>(longer.steps.size());
    line.tokens = 4096.0 * static_cast<double>(line.step);
    longer.steps.push_back(line);
  }
  for (int64_t i = 0; i < 20'000; ++i) {
    longer.evals.push_back({.step = 100'000 + i,
                            .tokens = 4e8 + static_cast<double>(i),
                            .flops = 1e12,
                            .seconds = 1e5,
                            .loss = 3,
                            .nats_per_byte = 1,
                            .max_vio_global = 0.1});
  }
  EXPECT_LT(run_page(std::vector<RunLog>(8, longer)).size(), 3'000'000u);
}

TEST(RunPage, nine_runs_are_too_many_to_tell_apart) {
  EXPECT_THROW(run_page({}), Error);
  EXPECT_THROW(run_page(std::vector<RunLog>(9, made({.steps = 20}))), Error);
}

TEST(RunCharts, thinning_keeps_the_mean_and_the_extremes) {
  Curve curve{.name = "c"};
  for (int i = 0; i < 1000; ++i) {
    curve.x.push_back(i);
    curve.y.push_back(i == 555 ? 50 : 1);
  }
  const Curve got = thinned(curve, 100);
  ASSERT_EQ(got.x.size(), 100u);
  EXPECT_EQ(got.high[55], 50);
  EXPECT_EQ(got.low[55], 1);
  EXPECT_DOUBLE_EQ(got.y[55], 5.9);
  EXPECT_DOUBLE_EQ(got.x[55], 554.5);
  EXPECT_EQ(thinned(curve, 1000).x.size(), 1000u);
}

TEST(RunCharts, units_keep_numbers_short) {
  EXPECT_EQ(count_unit(999).suffix, "");
  EXPECT_EQ(count_unit(4.1e6).suffix, "M");
  EXPECT_EQ(count_unit(3e16).suffix, "P");
  EXPECT_EQ(time_unit(90).suffix, " s");
  EXPECT_EQ(time_unit(600).suffix, " min");
  EXPECT_EQ(time_unit(7200).suffix, " h");
}

/// Not a check of its own: leaves pages for tests/browser, which looks at them in a real browser.
TEST(RunPage, pages_for_the_browser_test_are_written) {
  const char* directory = std::getenv("MOXIE_PAGE_DIR");
  if (directory == nullptr) GTEST_SKIP() << "the browser tests run it themselves, with MOXIE_PAGE_DIR";
  std::filesystem::create_directories(directory);
  const auto write = [&](const std::string& name, const std::vector<RunLog>& logs) {
    std::ofstream file(std::filesystem::path(directory) / name, std::ios::binary);
    file << run_page(logs);
    ASSERT_TRUE(file.good());
  };
  write("three.html", {made({.name = "<b>moe 16:2</b>"}), made(kCollapses), made(kDense)});
  write("one.html", {made({})});
  write("dense.html", {made(kDense)});
  const RunLog wide =
      made({.name = "wide", .steps = 120, .every = 1, .layers = 24, .experts = 64, .top_k = 8, .collapse_at = 40});
  write("many.html", {wide, wide, made({}), made({}), made(kDense), made(kDense), made(kCollapses), made(kCollapses)});
}

}  // namespace
}  // namespace moxie
