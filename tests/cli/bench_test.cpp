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
  for (const char* key : {"kernels", "machine", "version", "commit"}) EXPECT_TRUE(at(report, {key}).is_string()) << key;
  EXPECT_TRUE(at(report, {"peer"}).is_null());
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
    EXPECT_GT(at(rows[i], {"bytes_per_token"}).as_double(), 0);
    EXPECT_GT(at(rows[i], {"share_of_read"}).as_double(), 0);
    EXPECT_GT(at(rows[i], {"experts", "tile_occupancy"}).as_double(), 0);
    EXPECT_GE(at(rows[i], {"experts", "max_over_mean"}).as_double(), 1);
    EXPECT_EQ(rows[i].find("step_ms_p99") != nullptr, i >= 2);
    int64_t sum = 0;
    for (const json::Member& part : at(rows[i], {"profile", "parts"}).members()) sum += part.value.as_int().value();
    EXPECT_EQ(sum, at(rows[i], {"profile", "nanoseconds"}).as_int());
  }
  for (const size_t decode : {2, 3}) {
    EXPECT_GE(at(rows[decode], {"p99_over_median"}).as_double(), 1);
    EXPECT_GT(at(rows[decode], {"expected_bytes_per_token"}).as_double(), 0);
  }
  // one sequence visits just as many experts as is foretold
  EXPECT_NEAR(at(rows[2], {"bytes_per_token"}).as_double() / at(rows[2], {"expected_bytes_per_token"}).as_double(), 1,
              0.01);
}

TEST(Bench, sets_a_peer_beside_it_or_says_what_is_wrong_with_it) {
  const std::string peer =
      R"(echo '[{"n_prompt": 0, "n_gen": 2, "n_threads": 1, "avg_ts": 10, "build_commit": "abc"}]' #)";
  const std::vector<std::string> words = {"bench", kMoe, "-p", "8", "-n", "2", "-t", "1", "-r", "2", "--compare"};
  const auto with = [&](std::initializer_list<std::string> more) {
    std::vector<std::string> all = words;
    all.insert(all.end(), more);
    return all;
  };
  const Ran ran = run(with({peer, "--json"}));
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const json::Value report = json_of(ran);
  EXPECT_TRUE(contains(at(report, {"peer"}).as_string(), "abc"));
  const json::Array& rows = at(report, {"rows"}).items();
  EXPECT_EQ(rows[0].find("peer"), nullptr);
  EXPECT_EQ(at(rows[1], {"peer", "tokens_per_second"}).as_double(), 10);
  EXPECT_EQ(at(rows[1], {"peer", "all_ratios"}).items().size(), 2u);
  const Ran table = run(with({peer}));
  EXPECT_TRUE(contains(table.out, "ours/peer") && contains(table.out, "peer: llama-bench, build abc")) << table.out;
  const Ran broken = run(with({"echo no model >&2; false #"}));
  EXPECT_EQ(broken.exit_code, 1);
  EXPECT_TRUE(contains(broken.err, "no model")) << broken.err;
  EXPECT_EQ(broken.out, "");
  EXPECT_EQ(run(with({"echo hello #"})).exit_code, 3);
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
