// moxie compare as a process: the table, the JSON, the page, what it refuses. Not how fast anything is.
#include "cli/child.h"

namespace moxie::test {
namespace {

using Compare = Workspace;

std::vector<std::string> quick(std::initializer_list<std::string> more) {
  std::vector<std::string> arguments = {"compare", kMoe, kStories, "-t", "1",  "-r", "1",
                                        "-n",      "2",  "-p",     "8",  "-b", "1,3"};
  arguments.insert(arguments.end(), more);
  return arguments;
}

TEST_F(Compare, json_has_both_models_measured_and_computed) {
  const Ran ran = run(quick({"--json", "--html", path("page.html")}));
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const json::Value report = json_of(ran);
  EXPECT_EQ(at(report, {"moe", "name"}).as_string(), "moe-7m");
  EXPECT_EQ(at(report, {"moe", "parameters"}).as_int(), 7534528);
  EXPECT_EQ(at(report, {"moe", "num_experts"}).as_int(), 16);
  EXPECT_EQ(at(report, {"dense", "num_experts"}).as_int(), 0);
  EXPECT_GT(at(report, {"memory_bytes"}).as_double(), 1e6);
  for (const char* model : {"moe", "dense"}) {
    const json::Array& decode = at(report, {model, "decode"}).items();
    ASSERT_EQ(decode.size(), 2u);
    EXPECT_EQ(at(decode[1], {"batch"}).as_int(), 3);
    for (const json::Value& speed : decode) EXPECT_GT(at(speed, {"tokens_per_second"}).as_double(), 0);
    EXPECT_GT(at(report, {model, "first_token_seconds"}).as_double(), 0);
  }
  EXPECT_NEAR(at(at(report, {"moe", "decode"}).items()[0], {"distinct_experts"}).as_double(), 2, 1e-9);
  EXPECT_GE(at(report, {"sentences"}).items().size(), 5u);
  EXPECT_TRUE(contains(contents(path("page.html")), "<svg"));
}

TEST_F(Compare, prints_a_table_with_the_loss_on_a_text) {
  std::string words;
  for (int i = 0; i < 200; ++i) words += "Once upon a time there was a little dog who liked to play. ";
  const Ran ran = run(quick({"--text", write("text", words)}));
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  for (const char* part : {"nats/byte of text", "experts a token visits, k/N", "2 of 16 (12.5%)", "throughput of 3",
                           "measured", "computed", "For this machine:"}) {
    EXPECT_TRUE(contains(ran.out, part)) << part << " in " << ran.out;
  }
}

TEST_F(Compare, refuses_what_it_cannot_compare) {
  const Ran swapped = run({"compare", kStories, kMoe, "-t", "1"});
  EXPECT_EQ(swapped.exit_code, 3);
  EXPECT_TRUE(contains(swapped.err, "an MoE model, named first")) << swapped.err;
  EXPECT_EQ(run({"compare", kMoe, kMoe, "-t", "1", "-r", "1", "-n", "1", "-p", "4", "-b", "1"}).exit_code, 3);
  EXPECT_EQ(run({"compare", kMoe}).exit_code, 2);
  EXPECT_EQ(run(quick({"--runs", path("one")})).exit_code, 2);
  EXPECT_EQ(run(quick({"--runs", path("none"), path("neither")})).exit_code, 3);
  EXPECT_EQ(run(quick({"--text", path("none")})).exit_code, 3);
  EXPECT_TRUE(files().empty());
}

}  // namespace
}  // namespace moxie::test
