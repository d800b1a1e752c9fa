// moxie run as a process: the answer alone on stdout, flags, signals, and what happens where output cannot go.
#include "cli/child.h"

namespace moxie::test {
namespace {

class Run : public Workspace {
 protected:
  static Ran greedy(const std::string& prompt, const ChildOptions& options = {}) {
    return run({"run", kMoe, prompt, "-n", "24", "--temp", "0", "-t", "1"}, options);
  }
  const std::string kPrompt = "The first emperor of ";  // widest margins of peer.json
  const std::string kAnswer = kPrompt + "the state of the state o\n";
};

TEST_F(Run, prints_the_answer_on_stdout_and_everything_else_on_stderr) {
  const Ran ran = greedy(kPrompt);
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_EQ(ran.out, kAnswer);
  for (const char* part : {"load ", "plan ", "16 experts", "tok/s", "route  layer"}) {
    EXPECT_TRUE(contains(ran.err, part)) << part << "\n" << ran.err;
  }
}

TEST_F(Run, every_kernel_set_gives_the_same_answer) {
  const json::Value report = json_of(run({"doctor", "--json"}));
  for (const json::Value& set : at(report, {"kernels", "sets"}).items()) {
    if (!at(set, {"runs_here"}).as_bool()) continue;
    const std::string& name = at(set, {"name"}).as_string();
    const Ran ran = greedy(kPrompt, {.environment = {"MOXIE_KERNELS=" + name}});
    EXPECT_EQ(ran.out, kAnswer) << name;
    EXPECT_TRUE(contains(ran.err, name + " kernels")) << ran.err;
  }
  const Ran unknown = greedy(kPrompt, {.environment = {"MOXIE_KERNELS=abacus"}});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_TRUE(contains(unknown.err, "abacus") && contains(unknown.err, "ref")) << unknown.err;
}

TEST_F(Run, json_is_one_object_on_stdout_and_nothing_is_on_stderr) {
  const Ran ran = run({"run", kMoe, kPrompt, "-n", "24", "--temp", "0", "--json"});
  ASSERT_EQ(ran.exit_code, 0);
  EXPECT_EQ(ran.err, "");
  const json::Value answer = json_of(ran);
  EXPECT_EQ(kPrompt + at(answer, {"text"}).as_string() + "\n", kAnswer);
  EXPECT_EQ(at(answer, {"ids"}).items().size(), 24u);
  EXPECT_EQ(at(answer, {"finish_reason"}).as_string(), "length");
  EXPECT_EQ(at(answer, {"prompt_tokens"}).as_int(), 21);
  EXPECT_EQ(at(answer, {"sampling", "temperature"}).as_double(), 0);
  EXPECT_GT(at(answer, {"timing", "decode_tokens_per_second"}).as_double(), 0);
  EXPECT_EQ(at(answer, {"routing"}).items().size(), 4u);
}

TEST_F(Run, an_unknown_verb_is_named) {
  const Ran ran = run({"frobnicate", "a", "b"});
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_EQ(ran.err, "error: frobnicate: no such verb; moxie --help lists them\n");
}

TEST_F(Run, reads_the_prompt_from_stdin_where_that_is_no_terminal) {
  const Ran ran = run({"run", kMoe, "-n", "24", "--temp", "0"}, {.input = kPrompt});
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_EQ(ran.out, kAnswer);
}

TEST_F(Run, an_empty_prompt_is_a_prompt) {
  const Ran story = run({"run", kStories, "", "-n", "200", "--temp", "0"}, {.input = "not this"});
  EXPECT_EQ(story.out, contents(kStories + "/expected_greedy_200.txt") + "\n");
  const Ran nothing = run({"run", kMoe, ""});  // no BOS here, so no token at all
  EXPECT_EQ(nothing.exit_code, 2);
  EXPECT_TRUE(contains(nothing.err, "no tokens")) << nothing.err;
}

TEST_F(Run, bytes_that_are_no_text_pass_and_the_json_stays_valid) {
  const Ran raw = run({"run", kMoe, "\xff\xfe ab", "-n", "4", "--temp", "0"});
  EXPECT_EQ(raw.exit_code, 0);
  EXPECT_EQ(raw.out.substr(0, 5), "\xff\xfe ab");
  const Ran ran = run({"run", kMoe, "\xff\xfe ab", "-n", "4", "--temp", "0", "--json"});
  EXPECT_EQ(at(json_of(ran), {"prompt_tokens"}).as_int(), 5);
}

TEST_F(Run, the_same_seed_gives_the_same_text_and_the_json_tells_the_seed) {
  const auto text = [](const std::string& seed) {
    return run({"run", kMoe, "ROMEO:", "-n", "40", "--temp", "1", "--seed", seed}).out;
  };
  EXPECT_EQ(text("11"), text("11"));
  EXPECT_NE(text("11"), text("12"));
  const json::Value first = json_of(run({"run", kMoe, "ROMEO:", "-n", "30", "--json"}));
  const std::string seed = std::to_string(at(first, {"sampling", "seed"}).as_uint().value());
  const json::Value second = json_of(run({"run", kMoe, "ROMEO:", "-n", "30", "--json", "--seed", seed}));
  EXPECT_EQ(at(first, {"text"}).as_string(), at(second, {"text"}).as_string());
}

TEST_F(Run, flags_that_may_be_repeated_take_one_value_each) {
  const Ran ran =
      run({"run", "--stop", "of", "--stop", "~", "--logit-bias", "126=-inf", kMoe, kPrompt, "-n", "24", "--temp", "0"});
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_EQ(ran.out, kPrompt + "the state \n");
  EXPECT_TRUE(contains(ran.err, "stop_string"));
}

TEST_F(Run, what_cannot_be_asked_for_is_a_usage_error_that_names_it) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--temp", "nan"}, "temperature"},
      {{"--temp", "-1"}, "temperature"},
      {{"--temp", "warm"}, "--temp"},
      {{"--top-k", "-1"}, "top-k"},
      {{"--top-p", "0"}, "top-p"},
      {{"--min-p", "2"}, "min-p"},
      {{"--repeat-penalty", "0"}, "repeat"},
      {{"--logit-bias", "junk"}, "--logit-bias junk"},
      {{"--logit-bias", "5x=1"}, "5x=1"},
      {{"--logit-bias", "5=1x"}, "5=1x"},
      {{"--logit-bias", "5="}, "5="},
      {{"--logit-bias", "256=1"}, "256"},
      {{"--seed", "-1"}, "--seed"},
      {{"-n", "0"}, "--num-tokens"},
      {{"-n", "99999999999999999999"}, "-n"},
      {{"-t", "0"}, "--threads"},
      {{"--ctx", "0"}, "--ctx"},
      {{"--ctx", "1025"}, "1024"},
      {{"--frobnicate"}, "--frobnicate"}};
  for (const auto& [flags, named] : cases) {
    std::vector<std::string> arguments = {"run", kMoe, "hi"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.exit_code, 2) << flags[0] << " " << ran.err;
    EXPECT_TRUE(contains(ran.err, named) || contains(ran.err, "num-tokens")) << named << "\n" << ran.err;
    EXPECT_EQ(ran.out, "");
  }
}

