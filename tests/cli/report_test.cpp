// moxie report as a process: the table, the JSON, the page, and what it refuses.
#include "cli/child.h"
#include "report/run_logs.h"

namespace moxie::test {
namespace {

class Report : public Workspace {
 protected:
  std::string run_of(const testing::MadeRun& run) {
    std::filesystem::create_directories(path(run.name));
    return path(run.name);
  }
  std::string made(const testing::MadeRun& run) {
    const std::string directory = run_of(run);
    write(run.name + "/metrics.jsonl", testing::make_run(run));
    return directory;
  }
};

TEST_F(Report, a_run_and_its_twin_become_a_table_an_object_and_a_page) {
  const std::string moe = made({.name = "moe", .steps = 100}),
                    dense = made({.name = "twin", .steps = 100, .experts = 1, .loss_floor = 2.6});
  const Ran table = run({"report", moe, dense});
  EXPECT_EQ(table.exit_code, 0) << table.err;
  EXPECT_TRUE(contains(table.out, "16:2")) << table.out;
  EXPECT_TRUE(contains(table.out, "moe reaches twin's last validation loss")) << table.out;
  const Ran object = run({"report", moe, dense, "--json", "--html", path("report.html")});
  ASSERT_EQ(object.exit_code, 0) << object.err;
  const json::Value value = json_of(object);
  EXPECT_EQ(value.find("schema_version")->as_int(), 1);
  EXPECT_EQ(value.find("runs")->items().size(), 2u);
  EXPECT_LT(value.find("comparisons")->items()[0].find("tokens_ratio")->as_double(), 1);
  const std::string page = contents(path("report.html"));
  EXPECT_TRUE(contains(page, "<!doctype html>"));
  EXPECT_TRUE(contains(page, "Loss against tokens"));
}

TEST_F(Report, a_run_that_is_being_written_is_shown_with_a_notice) {
  const std::string directory = run_of({.name = "live"});
  write("live/metrics.jsonl", testing::make_run({.name = "live", .steps = 20}) + "{\"type\":\"st");
  const Ran ran = run({"report", directory, "--json"});
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_TRUE(contains(ran.err, "cut short")) << ran.err;
}

TEST_F(Report, what_is_no_run_is_refused_and_nothing_is_written) {
  EXPECT_EQ(run({"report"}).exit_code, 2);
  const Ran none = run({"report", path("none"), "--html", path("page.html")});
  EXPECT_EQ(none.exit_code, 3);
  EXPECT_TRUE(contains(none.err, "none")) << none.err;
  const std::string file = write("broken", "{\"type\":\"run\"}\n{]\n");
  const Ran broken = run({"report", file, "--html", path("page.html")});
  EXPECT_EQ(broken.exit_code, 3);
  EXPECT_TRUE(contains(broken.err, "line 2")) << broken.err;
  EXPECT_EQ(
      run({"report", file, file, file, file, file, file, file, file, file, "--html", path("page.html")}).exit_code, 2);
  EXPECT_FALSE(std::filesystem::exists(path("page.html")));
}

}  // namespace
}  // namespace moxie::test
