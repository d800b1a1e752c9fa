// The routing trace file: what is written reads back, also with numpy as the document says; what is malformed is named.
#include "store/routing_trace.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "store/safetensors.h"
#include "store_test_util.h"

namespace moxie {
namespace {

RoutingTrace small_trace() {
  RoutingTrace trace{.token_ids = {5, 0, 7}};
  trace.layers.push_back({.layer = 1,
                          .num_experts = 4,
                          .top_k = 2,
                          .topk_ids = {0, 3, 2, -1, 1, 0},
                          .topk_weights = {0.5f, 0.5f, 1, 0, 0.75f, 0.25f},
                          .margin = {0.1f, 0.2f, 0.3f}});
  trace.layers.push_back({.layer = 10,
                          .num_experts = 1,
                          .top_k = 1,
                          .topk_ids = {0, 0, 0},
                          .topk_weights = {1, 1, 1},
                          .margin = {INFINITY, INFINITY, INFINITY}});
  trace.metadata = {{"model_hash", "0123"}, {"router_record", "{\"top_k\": 2}"}, {"text_source", "a \"text\""}};
  return trace;
}

TEST(RoutingTrace, reads_back_what_was_written) {
  TemporaryDirectory directory;
  const RoutingTrace trace = small_trace();
  write_routing_trace(directory / "t.safetensors", trace);
  const RoutingTrace read = read_routing_trace(directory / "t.safetensors");
  EXPECT_EQ(read.token_ids, trace.token_ids);
  EXPECT_EQ(read.metadata, trace.metadata);
  ASSERT_EQ(read.layers.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(read.layers[i].layer, trace.layers[i].layer);
    EXPECT_EQ(read.layers[i].num_experts, trace.layers[i].num_experts);
    EXPECT_EQ(read.layers[i].top_k, trace.layers[i].top_k);
    EXPECT_EQ(read.layers[i].topk_ids, trace.layers[i].topk_ids);
    EXPECT_EQ(read.layers[i].topk_weights, trace.layers[i].topk_weights);
    EXPECT_EQ(read.layers[i].margin, trace.layers[i].margin);
  }
}

TEST(RoutingTrace, an_empty_text_has_a_trace) {
  TemporaryDirectory directory;
  RoutingTrace trace;
  trace.layers.push_back({.layer = 0, .num_experts = 8, .top_k = 2});
  write_routing_trace(directory / "t.safetensors", trace);
  const RoutingTrace read = read_routing_trace(directory / "t.safetensors");
  EXPECT_TRUE(read.token_ids.empty());
  EXPECT_EQ(read.layers.at(0).top_k, 2);
}

/// The python block of docs/ROUTING_TRACE.md, as it stands there.
std::string documented_python() {
  const std::string document = bytes_of(std::filesystem::path(MOXIE_SOURCE_DIR) / "docs/ROUTING_TRACE.md");
  const size_t begin = document.find("```python\n") + 10;
  return document.substr(begin, document.find("```", begin) - begin);
}

TEST(RoutingTrace, three_lines_of_numpy_read_it) {
  if (std::system("/usr/bin/python3 -c 'import numpy' 2>/dev/null") != 0) GTEST_SKIP() << "no numpy";
  TemporaryDirectory directory;
  write_routing_trace(directory / "trace.safetensors", small_trace());
  directory.put("read.py", documented_python() + R"(
assert t["token_ids"].tolist() == [5, 0, 7]
assert t["layers.1.topk_ids"].tolist() == [[0, 3], [2, -1], [1, 0]]
assert t["layers.1.topk_weights"].tolist() == [[0.5, 0.5], [1, 0], [0.75, 0.25]]
assert t["layers.10.margin"].tolist() == [np.inf] * 3
assert meta["layers.1.num_experts"] == "4" and meta["text_source"] == 'a "text"'
)");
  EXPECT_EQ(std::system(fmt::format("cd {} && /usr/bin/python3 read.py", directory.path().string()).c_str()), 0);
}

// ---- malformed traces ----

/// Writes the small trace after `change`, and returns what reading it says.
template <typename Change>
std::string refusal(Change change) {
  TemporaryDirectory directory;
  RoutingTrace trace = small_trace();
  change(trace);
  write_routing_trace(directory / "t.safetensors", trace);
  return refusal_of([&] { read_routing_trace(directory / "t.safetensors"); });
}

TEST(RoutingTrace, refuses_ids_out_of_range) {
  EXPECT_TRUE(says(refusal([](RoutingTrace& t) { t.layers[0].topk_ids[3] = 4; }),
                   {"t.safetensors: layers.1.topk_ids[1, 1]", "-1 to 3", "got 4"}));
  EXPECT_TRUE(says(refusal([](RoutingTrace& t) { t.layers[0].topk_ids[4] = -2; }), {"topk_ids[2, 0]", "got -2"}));
  EXPECT_TRUE(says(refusal([](RoutingTrace& t) { t.token_ids[1] = -1; }), {"token_ids[1]", "got -1"}));
  EXPECT_TRUE(says(refusal([](RoutingTrace& t) { t.layers[0].num_experts = 1; }), {"layers.1.topk_ids", "got 2"}));
}

/// Rewrites a good trace with tensors and metadata changed by hand, and returns what reading it says.
template <typename Change>
std::string rewritten_refusal(Change change) {
  TemporaryDirectory directory;
  write_routing_trace(directory / "good.safetensors", small_trace());
  const Checkpoint good = Checkpoint::open(directory / "good.safetensors");
  std::map<std::string, View> tensors;
  for (const TensorEntry& entry : good.entries()) tensors[entry.name] = entry.tensor.view;
  std::map<std::string, std::string> metadata = good.metadata();
  change(tensors, metadata);
  std::vector<NamedView> views;
  for (const auto& [name, view] : tensors) views.push_back({name, view});
  write_safetensors(directory / "t.safetensors", views, metadata);
  return refusal_of([&] { read_routing_trace(directory / "t.safetensors"); });
}

TEST(RoutingTrace, refuses_another_format_or_version) {
  EXPECT_TRUE(says(rewritten_refusal([](auto&, auto& metadata) { metadata["format"] = "pt"; }),
                   {"metadata \"format\"", "moxie.routing_trace", "got \"pt\""}));
  EXPECT_TRUE(says(rewritten_refusal([](auto&, auto& metadata) { metadata["format_version"] = "2"; }),
                   {"format_version", "got \"2\""}));
  EXPECT_TRUE(says(rewritten_refusal([](auto&, auto& metadata) { metadata.clear(); }), {"\"format\"", "got none"}));
}

TEST(RoutingTrace, refuses_tensors_missing_misshaped_or_unknown) {
  EXPECT_TRUE(says(rewritten_refusal([](auto& tensors, auto&) { tensors.erase("token_ids"); }), {"token_ids", "none"}));
  EXPECT_TRUE(says(rewritten_refusal([](auto& tensors, auto&) { tensors.erase("layers.1.margin"); }),
                   {"layers.1.margin", "none"}));
  EXPECT_TRUE(says(rewritten_refusal([](auto& tensors, auto&) { tensors["layers.1.margin"].shape = {2}; }),
                   {"layers.1.margin", "shape [3]", "[2]"}));
  EXPECT_TRUE(says(rewritten_refusal([](auto& tensors, auto&) { tensors["layers.1.topk_ids"].format = FormatId::u32; }),
                   {"layers.1.topk_ids", "I32 of rank 2", "U32 [3, 2]"}));
  EXPECT_TRUE(
      says(rewritten_refusal([](auto& tensors, auto&) { tensors["x"] = tensors["token_ids"]; }), {"tensor \"x\""}));
  EXPECT_TRUE(says(rewritten_refusal([](auto&, auto& metadata) { metadata.erase("layers.1.num_experts"); }),
                   {"tensor \"layers.1."}));
}

TEST(RoutingTrace, refuses_expert_counts_that_are_none) {
  for (const char* count : {"0", "-4", "4.0", "", "99999999999", "4 "}) {
    EXPECT_TRUE(says(rewritten_refusal([&](auto&, auto& metadata) { metadata["layers.1.num_experts"] = count; }),
                     {"metadata \"layers.1.num_experts\"", "an integer from 1"}))
        << count;
  }
}

}  // namespace
}  // namespace moxie
