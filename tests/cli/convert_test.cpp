// moxie convert as a process: the file, the report, and refusals that leave nothing behind. What is in the file:
// tests/quantize.
#include <fmt/format.h>

#include <set>

#include "base/file.h"
#include "cli/child.h"

namespace moxie::test {
namespace {

using ConvertVerb = Workspace;

TEST_F(ConvertVerb, a_converted_model_says_what_the_model_says) {
  const Ran ran = run({"convert", kMoe, path("m.gguf")});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_TRUE(contains(ran.out, "logits of 32 tokens: the same bits")) << ran.out;
  EXPECT_TRUE(contains(ran.out, "bf16")) << ran.out;
  const auto text = [&](const std::string& model) {
    return run({"run", model, "ROMEO:", "-n", "24", "--temp", "0"}).out;
  };
  EXPECT_EQ(text(path("m.gguf")), text(kMoe));
  EXPECT_EQ(files(), std::vector<std::string>{"m.gguf"});
}

TEST_F(ConvertVerb, a_mix_and_its_exceptions_are_reported_as_json) {
  const Ran ran = run({"convert", kMoe, path("m.gguf"), "--format", "Q4_0", "--tensor-format", "blk.0.*=q8_0",
                       "--tensor-format", "blk.*.ffn_down_exps=q5_1", "--json", "-t", "2"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const json::Value report = json_of(ran);
  EXPECT_LT(at(report, {"bits_per_weight"}).as_double(), 6);
  EXPECT_EQ(at(report, {"worst"}).items().size(), 8u);
  EXPECT_GT(at(report, {"logits", "same_best"}).as_int(), 20);
  std::string formats;
  for (const json::Value& row : at(report, {"formats"}).items()) {
    formats += fmt::format("{} {} ", at(row, {"format"}).as_string(), at(row, {"tensors"}).as_int().value());
  }
  EXPECT_EQ(formats, "f32 21 q4_0 18 q5_1 3 q8_0 8 ");
  const Ran again = run({"convert", path("m.gguf"), path("n.gguf"), "--format", "q8_0", "--no-check", "--json"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_TRUE(contains(again.err, "keep their blocks")) << again.err;
  EXPECT_TRUE(at(json_of(again), {"logits"}).is_null());
}

TEST_F(ConvertVerb, formats_that_stand_in_for_those_of_a_mix_are_told) {
  // rows of 192; of 29 matrices the head has a rule of its own
  const Ran ran = run({"convert", kMoe, path("m.gguf"), "--format", "q4_k_m", "--no-check"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_TRUE(contains(ran.err, "28 tensors have rows that are not whole blocks of what q4_k_m gives")) << ran.err;
  const Ran whole = run({"convert", kMoe, path("n.gguf"), "--format", "q8_0", "--no-check"});
  EXPECT_FALSE(contains(whole.err, "whole blocks")) << whole.err;
}

TEST_F(ConvertVerb, a_moxie_file_has_packed_rows_and_says_what_the_model_says) {
  ASSERT_EQ(run({"convert", kMoe, path("m.gguf"), "--format", "q8_0"}).exit_code, 0);
  for (const std::vector<std::string>& out : {std::vector{path("m.moxie")}, {path("named"), "--to", "moxie"}}) {
    std::vector<std::string> command = {"convert", path("m.gguf")};
    command.insert(command.end(), out.begin(), out.end());
    const Ran ran = run(command);
    ASSERT_EQ(ran.exit_code, 0) << ran.err;
    EXPECT_TRUE(contains(ran.out, "the same bits")) << ran.out;
    EXPECT_EQ(run({"run", out[0], "ROMEO:", "-n", "24", "--temp", "0"}).out,
              run({"run", path("m.gguf"), "ROMEO:", "-n", "24", "--temp", "0"}).out);
    EXPECT_NE(moxie::read_file(out[0], 1 << 26), moxie::read_file(path("m.gguf"), 1 << 26));
  }
  EXPECT_EQ(moxie::read_file(path("named"), 1 << 26), moxie::read_file(path("m.moxie"), 1 << 26));
  ASSERT_EQ(run({"convert", path("m.moxie"), path("back"), "--to", "gguf", "--no-check"}).exit_code, 0);
  EXPECT_EQ(moxie::read_file(path("back"), 1 << 26), moxie::read_file(path("m.gguf"), 1 << 26));
}

TEST_F(ConvertVerb, a_gguf_file_becomes_the_directory_it_was) {
  ASSERT_EQ(run({"convert", kMoe, path("m.gguf"), "--no-check"}).exit_code, 0);
  const Ran ran = run({"convert", path("m.gguf"), path("m"), "--json"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const json::Value report = json_of(ran);
  EXPECT_EQ(at(report, {"format"}).as_string(), "bf16");
  ASSERT_GT(at(report, {"experts"}).items().size(), 1u);
  std::set<std::string> sums;
  for (const json::Value& each : at(report, {"experts"}).items()) {
    sums.insert(std::string(at(each, {"source_crc32c"}).as_string()));
    EXPECT_EQ(at(each, {"source_crc32c"}).as_string(), at(each, {"written_crc32c"}).as_string());
  }
  EXPECT_EQ(sums.size(), at(report, {"experts"}).items().size());
  const auto text = [&](const std::string& model) {
    return run({"run", model, "ROMEO:", "-n", "24", "--temp", "0"}).out;
  };
  EXPECT_EQ(text(path("m")), text(kMoe));
  const Ran said = run({"convert", kMoe, path("named.gguf"), "--to", "hf", "--format", "f16"});
  ASSERT_EQ(said.exit_code, 0) << said.err;
  EXPECT_TRUE(contains(said.out, fmt::format("checksums of {0} experts: {0} equal", sums.size()))) << said.out;
  EXPECT_TRUE(std::filesystem::is_directory(path("named.gguf")));
  EXPECT_EQ(run({"convert", kMoe, path("m")}).exit_code, 2);  // it is there
}

TEST_F(ConvertVerb, wrong_arguments_are_usage_errors) {
  const std::string out = path("m.gguf");
  const auto refusal = [&](const std::vector<std::string>& more, const std::string& to) {
    std::vector<std::string> arguments = {"convert", kMoe, to};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.exit_code, 2) << ran.err;
    return ran.err;
  };
  EXPECT_TRUE(contains(refusal({"--format", "q9"}, out), "--format q9: expected same"));
  EXPECT_TRUE(contains(refusal({"--tensor-format", "x"}, out), "PATTERN=FORMAT"));
  EXPECT_TRUE(contains(refusal({"--tensor-format", "x=q9"}, out), "no format \"q9\""));
  EXPECT_TRUE(contains(refusal({"--tensor-format", "x=q8_0"}, out), "x.weight: no tensor"));
  EXPECT_TRUE(contains(refusal({"--format", "q4_k_m"}, path("m")), "--format q4_k_m: expected bf16, f16 or f32"));
  EXPECT_TRUE(contains(refusal({"--tensor-format", "x=q8_0"}, path("m")), "--tensor-format: only a GGUF file"));
  EXPECT_TRUE(contains(refusal({"--pre", "gpt2"}, path("m")), "--pre: only a GGUF file"));
  EXPECT_TRUE(contains(refusal({"--to", "hf", "--force"}, out), "--force: only a GGUF file"));
  EXPECT_TRUE(contains(refusal({"--no-check"}, path("m")), "--no-check: only a GGUF file"));
  EXPECT_TRUE(contains(refusal({"--to", "onnx"}, out), "--to"));
  EXPECT_TRUE(contains(refusal({}, path("m.bin")), "ends in .gguf or .moxie"));
  EXPECT_TRUE(files().empty());
}

TEST_F(ConvertVerb, a_file_that_exists_is_kept_unless_forced) {
  const std::string out = write("m.gguf", "mine");
  const Ran kept = run({"convert", kStories, out});
  EXPECT_EQ(kept.exit_code, 2);
  EXPECT_TRUE(contains(kept.err, "m.gguf exists already; --force")) << kept.err;
  EXPECT_EQ(contents(out), "mine");
  EXPECT_EQ(run({"convert", kStories, out, "--force"}).exit_code, 0);
  EXPECT_EQ(contents(out).substr(0, 4), "GGUF");
}

TEST_F(ConvertVerb, bad_models_are_refused_and_leave_nothing) {
  EXPECT_EQ(run({"convert", path("none"), path("m.gguf")}).exit_code, 3);
  const std::string whole = contents(kMoe + "/model.safetensors");
  const std::string model = model_with("model.safetensors", whole.substr(0, whole.size() / 2));
  const Ran cut = run({"convert", model, path("m.gguf")});
  EXPECT_EQ(cut.exit_code, 3);
  EXPECT_TRUE(contains(cut.err, "model.safetensors")) << cut.err;
  EXPECT_FALSE(std::filesystem::exists(path("m.gguf")));
}

TEST_F(ConvertVerb, a_full_disk_is_said_and_leaves_nothing) {
  const std::string script =
      "trap '' XFSZ; ulimit -f 4000; exec '" MOXIE_BINARY "' convert '" + kMoe + "' '" + path("m.gguf") + "'";
  const Ran ran = run({"-c", script}, {.program = "/bin/sh"});
  EXPECT_EQ(ran.exit_code, 1) << ran.err;
  EXPECT_TRUE(contains(ran.err, "m.gguf")) << ran.err;
  EXPECT_TRUE(contains(ran.err, "File too large")) << ran.err;
  EXPECT_TRUE(files().empty());
}

}  // namespace
}  // namespace moxie::test
