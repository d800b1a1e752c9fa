// moxie tokenize as a process: a learned tokenizer's files, text into ids and back, and what is refused before work.
#include <gtest/gtest.h>

#include "cli/child.h"

namespace moxie::test {
namespace {

const std::string kCorpus = repository("tests/data/tokenizers/bpe-training/corpus.en");

class Tokenize : public Workspace {
 protected:
  /// Learns 300 tokens from the corpus into tok/.
  std::string learned() const {
    EXPECT_EQ(run({"tokenize", "train", kCorpus, "--vocab", "300", "--special", "<|end|>", "--special", "<|pad|>",
                   "--out", path("tok")})
                  .exit_code,
              0);
    return path("tok");
  }
};

TEST_F(Tokenize, train_writes_both_files_and_tells_what_it_learned) {
  const Ran ran = run({"tokenize", "train", kCorpus, "--vocab", "500", "--out", path("deep/tok"), "--json"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const json::Value report = json_of(ran);
  EXPECT_EQ(at(report, {"bytes"}).as_uint(), std::filesystem::file_size(kCorpus));
  EXPECT_EQ(at(report, {"vocab_size"}).as_int(), 500);
  EXPECT_EQ(at(report, {"merges"}).as_int(), 244);
  EXPECT_GT(at(report, {"bytes_per_token"}).as_double(), 1.5);
  const json::Value tokenizer = json::parse(contents(path("deep/tok/tokenizer.json")), {});
  EXPECT_EQ(at(tokenizer, {"model", "vocab"}).members().size(), 500u);
  json::parse(contents(path("deep/tok/tokenizer_config.json")), {});
}

TEST_F(Tokenize, train_names_the_first_special_token_as_the_end_of_a_text) {
  const json::Value config = json::parse(contents(learned() + "/tokenizer_config.json"), {});
  EXPECT_EQ(at(config, {"eos_token"}).as_string(), "<|end|>");
}

TEST_F(Tokenize, train_gives_the_same_file_for_the_same_text) {
  const std::string first = contents(learned() + "/tokenizer.json");
  EXPECT_EQ(contents(learned() + "/tokenizer.json"), first);
}

TEST_F(Tokenize, train_says_so_when_the_text_runs_out_of_pairs) {
  const Ran ran = run({"tokenize", "train", write("small.txt", "aa aa"), "--vocab", "4096", "--out", path("tok")});
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_TRUE(contains(ran.err, "has 257 tokens, not 4096")) << ran.err;
}

TEST_F(Tokenize, encode_and_decode_give_the_text_back) {
  const std::string text = write("text.txt", "The h\xc3\xa9ro, \xe4\xb8\x96\xe7\x95\x8c 123!<|end|> \n\n and so on");
  const std::string tokenizer = learned();
  for (const char* name : {"ids.bin", "ids.u32"}) {
    const Ran encoded = run({"tokenize", "encode", "--tokenizer", tokenizer, text, "--out", path(name), "--json"});
    ASSERT_EQ(encoded.exit_code, 0) << encoded.err;
    const uint64_t width = std::string(name) == "ids.bin" ? 2 : 4;
    EXPECT_EQ(std::filesystem::file_size(path(name)), width * at(json_of(encoded), {"tokens"}).as_uint().value());
    const Ran decoded = run({"tokenize", "decode", "--tokenizer", tokenizer, path(name)});
    EXPECT_EQ(decoded.exit_code, 0) << decoded.err;
    EXPECT_EQ(decoded.out, contents(text));
  }
}

TEST_F(Tokenize, encode_writes_little_endian_ids) {
  const std::string tokenizer = learned();
  ASSERT_EQ(run({"tokenize", "encode", "--tokenizer", tokenizer, write("text.txt", "<|pad|>!<|end|>"), "--out",
                 path("ids.bin")})
                .exit_code,
            0);
  EXPECT_EQ(contents(path("ids.bin")), std::string("\x01\0\x02\0\0\0", 6));  // special tokens first, then "!"
}

TEST_F(Tokenize, refuses_what_cannot_be_learned_and_leaves_nothing) {
  const std::string out = path("tok");
  const std::string empty = write("empty.txt", "");
  const auto train = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"tokenize", "train", "--out", out});
    return run(arguments);
  };
  EXPECT_EQ(train({empty, "--vocab", "300"}).exit_code, 3);
  EXPECT_EQ(train({path("missing.txt"), "--vocab", "300"}).exit_code, 3);
  EXPECT_EQ(train({directory_.string(), "--vocab", "300"}).exit_code, 3);
  EXPECT_EQ(train({kCorpus, "--vocab", "255"}).exit_code, 2);
  EXPECT_EQ(train({kCorpus, "--vocab", "256", "--special", "<|x|>"}).exit_code, 2);
  EXPECT_EQ(train({kCorpus, "--vocab", "99999999999"}).exit_code, 2);
  EXPECT_EQ(train({kCorpus, "--vocab", "300", "--special", ""}).exit_code, 2);
  EXPECT_EQ(train({kCorpus}).exit_code, 2);
  EXPECT_EQ(files(), std::vector<std::string>{"empty.txt"});
}

TEST_F(Tokenize, says_which_place_cannot_be_written) {
  const std::string out = write("file", "here before") + "/tok";
  const Ran ran = run({"tokenize", "train", kCorpus, "--vocab", "300", "--out", out});
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_TRUE(contains(ran.err, out)) << ran.err;
  EXPECT_EQ(contents(path("file")), "here before");
}

TEST_F(Tokenize, refuses_bad_token_files_and_names) {
  const std::string tokenizer = learned();
  const auto encode = [&](const std::string& text, const std::string& out) {
    return run({"tokenize", "encode", "--tokenizer", tokenizer, text, "--out", out}).exit_code;
  };
  EXPECT_EQ(encode(kCorpus, path("ids.txt")), 2);
  EXPECT_EQ(encode(write("empty.txt", ""), path("ids.bin")), 3);
  EXPECT_EQ(encode(path("missing.txt"), path("ids.bin")), 3);
  const auto decode = [&](const std::string& name, const std::string& bytes) {
    return run({"tokenize", "decode", "--tokenizer", tokenizer, write(name, bytes)});
  };
  const Ran beyond = decode("bad.bin", std::string("\0\0\x2c\x01", 4));  // 300
  EXPECT_EQ(beyond.exit_code, 3);
  EXPECT_TRUE(contains(beyond.err, "byte 2: expected an id below 300")) << beyond.err;
  EXPECT_EQ(decode("odd.bin", "abc").exit_code, 3);
  EXPECT_EQ(decode("ids.txt", "ab").exit_code, 2);
  EXPECT_EQ(run({"tokenize"}).exit_code, 2);
}

}  // namespace
}  // namespace moxie::test
