// moxie bench as a process: the table, the JSON keys, and what it refuses. Not how fast anything is.
#include "cli/child.h"

namespace moxie::test {
namespace {

TEST(Bench, json_has_a_row_for_each_test_with_the_limits_measured_beside_it) {
  const Ran ran = run({"bench", kMoe, "-p", "8,16", "-n", "4", "-b", "1,2", "-t", "1", "-r", "2", "-o", "json"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const json::Value report = json_of(ran);
  EXPECT_EQ(at(report, {"model"}).as_string(), "moe-7m");
  EXPECT_EQ(at(report, {"parameters"}).as_int(), 7534528);
  EXPECT_GT(at(report, {"bytes"}).as_int().value(), 15'000'000);
  EXPECT_TRUE(at(report, {"kernels"}).is_string());
  const json::Array& rows = at(report, {"rows"}).items();
  ASSERT_EQ(rows.size(), 4u);
  const char* tests[] = {"pp8", "pp16", "tg4", "tg4"};
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(at(rows[i], {"test"}).as_string(), tests[i]);
    EXPECT_EQ(at(rows[i], {"threads"}).as_int(), 1);
    EXPECT_EQ(at(rows[i], {"batch"}).as_int(), i == 3 ? 2 : 1);
    EXPECT_EQ(at(rows[i], {"all_tokens_per_second"}).items().size(), 2u);
    for (const char* key : {"tokens_per_second", "gflops", "share_of_peak"}) {
      EXPECT_GT(at(rows[i], {key}).as_double(), 0) << key;
    }
    EXPECT_GT(at(rows[i], {"ceilings", "f32_gflops"}).as_double(), 0);
    EXPECT_GT(at(rows[i], {"ceilings", "read_gbps"}).as_double(), 0);
    EXPECT_EQ(at(rows[i], {"bytes_per_token"}).as_double() > 0, i >= 2);  // decode is held against memory
    EXPECT_EQ(at(rows[i], {"share_of_read"}).as_double() > 0, i >= 2);
  }
}

TEST(Bench, prints_a_markdown_table_to_paste) {
  const Ran ran = run({"bench", "-p", "8", kMoe, "-n", "2", "-t", "1", "-r", "1"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_EQ(ran.out.substr(0, 8), "| model ");
  EXPECT_TRUE(contains(ran.out, "| pp8 |") && contains(ran.out, "| tg2 |")) << ran.out;
}

TEST(Bench, what_cannot_be_measured_is_refused) {
  EXPECT_EQ(run({"bench", kMoe, "-p", "0"}).exit_code, 2);
  EXPECT_EQ(run({"bench", kMoe, "-p", "8,x"}).exit_code, 2);
  EXPECT_EQ(run({"bench", kMoe, "-b", "0"}).exit_code, 2);
  EXPECT_EQ(run({"bench", kMoe, "-t", "0"}).exit_code, 2);
  EXPECT_EQ(run({"bench", kMoe, "-r", "0"}).exit_code, 2);
  EXPECT_EQ(run({"bench", kMoe, "-o", "xml"}).exit_code, 2);
  const Ran ran = run({"bench", kMoe, "-p", "1025", "-t", "1", "-r", "1"});
  EXPECT_EQ(ran.exit_code, 4);
  EXPECT_TRUE(contains(ran.err, "1025") && contains(ran.err, "1024")) << ran.err;
}

}  // namespace
}  // namespace moxie::test
