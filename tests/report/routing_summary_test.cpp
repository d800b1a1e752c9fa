// The numbers of a trace: against hand counts and a brute-force recount.
#include "report/routing_summary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"
#include "report/traces.h"

namespace moxie {
namespace {

using testing::make_trace;

/// Three tokens (ids 7, 7, 9), four experts, top-2; expert 3 never chosen.
RoutingTrace small_trace() {
  RoutingTrace trace;
  trace.token_ids = {7, 7, 9};
  trace.layers.push_back({.layer = 5,
                          .num_experts = 4,
                          .top_k = 2,
                          .topk_ids = {0, 1, 0, 2, 1, 0},
                          .topk_weights = {0.75f, 0.25f, 0.5f, 0.5f, 1.0f, 0.0f},
                          .margin = {0.5f, 0.0005f, std::numeric_limits<float>::infinity()}});
  return trace;
}

TEST(RoutingSummary, equals_the_hand_count_of_a_small_trace) {
  const RoutingSummary summary = summarize(small_trace(), {.min_lift_count = 1, .min_co_activation = 1});
  ASSERT_EQ(summary.layers.size(), 1u);
  const LayerSummary& layer = summary.layers[0];
  EXPECT_EQ(layer.layer, 5);
  EXPECT_EQ(layer.assignments, 6);
  EXPECT_EQ(layer.dropped, 0);
  EXPECT_EQ(layer.experts[0].tokens, 3);
  EXPECT_EQ(layer.experts[1].tokens, 2);
  EXPECT_EQ(layer.experts[2].tokens, 1);
  EXPECT_DOUBLE_EQ(layer.experts[0].share, 0.5);
  EXPECT_DOUBLE_EQ(layer.experts[0].weight_mass, 1.25);
  EXPECT_DOUBLE_EQ(layer.experts[1].weight_mass, 1.25);
  const double entropy = -(0.5 * std::log(0.5) + std::log(1.0 / 3) / 3 + std::log(1.0 / 6) / 6) / std::log(4.0);
  EXPECT_NEAR(layer.entropy, entropy, 1e-15);
  EXPECT_DOUBLE_EQ(layer.max_over_mean, 2.0);
  EXPECT_DOUBLE_EQ(layer.max_vio, 1.0);
  EXPECT_EQ(layer.dead, std::vector<int32_t>{3});
  EXPECT_EQ(layer.busiest, (std::vector<int32_t>{0, 1, 2}));
  EXPECT_NEAR(*layer.mean_margin, (0.5 + 0.0005) / 2, 1e-8);
  EXPECT_DOUBLE_EQ(*layer.tiny_margin_share, 0.5);

  const ExpertSummary& first = layer.experts[0];  // receives 7 twice and 9 once; each token's every occurrence
  ASSERT_EQ(first.by_count.size(), 2u);
  EXPECT_EQ(first.by_count[0].token_id, 7);
  EXPECT_EQ(first.by_count[0].count, 2);
  EXPECT_DOUBLE_EQ(first.by_count[0].lift, 1.0);
  const ExpertSummary& second = layer.experts[1];  // one of two 7s, the only 9
  EXPECT_EQ(second.by_lift[0].token_id, 9);
  EXPECT_EQ(second.by_lift[0].position, 2);
  EXPECT_DOUBLE_EQ(second.by_lift[0].lift, 1.5);
  EXPECT_DOUBLE_EQ(second.by_lift[1].lift, 0.75);

  ASSERT_EQ(layer.co_activation.size(), 4u);
  EXPECT_EQ(layer.co_activation[0].expert, 1);  // both of its tokens also visit 0
  EXPECT_EQ(layer.co_activation[0].with, 0);
  EXPECT_DOUBLE_EQ(layer.co_activation[0].share, 1.0);
  EXPECT_EQ(layer.co_activation[1].expert, 2);
  EXPECT_DOUBLE_EQ(layer.co_activation[2].share, 2.0 / 3);
}

TEST(RoutingSummary, agrees_with_a_brute_force_recount) {
  RoutingTrace trace = make_trace(400, 3, 16, 4);
  trace.layers[1].topk_ids[5] = trace.layers[1].topk_ids[101] = -1;
  const RoutingSummary summary =
      summarize(trace, {.attracted = 1000, .min_lift_count = 1, .co_activation = 100000, .min_co_activation = 1});
  for (size_t l = 0; l < trace.layers.size(); ++l) {
    const LayerTrace& layer = trace.layers[l];
    std::map<int32_t, int64_t> tokens;
    std::map<int32_t, double> mass;
    std::map<std::pair<int32_t, int32_t>, int64_t> pairs, attracted;
    for (size_t t = 0; t < trace.token_ids.size(); ++t) {
      for (size_t a = 4 * t; a < 4 * t + 4; ++a) {
        const int32_t e = layer.topk_ids[a];
        if (e < 0) continue;
        ++tokens[e];
        mass[e] += layer.topk_weights[a];
        ++attracted[{e, trace.token_ids[t]}];
        for (size_t b = 4 * t; b < 4 * t + 4; ++b) {
          if (a != b && layer.topk_ids[b] >= 0) ++pairs[{e, layer.topk_ids[b]}];
        }
      }
    }
    const LayerSummary& got = summary.layers[l];
    EXPECT_EQ(got.dropped, l == 1 ? 2 : 0);
    EXPECT_EQ(got.assignments, 1600 - got.dropped);
    size_t num_attracted = 0;
    for (int32_t e = 0; e < 16; ++e) {
      const ExpertSummary& expert = got.experts[static_cast<size_t>(e)];
      EXPECT_EQ(expert.tokens, tokens[e]);
      EXPECT_NEAR(expert.weight_mass, mass[e], 1e-9);
      num_attracted += expert.by_count.size();
      EXPECT_EQ(expert.by_count.size(), expert.by_lift.size());
      for (const AttractedToken& token : expert.by_count) EXPECT_EQ(token.count, (attracted[{e, token.token_id}]));
      for (size_t i = 1; i < expert.by_lift.size(); ++i)
        EXPECT_LE(expert.by_lift[i].lift, expert.by_lift[i - 1].lift + 1e-12);
    }
    EXPECT_EQ(num_attracted, attracted.size());
    EXPECT_EQ(got.co_activation.size(), pairs.size());
    for (const CoActivation& pair : got.co_activation) {
      EXPECT_EQ(pair.count, (pairs[{pair.expert, pair.with}]));
      EXPECT_DOUBLE_EQ(pair.share, static_cast<double>(pair.count) / static_cast<double>(tokens[pair.expert]));
    }
  }
}

TEST(RoutingSummary, even_load_has_entropy_one_and_no_violation) {
  RoutingTrace trace;
  trace.layers.push_back({.layer = 0, .num_experts = 8, .top_k = 1});
  for (int32_t t = 0; t < 64; ++t) {
    trace.token_ids.push_back(t);
    trace.layers[0].topk_ids.push_back(t % 8);
  }
  const RoutingSummary summary = summarize(trace);
  EXPECT_NEAR(summary.layers[0].entropy, 1.0, 1e-14);
  EXPECT_DOUBLE_EQ(summary.layers[0].max_vio, 0.0);
  EXPECT_FALSE(summary.layers[0].mean_margin.has_value());
  EXPECT_TRUE(routing_warnings(summary).empty());
}

TEST(RoutingSummary, one_expert_for_all_has_entropy_zero) {
  RoutingTrace trace;
  trace.token_ids.assign(100, 1);
  trace.layers.push_back({.layer = 2, .num_experts = 16, .top_k = 1, .topk_ids = std::vector<int32_t>(100, 11)});
  const RoutingSummary summary = summarize(trace);
  EXPECT_EQ(summary.layers[0].entropy, 0.0);
  EXPECT_DOUBLE_EQ(summary.layers[0].max_over_mean, 16.0);
  EXPECT_EQ(summary.dead_experts, 15);
}

TEST(RoutingSummary, empty_single_and_dropped_tokens_have_finite_numbers) {
  for (const std::vector<int32_t>& ids : {std::vector<int32_t>{}, std::vector<int32_t>{2}, std::vector<int32_t>{-1}}) {
    RoutingTrace trace;
    trace.token_ids.assign(ids.size(), 3);
    trace.layers.push_back({.layer = 0, .num_experts = 4, .top_k = 1, .topk_ids = ids});
    const RoutingSummary summary = summarize(trace);
    EXPECT_EQ(summary.layers[0].entropy, 0.0);
    EXPECT_TRUE(std::isfinite(summary.layers[0].max_vio));
    EXPECT_EQ(summary.layers[0].dead.size(), ids == std::vector<int32_t>{2} ? 3u : 4u);
    to_json(summary, std::vector<std::string>(ids.size(), "x"));
  }
  EXPECT_TRUE(summarize({}).layers.empty());
}

TEST(RoutingSummary, warns_of_dead_experts_only_with_enough_tokens) {
  RoutingTrace trace = make_trace(500, 1, 16, 2);
  for (int32_t& id : trace.layers[0].topk_ids) {
    if (id == 5 || id == 12 || id == 15) id = 0;
  }
  EXPECT_EQ(routing_warnings(summarize(trace))[0], "layer 0: experts 5, 12, 15 received no token");
  const std::vector<std::string> few = routing_warnings(summarize(make_trace(3, 2, 16, 2)));
  ASSERT_EQ(few.size(), 1u);
  EXPECT_EQ(few[0], "3 tokens are too few to judge the balance of 2 layers");
}

TEST(RoutingSummary, refuses_arrays_that_do_not_fit) {
  const auto expect_refused = [](auto change, const char* what) {
    RoutingTrace trace = small_trace();
    change(trace.layers[0]);
    try {
      summarize(trace);
      FAIL() << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid);
      EXPECT_NE(error.text().find("layer 5"), std::string::npos) << error.text();
    }
  };
  expect_refused([](LayerTrace& l) { l.topk_ids.pop_back(); }, "ids too short");
  expect_refused([](LayerTrace& l) { l.topk_weights.pop_back(); }, "weights too short");
  expect_refused([](LayerTrace& l) { l.margin.push_back(0); }, "margin too long");
  expect_refused([](LayerTrace& l) { l.topk_ids[3] = 4; }, "id = E");
  expect_refused([](LayerTrace& l) { l.topk_ids[3] = -2; }, "id = -2");
  expect_refused([](LayerTrace& l) { l.top_k = 0; }, "top_k 0");
  expect_refused([](LayerTrace& l) { l.num_experts = INT32_MAX; }, "num_experts 2^31-1");
  expect_refused([](LayerTrace& l) { l.topk_weights[0] = NAN; }, "weight NaN");
}

TEST(RoutingSummary, json_is_valid_utf8_whatever_the_tokens) {
  const RoutingTrace trace = small_trace();
  const std::string text = to_json(summarize(trace), {"\xff\n", "\xe2\x80\xa8", "\"</script>"}).dump();
  const json::Value parsed = json::parse(text, {.source = "summary"});
  EXPECT_EQ(parsed.find("schema_version")->as_int(), 1);
  const json::Value& layer = parsed.find("layers")->items()[0];
  EXPECT_EQ(layer.find("experts")->items().size(), 4u);
  EXPECT_EQ(layer.find("experts")->items()[0].find("by_count")->items()[0].find("text")->as_string(), "⟨ff⟩↵");
}

}  // namespace
}  // namespace moxie
