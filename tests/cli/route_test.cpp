// moxie route as a process: the trace file, the page, the JSON, the terminal, and what it refuses.
#include "cli/child.h"
#include "store/routing_trace.h"

namespace moxie::test {
namespace {

class Route : public Workspace {
 protected:
  RoutingTrace trace(const std::string& name, const std::vector<std::string>& flags) {
    std::vector<std::string> arguments = {"route", kMoe, "--trace", path(name)};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.exit_code, 0) << ran.err;
    return read_routing_trace(path(name));
  }
};

TEST_F(Route, the_trace_holds_every_token_and_layer_and_where_it_comes_from) {
  const RoutingTrace got = trace("t.safetensors", {"To be, or not"});
  EXPECT_EQ(got.token_ids, std::vector<int32_t>({'T', 'o', ' ', 'b', 'e', ',', ' ', 'o', 'r', ' ', 'n', 'o', 't'}));
  ASSERT_EQ(got.layers.size(), 4u);
  for (size_t layer = 0; layer < 4; ++layer) {
    EXPECT_EQ(got.layers[layer].layer, static_cast<int>(layer));
    EXPECT_EQ(got.layers[layer].num_experts, 16);
    EXPECT_EQ(got.layers[layer].topk_ids.size(), 26u);
    for (size_t token = 0; token < 13; ++token) {  // norm_topk_prob: the two weights sum to 1
      EXPECT_NEAR(got.layers[layer].topk_weights[2 * token] + got.layers[layer].topk_weights[2 * token + 1], 1, 1e-6);
      EXPECT_GE(got.layers[layer].margin[token], 0);
    }
  }
  for (const char* key : {"model_hash", "router_record", "text_source"}) EXPECT_TRUE(got.metadata.contains(key)) << key;
}

TEST_F(Route, one_thread_and_two_write_the_same_bytes) {
  const std::string text = write("text.txt", contents(kMoe + "/valid/drama.txt").substr(0, 3000));  // three windows
  const RoutingTrace one = trace("one", {"-f", text, "-t", "1"});
  EXPECT_EQ(one.token_ids.size(), 3000u);
  trace("two", {"-f", text, "-t", "2"});
  EXPECT_EQ(contents(path("one")), contents(path("two")));
}

TEST_F(Route, the_page_is_one_file_below_a_megabyte_and_opens_no_other) {
  const Ran ran = run({"route", kMoe, "-f", write("t", contents(kMoe + "/valid/wiki.txt").substr(0, 1000)), "--html",
                       path("page.html")});
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  const std::string page = contents(path("page.html"));
  EXPECT_GT(page.size(), 10'000u);
  EXPECT_LT(page.size(), 1'000'000u);
  EXPECT_TRUE(contains(page, "<!doctype html>") || contains(page, "<!DOCTYPE html>"));
  for (const char* outside : {"src=\"http", "href=\"http", "@import", "url(http"}) {
    EXPECT_FALSE(contains(page, outside)) << outside;
  }
}

TEST_F(Route, json_is_one_object_on_stdout) {
  const Ran ran = run({"route", kMoe, "hello", "--json"});
  ASSERT_EQ(ran.exit_code, 0);
  EXPECT_EQ(ran.err, "");
  EXPECT_TRUE(json_of(ran).is_object());
}

TEST_F(Route, colour_is_for_those_who_want_it) {
  const std::vector<std::string> arguments = {"route", kMoe, "hello"};
  EXPECT_FALSE(contains(run(arguments).out, "\x1b["));  // a pipe
  EXPECT_TRUE(contains(run(arguments, {.environment = {"CLICOLOR_FORCE=1"}}).out, "\x1b["));
  EXPECT_FALSE(contains(run(arguments, {.environment = {"CLICOLOR_FORCE=1", "NO_COLOR=1"}}).out, "\x1b["));
}

TEST_F(Route, what_cannot_be_drawn_is_refused_before_anything_is_written) {
  const Ran layer = run({"route", kMoe, "hello", "--layer", "4", "--trace", path("t"), "--html", path("h")});
  EXPECT_EQ(layer.exit_code, 2);
  EXPECT_TRUE(contains(layer.err, "layer 4")) << layer.err;
  EXPECT_EQ(files().size(), 0u);
}

TEST_F(Route, a_model_without_experts_or_no_text_is_refused) {
  const Ran dense = run({"route", kStories, "hello"});
  EXPECT_EQ(dense.exit_code, 3);
  EXPECT_TRUE(contains(dense.err, "dense")) << dense.err;
  EXPECT_EQ(run({"route", kMoe}).exit_code, 2);
  EXPECT_EQ(run({"route", kMoe, ""}).exit_code, 2);
  EXPECT_EQ(run({"route", kMoe, "hello", "-f", "x"}).exit_code, 2);
  EXPECT_EQ(run({"route", kMoe, "-f", path("none")}).exit_code, 3);
  EXPECT_EQ(run({"route", kMoe, "hello", "--trace", path("no/t")}).exit_code, 1);
}

}  // namespace
}  // namespace moxie::test
