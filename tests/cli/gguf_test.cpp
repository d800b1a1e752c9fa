// A .gguf file wherever a model directory may stand: the same answers, and refusals that name key and byte.
#include <algorithm>

#include "cli/child.h"
#include "model/gguf_of.h"

namespace moxie::test {
namespace {

class GgufFileArgument : public Workspace {
 protected:
  // A golden of random weights, with a vocabulary of one token a byte.
  std::string made(const std::string& golden, const std::map<std::string, std::string>& strings = {}) {
    GgufOf writer(repository("tests/data/golden/" + golden));
    writer.with_tokenizer = true;
    writer.strings = strings;
    writer.write(path(golden + ".gguf"));
    return path(golden + ".gguf");
  }
  // The same weights as a directory.
  static std::string directory(const std::string& golden) { return repository("tests/data/golden/" + golden); }
};

TEST_F(GgufFileArgument, run_continues_a_prompt) {
  const Ran ran = run({"run", made("qwen3_moe"), "To be", "-n", "8", "--temp", "0", "--json"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const json::Value answer = json_of(ran);
  EXPECT_EQ(at(answer, {"prompt_tokens"}).as_int(), 5);
  EXPECT_EQ(at(answer, {"ids"}).items().size(), 8u);
}

TEST_F(GgufFileArgument, chat_goes_through_the_template_of_the_file) {
  const std::string model =
      made("qwen3", {{"tokenizer.chat_template", "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"}});
  const Ran ran = run({"run", model, "hi", "-n", "2", "--temp", "0", "--json"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_EQ(at(json_of(ran), {"prompt_tokens"}).as_int(), 9);  // "[user] hi"
  const Ran broken = run({"run", made("qwen3", {{"tokenizer.chat_template", "{% if %}"}}), "hi"});
  EXPECT_EQ(broken.exit_code, 3);
  EXPECT_TRUE(contains(broken.err, "tokenizer.chat_template: line 1")) << broken.err;
}

TEST_F(GgufFileArgument, inspect_says_what_it_says_of_the_directory) {
  const Ran ran = run({"inspect", made("deepseek_v3"), "--bandwidth", "10", "--json"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const json::Value ours = json_of(ran);
  const json::Value theirs = json_of(run({"inspect", directory("deepseek_v3"), "--bandwidth", "10", "--json"}));
  EXPECT_EQ(at(ours, {"parameters"}).dump(), at(theirs, {"parameters"}).dump());
  EXPECT_EQ(run({"inspect", made("mixtral"), "--bandwidth", "10", "--strict"}).exit_code, 0);
}

TEST_F(GgufFileArgument, eval_route_and_bench_take_it) {
  const std::string model = made("mixtral"), text = write("text.txt", std::string(300, 'a'));
  const Ran eval = run({"eval", model, "--text", text, "--json"});
  EXPECT_EQ(eval.exit_code, 0) << eval.err;
  const Ran route = run({"route", model, "abc", "--json", "--trace", path("t.safetensors")});
  EXPECT_EQ(route.exit_code, 0) << route.err;
  const Ran bench = run({"bench", model, "-p", "4", "-n", "2", "-r", "1", "--json"});
  EXPECT_EQ(bench.exit_code, 0) << bench.err;
}

TEST_F(GgufFileArgument, a_directory_that_holds_nothing_else_is_that_file) {
  made("olmoe");
  const Ran ran = run({"run", directory_.string(), "abc", "-n", "1", "--temp", "0", "--json"});
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  made("llama");
  const Ran two = run({"run", directory_.string(), "abc"});
  EXPECT_EQ(two.exit_code, 3);
  EXPECT_TRUE(contains(two.err, "llama.gguf and 1 more")) << two.err;
}

TEST_F(GgufFileArgument, packed_rows_are_found_by_their_directory_and_named_by_inspect) {
  ASSERT_EQ(run({"convert", kMoe, path("m.moxie"), "--format", "q8_0", "--no-check"}).exit_code, 0);
  const Ran packed = run({"inspect", directory_.string(), "--bandwidth", "10"});
  ASSERT_EQ(packed.exit_code, 0) << packed.err;
  EXPECT_TRUE(contains(packed.out, "rows are packed in ")) << packed.out;
  ASSERT_EQ(run({"convert", path("m.moxie"), path("plain"), "--to", "gguf", "--no-check"}).exit_code, 0);
  const auto packed_bytes = [&](const std::string& model) {
    return at(json_of(run({"inspect", model, "--bandwidth", "10", "--json"})), {"files", "packed_bytes"}).as_int();
  };
  EXPECT_GT(packed_bytes(path("m.moxie")), 7'000'000);
  EXPECT_EQ(packed_bytes(path("plain")), 0);
}

TEST_F(GgufFileArgument, faults_of_the_file_are_errors_of_one_line) {
  const std::string whole = contents(made("qwen2_moe"));
  const auto refused = [&](const std::string& bytes, const std::string& part) {
    const Ran ran = run({"run", write("broken.gguf", bytes), "abc"});
    EXPECT_EQ(ran.exit_code, 3) << ran.err;
    EXPECT_TRUE(contains(ran.err, part)) << part << "\n" << ran.err;
  };
  refused(whole.substr(0, whole.size() / 2), "broken.gguf");
  refused("", "broken.gguf");
  refused("{}", "broken.gguf");
  EXPECT_TRUE(contains(run({"run", write("cut.moxie", ""), "abc"}).err, "cut.moxie"));
  std::string other = whole;
  other.replace(other.find("qwen2moe"), 8, "qwen9moe");
  refused(other, "general.architecture at byte ");
  refused(other, "deepseek2, glm4moe, gpt-oss");
}

}  // namespace
}  // namespace moxie::test
