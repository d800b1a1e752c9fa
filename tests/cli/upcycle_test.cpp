// moxie upcycle as a process: what it writes, says and refuses. The function of the result: tests/train.
#include "cli/child.h"

namespace moxie::test {
namespace {

using UpcycleVerb = Workspace;

TEST_F(UpcycleVerb, the_result_predicts_as_the_dense_model_does) {
  const Ran ran = run({"upcycle", kStories, "--experts", "4", "--out", path("moe"), "--json"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const json::Value report = json_of(ran);
  EXPECT_EQ(at(report, {"experts"}).as_int(), 4);
  EXPECT_GT(at(report, {"total_parameters"}).as_int(), at(report, {"active_parameters"}).as_int());
  EXPECT_GT(at(report, {"active_parameters"}).as_int(), at(report, {"dense_parameters"}).as_int());
  const std::string text = write("text",
                                 "Once upon a time there was a little girl. She liked to play in the park with her "
                                 "dog. One day she saw a big red ball and wanted to have it.");
  const auto loss = [&](const std::string& model) {
    const Ran eval = run({"eval", model, "--text", text, "--ctx", "32", "--json"});
    EXPECT_EQ(eval.exit_code, 0) << eval.err;
    return at(json_of(eval), {"nats_per_token"}).as_double();
  };
  EXPECT_NEAR(loss(path("moe")), loss(kStories), 1e-5);
}

TEST_F(UpcycleVerb, says_that_a_top_1_router_learns_nothing_from_the_task) {
  const Ran ran = run({"upcycle", kStories, "--top-k", "1", "--out", path("moe")});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_TRUE(contains(ran.err, "router gets no gradient from the task")) << ran.err;
  EXPECT_TRUE(contains(ran.out, "top-1")) << ran.out;
}

TEST_F(UpcycleVerb, refuses_and_leaves_nothing_behind) {
  const Ran moe = run({"upcycle", kMoe, "--out", path("moe")});
  EXPECT_EQ(moe.exit_code, 3);
  EXPECT_TRUE(contains(moe.err, "a dense model")) << moe.err;
  EXPECT_EQ(run({"upcycle", path("none"), "--out", path("moe")}).exit_code, 3);
  EXPECT_EQ(run({"upcycle", kStories}).exit_code, 2);
  EXPECT_EQ(run({"upcycle", kStories, "--experts", "2", "--top-k", "3", "--out", path("moe")}).exit_code, 2);
  EXPECT_EQ(run({"upcycle", kStories, "--noise", "-1", "--out", path("moe")}).exit_code, 2);
  EXPECT_TRUE(files().empty());
  write("taken", "mine");
  const Ran taken = run({"upcycle", kStories, "--out", path("taken")});
  EXPECT_EQ(taken.exit_code, 2);
  EXPECT_TRUE(contains(taken.err, "exists already")) << taken.err;
}

}  // namespace
}  // namespace moxie::test
