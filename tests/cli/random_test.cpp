// moxie random and bench --shape as processes: the file, what runs on it, what they refuse and leave behind.
#include "cli/child.h"

namespace moxie::test {
namespace {

constexpr const char* kConfig = R"({"model_type": "qwen3_moe", "vocab_size": 256, "hidden_size": 256, "head_dim": 64,
  "intermediate_size": 256, "moe_intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
  "num_key_value_heads": 2, "num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": true,
  "max_position_embeddings": 512, "tie_word_embeddings": false})";

using Random = Workspace;

TEST_F(Random, writes_a_model_that_runs) {
  const std::string config = write("tiny.json", kConfig), out = path("a.gguf");
  const Ran ran = run({"random", "--shape", config, "--format", "q4_k_m", out, "--json"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_EQ(at(json_of(ran), {"bytes"}).as_int(), static_cast<int64_t>(std::filesystem::file_size(out)));
  const Ran bench = run({"bench", out, "-p", "8", "-n", "2", "-t", "1", "-r", "1", "--json"});
  ASSERT_EQ(bench.exit_code, 0) << bench.err;
  EXPECT_EQ(run({"random", "--shape", config, out}).exit_code, 2);  // it is there
  EXPECT_EQ(run({"random", "--shape", config, out, "--force", "--routing", "zipf:1"}).exit_code, 0);
}

TEST_F(Random, packs_rows_where_the_name_says_so_as_convert_does) {
  const std::string config = write("tiny.json", kConfig), plain = path("a.gguf");
  ASSERT_EQ(run({"random", "--shape", config, plain}).exit_code, 0);
  ASSERT_EQ(run({"convert", plain, path("converted.moxie"), "--no-check"}).exit_code, 0);
  ASSERT_EQ(run({"random", "--shape", config, path("a.moxie")}).exit_code, 0);
  EXPECT_TRUE(contents(path("a.moxie")) == contents(path("converted.moxie")));
  ASSERT_EQ(run({"random", "--shape", config, "--to", "moxie", path("b")}).exit_code, 0);
  EXPECT_TRUE(contents(path("b")) == contents(path("a.moxie")));
  ASSERT_EQ(run({"random", "--shape", config, "--to", "gguf", path("b.moxie")}).exit_code, 0);
  EXPECT_TRUE(contents(path("b.moxie")) == contents(plain));
}

TEST_F(Random, refuses_what_it_cannot_make_and_leaves_nothing) {
  const std::string config = write("tiny.json", kConfig), broken = write("broken.json", "{\"model_type\": 1}");
  const std::string out = path("a.gguf");
  EXPECT_EQ(run({"random", out}).exit_code, 2);
  EXPECT_EQ(run({"random", "--shape", "no-such-shape", out}).exit_code, 2);
  EXPECT_EQ(run({"random", "--shape", config, "--format", "q9", out}).exit_code, 2);
  EXPECT_EQ(run({"random", "--shape", config, "--routing", "zipf:-1", out}).exit_code, 2);
  EXPECT_EQ(run({"random", "--shape", broken, out}).exit_code, 3);
  EXPECT_EQ(run({"random", "--shape", config, path("no/such/directory.gguf")}).exit_code, 1);
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(Random, bench_makes_a_model_and_takes_it_away_again) {
  const std::string config = write("tiny.json", kConfig);
  const std::string peer =
      "test -s {model} && echo '[{\"n_prompt\": 8, \"n_gen\": 0, \"n_threads\": 1, \"avg_ts\": 9}]' #";
  const Ran ran = run({"bench", "--shape", config, "--format", "q8_0", "-p", "8", "-n", "2", "-t", "1", "-r", "1",
                       "--json", "--compare", peer},
                      {.environment = {"TMPDIR=" + directory_.string()}});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_EQ(at(json_of(ran), {"model"}).as_string(), "tiny-q8_0.gguf");
  EXPECT_EQ(at(at(json_of(ran), {"rows"}).items()[0], {"peer", "tokens_per_second"}).as_double(), 9);
  const Ran packed = run({"bench", "--shape", config, "--to", "moxie", "-p", "8", "-n", "0", "-r", "1", "--json"},
                         {.environment = {"TMPDIR=" + directory_.string()}});
  ASSERT_EQ(packed.exit_code, 0) << packed.err;
  EXPECT_EQ(at(json_of(packed), {"model"}).as_string(), "tiny-q4_k_m.moxie");
  EXPECT_EQ(files(), std::vector<std::string>{"tiny.json"});
  EXPECT_EQ(run({"bench", "--shape", config, kMoe}).exit_code, 2);
  EXPECT_EQ(run({"bench"}).exit_code, 2);
}

}  // namespace
}  // namespace moxie::test
