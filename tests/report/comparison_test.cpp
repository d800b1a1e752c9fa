// The dense-against-sparse table: its numbers, where each says it comes from, its sentences, and the page.
#include "report/comparison.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "report/run_log.h"

namespace moxie {
namespace {

/// 8 experts of which 2 are visited, beside a dense model as wide as the 2: equal active parameters.
Comparison make(double moe_many = 900, double memory = 16e9) {
  Comparison c;
  c.moe.name = "sparse";
  c.dense.name = "de<n>se";
  c.moe.parameters[Part::routed_experts] = 800'000'000;
  c.moe.active[Part::routed_experts] = 200'000'000;
  c.dense.parameters[Part::dense_ffn] = c.dense.active[Part::dense_ffn] = 200'000'000;
  for (ComparedModel* m : {&c.moe, &c.dense}) {
    m->parameters[Part::attention] = m->active[Part::attention] = 100'000'000;
    m->conventions = {300'000'000, 300'000'000, 300'000'000};
    m->disk_bytes = 2 * m->parameters.total();
    m->kv_bytes_per_token = 1000;
    m->max_context = 100'000;
    m->context_kv_bytes = 1e8;
    m->flops_per_token = 6e8;
    m->first_token_seconds = 0.5;
  }
  c.moe.num_experts = 8;
  c.moe.top_k = 2;
  c.moe.moe_layers = 4;
  c.moe.decode = {{1, 50, 6e8, 2}, {16, moe_many, 1.8e9, 7.9}};
  c.dense.decode = {{1, 40, 6e8, 0}, {16, 1000, 6e8, 0}};
  c.machine = "a CPU, 2 threads";
  c.kernels = "ref";
  c.memory_bytes = memory;
  c.prompt_tokens = 128;
  c.decode_tokens = 32;
  c.repeats = 3;
  return c;
}

ComparisonRow row(const Comparison& c, const std::string& label) {
  for (const ComparisonRow& r : comparison_rows(c)) {
    if (r.label == label) return r;
  }
  ADD_FAILURE() << "no row " << label;
  return {};
}

std::string all_sentences(const Comparison& c) {
  std::string text;
  for (const std::string& sentence : comparison_sentences(c)) text += sentence + "\n";
  return text;
}

testing::AssertionResult has(const std::string& text, std::string_view part) {
  if (text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "no \"" << part << "\" in: " << text;
}

TEST(Comparison, every_cell_says_where_it_comes_from_and_has_its_ratio) {
  const Comparison c = make();
  EXPECT_EQ(row(c, "parameters, total").ratio, "3.00x");
  EXPECT_EQ(row(c, "parameters, total").origin, Origin::computed);
  EXPECT_EQ(row(c, "feed-forward parameters").ratio, "4.00x");
  EXPECT_EQ(row(c, "feed-forward held / used by a token, about N/k").moe, "4.00x");
  EXPECT_EQ(row(c, "feed-forward held / used by a token, about N/k").dense, "1.00x");
  EXPECT_EQ(row(c, "experts a token visits, k/N").moe, "2 of 8 (25.0%)");
  EXPECT_EQ(row(c, "weights on disk and in memory").moe, "1.80 GB");
  EXPECT_EQ(row(c, "each further token").moe, "20.00 ms");
  EXPECT_EQ(row(c, "each further token").ratio, "0.80x");
  EXPECT_EQ(row(c, "each further token").origin, Origin::measured);
  EXPECT_EQ(row(c, "throughput of 16").ratio, "0.90x");
  EXPECT_EQ(row(c, "bytes read a step of 16").ratio, "3.00x");
}

TEST(Comparison, names_the_batch_from_which_the_other_is_ahead) {
  EXPECT_TRUE(has(all_sentences(make()), "From batch 16 on the dense model is ahead"));
  EXPECT_TRUE(has(all_sentences(make()), "1.25x faster than this dense model"));
  EXPECT_TRUE(has(all_sentences(make(1500)), "The MoE is ahead at every batch tried"));
  EXPECT_TRUE(has(all_sentences(make()),
                  "the MoE wins on speed at one request; the dense model wins on speed at 16 "
                  "requests and memory"));
}

TEST(Comparison, says_what_fits_into_this_machine) {
  EXPECT_TRUE(has(all_sentences(make()), "both fit into the 16.0 GB here"));
  EXPECT_TRUE(has(all_sentences(make(900, 1e9)), "only the dense model fits"));
  EXPECT_TRUE(has(all_sentences(make(900, 1e8)), "neither fits"));
  EXPECT_TRUE(has(all_sentences(make(900, 0)), "between 0.7 GB and 1.9 GB of memory only the dense model fits"));
}

TEST(Comparison, quality_appears_where_it_was_measured) {
  Comparison c = make();
  EXPECT_FALSE(has(comparison_text(c), "nats/byte"));
  c.text = "novel.txt";
  c.moe.nats_per_byte = 0.9;
  c.dense.nats_per_byte = 1.0;
  EXPECT_EQ(row(c, "nats/byte of novel.txt").ratio, "0.90x");
  EXPECT_TRUE(has(all_sentences(c), "the MoE predicts better by 0.1000"));
}

RunLog run_of(const std::string& name, int experts, double drop) {
  std::string text =
      R"({"type": "run", "name": ")" + name + R"(", "num_experts": )" + std::to_string(experts) +
      R"(, "moe_layers": [)" + (experts > 0 ? "0" : "") +
      R"(], "top_k": 2, "tokens_per_step": 100, "parameters_total": 10, "parameters_active": 5, "steps": 100})" + "\n";
  for (int step = 1; step <= 100; ++step) {
    text += fmt::format(R"({{"type": "step", "step": {0}, "tokens": {1}, "flops": {1}, "seconds": {0}, "loss": {2}, )"
                        R"("tokens_per_second": 100}})"
                        "\n",
                        step, step * 100, 5 - drop * step);
  }
  return parse_run_log(text, name);
}

TEST(Comparison, training_costs_come_from_the_runs) {
  Comparison c = make();
  c.runs = {run_of("moe", 8, 0.02), run_of("dense", 0, 0.01)};
  EXPECT_EQ(row(c, "tokens").moe, "10K");
  EXPECT_EQ(row(c, "tokens").origin, Origin::from_run);
  const ComparisonRow tokens = row(c, "tokens to the dense final loss");
  EXPECT_NEAR(std::stod(tokens.moe), 0.5, 0.03) << tokens.moe;
  EXPECT_NE(comparison_json(c).find("training"), nullptr);
}

TEST(Comparison, json_keeps_numbers_and_marks_what_is_unknown) {
  const json::Value out = comparison_json(make(900, 0));
  EXPECT_EQ(out.find("schema_version")->as_int(), 1);
  EXPECT_TRUE(out.find("memory_bytes")->is_null());
  EXPECT_EQ(out.find("moe")->find("decode")->items()[1].find("tokens_per_second")->as_double(), 900);
  EXPECT_TRUE(out.find("dense")->find("nats_per_byte")->is_null());
  EXPECT_EQ(out.find("rows")->items().size(), comparison_rows(make()).size());
}

TEST(Comparison, page_needs_nothing_from_outside_and_escapes_names) {
  const std::string page = comparison_page(make());
  EXPECT_TRUE(has(page, "de&lt;n&gt;se"));
  EXPECT_EQ(page.find("de<n>se"), std::string::npos);
  EXPECT_EQ(page.find("://"), std::string::npos);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("{{"), std::string::npos);
  for (const char* part : {"aria-label=\"Tokens a second over batch\"", "aria-label=\"Memory by part\"",
                           "prefers-color-scheme: dark", "only the dense model fits", "measured"}) {
    EXPECT_TRUE(has(page, part));
  }
  for (const char* bad : {"nan", "inf,", "inf\""}) EXPECT_EQ(page.find(bad), std::string::npos) << bad;
}

}  // namespace
}  // namespace moxie