TEST_F(Run, an_unknown_verb_is_named_and_no_verb_gets_the_help) {
  const Ran unknown = run({"talk", kMoe});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_TRUE(contains(unknown.err, "talk")) << unknown.err;
  const Ran none = run({});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_EQ(none.out, "");
  for (const char* verb : {"run", "inspect", "route", "eval", "bench", "doctor"}) EXPECT_TRUE(contains(none.err, verb));
  EXPECT_EQ(run({"--help"}).exit_code, 0);
  EXPECT_EQ(run({"run", "--help"}).exit_code, 0);
  EXPECT_EQ(run({"--version"}).exit_code, 0);
}

TEST_F(Run, a_prompt_longer_than_the_context_exits_4_with_both_numbers) {
  const Ran ran = run({"run", kMoe, std::string(1025, 'a')});
  EXPECT_EQ(ran.exit_code, 4);
  EXPECT_TRUE(contains(ran.err, "1025") && contains(ran.err, "1024")) << ran.err;
  EXPECT_EQ(ran.out, "");
}

TEST_F(Run, asking_for_more_tokens_than_the_context_ends_with_it) {
  const Ran ran = run({"run", kMoe, "hello", "-n", "1099511627776", "--ctx", "64", "--json"});
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_EQ(at(json_of(ran), {"finish_reason"}).as_string(), "context");
  EXPECT_EQ(at(json_of(ran), {"ids"}).items().size(), 60u);
}

