// What is read from the output of other programs, and what is refused.
#include "infer/peer.h"

#include "infer/support.h"

namespace moxie::test {
namespace {

// As llama-bench of llama.cpp 3f545bec prints it, most keys left out.
constexpr const char* kJson = R"([
WARNING: as a fork of it prints here
  {
    "build_commit": "3f545bec",
    "build_number": 7250,
    "cpu_info": "AMD EPYC",
    "model_type": "qwen3moe ?B Q4_K - Medium",
    "n_threads": 2,
    "n_prompt": 512,
    "n_gen": 0,
    "n_depth": 0,
    "avg_ns": 8514331,
    "avg_ts": 118.25,
    "stddev_ts": 1.2,
    "samples_ts": [ 118.25 ]
  },
  { "build_commit": "3f545bec", "build_number": 7250, "n_threads": 1, "n_prompt": 0, "n_gen": 128, "avg_ts": 26 }
])";

TEST(Peer, llama_bench_json_is_read) {
  const PeerReport report = parse_peer(kJson, "peer");
  ASSERT_EQ(report.tests.size(), 2u);
  EXPECT_EQ(report.tests[0].prompt, 512);
  EXPECT_EQ(report.tests[0].generate, 0);
  EXPECT_EQ(report.tests[0].threads, 2);
  EXPECT_EQ(report.tests[0].tokens_per_second, 118.25);
  EXPECT_EQ(report.tests[1].generate, 128);
  EXPECT_EQ(report.tests[1].threads, 1);
  EXPECT_TRUE(contains(report.version, "3f545bec") && contains(report.version, "7250")) << report.version;
}

TEST(Peer, the_table_of_batched_bench_is_read) {
  const PeerReport report = parse_peer(
      "main: n_kv_max = 2048, n_batch = 2048, n_threads = 2, n_threads_batch = 2\n\n"
      "|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |\n"
      "|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|\n"
      "|     1 |    128 |    4 |    516 |    0.057 |    70.18 |    7.213 |    70.98 |    7.270 |    70.98 |\n"
      "|   512 |      0 |    1 |    512 |    4.000 |   128.00 |    0.000 |     0.00 |    4.000 |   128.00 |\n",
      "peer");
  ASSERT_EQ(report.tests.size(), 2u);
  EXPECT_EQ(report.tests[0].batch, 4);
  EXPECT_EQ(report.tests[0].generate, 128);
  EXPECT_EQ(report.tests[0].threads, 2);
  EXPECT_EQ(report.tests[0].tokens_per_second, 70.98);
  EXPECT_EQ(report.tests[1].tokens_per_second, 128);
}

TEST(Peer, a_table_on_stderr_is_found) {
  EXPECT_EQ(peer_report("WARNING: 0 bytes\n", "| S_TG t/s |"), "| S_TG t/s |");
  EXPECT_EQ(peer_report("| S_TG t/s |", "| S_TG t/s | of another |"), "| S_TG t/s |");
  EXPECT_EQ(peer_report("[]", "noise"), "[]");
}

TEST(Peer, anything_else_is_refused) {
  for (const char* text : {"", "  \n", "| model | test |", "[]", "{}", "[1]", "[{\"n_prompt\": 4}]",
                           R"([{"n_prompt": 4, "n_gen": 0, "n_threads": 1, "avg_ts": 0}])",
                           R"([{"n_prompt": 4, "n_gen": 0, "n_threads": 1, "avg_ts": "fast"}])",
                           R"([{"n_prompt": -4, "n_gen": 0, "n_threads": 1, "avg_ts": 1}])",
                           R"([{"n_prompt": 4e9, "n_gen": 0, "n_threads": 1, "avg_ts": 1}])", "| PP | S_TG t/s |\n",
                           "S_TG t/s\n| 1 | 128 | 1.5 | 1 | 1 | 1 | 1 | 1 | 1 | 1 |",
                           "S_TG t/s\n| 1e99 | 128 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 |",
                           "S_TG t/s\n| 1 | 128 | 1 | 1 | 1 | 1 | 1 | nan | 1 | 1 |", "[{\"n_prompt\""}) {
    const auto refused = refusal_of([&] { parse_peer(text, "the peer"); });
    ASSERT_TRUE(refused) << text;
    EXPECT_EQ(refused->code, ErrorCode::invalid) << text;
    EXPECT_TRUE(contains(refused->text, "the peer")) << refused->text;
  }
}

TEST(Peer, the_command_is_asked_for_json_unless_it_says_how_to_print) {
  EXPECT_EQ(readable_peer_command("llama-bench -m a.gguf"), "llama-bench -m a.gguf -o json");
  EXPECT_EQ(readable_peer_command("llama-bench -o json -m a"), "llama-bench -o json -m a");
  EXPECT_EQ(readable_peer_command("llama-bench --output=md"), "llama-bench --output=md");
  EXPECT_EQ(readable_peer_command("bin/llama-batched-bench -npp 1"), "bin/llama-batched-bench -npp 1");
}

}  // namespace
}  // namespace moxie::test