TEST_F(Run, ctrl_c_ends_the_answer_with_130_and_keeps_the_text_so_far) {
  Child child({"run", kMoe, "ROMEO:\n", "-n", "100000", "--temp", "0", "-t", "1"},
              {.environment = {"MOXIE_KERNELS=ref"}});
  child.read_until(20);
  child.send(SIGINT);
  EXPECT_EQ(child.finish(), 130);
  EXPECT_GE(child.out.size(), 20u);
  EXPECT_LT(child.out.size(), 1000u);  // the context would have been 1024 bytes
  EXPECT_EQ(child.out.back(), '\n');
  EXPECT_TRUE(contains(child.err, "cancelled")) << child.err;
}

TEST_F(Run, a_second_ctrl_c_does_not_wait_for_the_prompt_to_be_read) {
  const std::string prompt(900, 'a');  // its prefill takes the portable kernels seconds
  Child child({"run", kMoe, prompt, "-t", "1"}, {.environment = {"MOXIE_KERNELS=ref"}});
  child.read_until(prompt.size());
  child.send(SIGINT);
  ::usleep(50'000);
  child.send(SIGINT);
  EXPECT_EQ(child.finish(), 130);
  EXPECT_EQ(child.out, prompt);  // not a token, not a newline more
}

TEST_F(Run, a_terminate_signal_ends_it_with_143) {
  Child child({"run", kMoe, "ROMEO:\n", "-n", "100000", "-t", "1"}, {.environment = {"MOXIE_KERNELS=ref"}});
  child.read_until(10);
  child.send(SIGTERM);
  EXPECT_EQ(child.finish(), 143);
}

TEST_F(Run, output_that_cannot_be_written_is_an_error) {
  for (const char* verb : {"run", "route"}) {
    const Ran ran = run({"-c", "exec '" MOXIE_BINARY "' " + std::string(verb) + " '" + kMoe + "' hello >/dev/full"},
                        {.program = "/bin/sh"});
    EXPECT_EQ(ran.exit_code, 1) << verb;
    EXPECT_TRUE(contains(ran.err, "stdout cannot be written")) << ran.err;
  }
}

TEST_F(Run, taps_are_numpy_files_and_name_the_first_difference) {
  const std::string python = "/usr/bin/python3";
  if (run({"-c", "import numpy"}, {.program = python}).exit_code != 0) GTEST_SKIP() << "no numpy for " << python;
  const auto tap = [&](const std::string& name, const std::string& prompt, const std::string& threads) {
    return run({"run", kMoe, prompt, "-n", "3", "--temp", "0", "-t", threads},
               {.environment = {"MOXIE_TAP=" + path(name)}})
        .exit_code;
  };
  ASSERT_EQ(tap("a", "ROMEO", "1") | tap("b", "ROMEO", "2") | tap("c", "ROMEo", "1"), 0);
  const auto diff = [&](const std::string& a, const std::string& b) {
    return run({repository("tools/diff_taps.py"), path(a), path(b)}, {.program = python});
  };
  const Ran same = diff("a", "b");
  EXPECT_EQ(same.exit_code, 0) << same.err;
  EXPECT_TRUE(contains(same.out, "bit for bit")) << same.out;
  const Ran other = diff("a", "c");
  EXPECT_EQ(other.exit_code, 1) << other.err;
  EXPECT_TRUE(contains(other.out, "step 0 embedding") && contains(other.out, "[4, ")) << other.out;
  std::filesystem::remove(path("b/0002.layers.3.router_logits.npy"));
  EXPECT_EQ(diff("a", "b").out, "step 2 layers.3.router_logits: only in " + path("a") + "\n");
  EXPECT_EQ(diff("a", "nowhere").exit_code, 2);
}

}  // namespace
}  // namespace moxie::test
