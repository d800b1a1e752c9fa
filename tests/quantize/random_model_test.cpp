// Models of random weights: that their files are read, that equal arguments give equal bytes, how their numbers and
// their routing are distributed.
#include "quantize/random_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

#include "base/file.h"
#include "format/block.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "model/row_source.h"
#include "quantize/block_pool.h"
#include "quantize/convert.h"
#include "quantize/routing_target.h"
#include "spec/config.h"
#include "spec/shapes.h"
#include "store/routing_trace.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTiny = R"({"model_type": "mixtral", "vocab_size": 512, "hidden_size": 256,
  "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
  "num_local_experts": 16, "num_experts_per_tok": 2, "max_position_embeddings": 1024, "tie_word_embeddings": false})";

fs::path write(const std::string& name, const char* config, const RandomModelOptions& options, int threads = 2) {
  const fs::path path = fs::path(testing::TempDir()) / ("moxie_random_" + name + ".gguf");
  write_random_model(random_model(parse_config(config, "tiny"), "tiny", options), path, threads);
  return path;
}

RandomModelOptions options_of(const std::string& mix, uint64_t seed = 1, const std::string& routing = "") {
  return {.mix = find_mix(mix).value(), .seed = seed, .routing = routing};
}

std::string bytes_of(const fs::path& path) {
  return read_file(path, 1 << 28);
}

TEST(RandomModel, equal_arguments_give_equal_bytes_on_any_number_of_threads) {
  const std::string one = bytes_of(write("a", kTiny, options_of("q4_k_m"), 1));
  EXPECT_EQ(bytes_of(write("b", kTiny, options_of("q4_k_m"), 3)), one);
  EXPECT_NE(bytes_of(write("c", kTiny, options_of("q4_k_m", 2))), one);
}

TEST(RandomModel, packed_rows_are_the_plain_ones) {
  RandomModelOptions pack = options_of("q4_k_m");
  pack.pack = true;
  const GgufFile plain = GgufFile::open(write("plain", kTiny, options_of("q4_k_m"))),
                 packed = GgufFile::open(write("packed", kTiny, pack));
  ASSERT_EQ(plain.entries().size(), packed.entries().size());
  for (size_t i = 0; i < plain.entries().size(); ++i) {
    const TensorEntry &want = plain.entries()[i], &got = packed.entries()[i];
    ASSERT_EQ(got.name, want.name);
    const View& view = want.tensor.view;
    EXPECT_EQ(got.tensor.view.packed,
              view.shape.rank() > 1 && is_block_format(view.format) && want.name != "token_embd.weight")
        << want.name;
    ASSERT_EQ(got.tensor.view.format, view.format);
    std::string rows[2];
    for (const int side : {0, 1}) {
      rows[side].resize(static_cast<size_t>(view.num_bytes()));
      RowSource((side == 0 ? want : got).tensor.view).copy(view.format, 0, view.num_rows(), rows[side].data());
    }
    EXPECT_TRUE(rows[0] == rows[1]) << want.name;
  }
}

TEST(RandomModel, can_be_converted_though_its_vocabulary_knows_no_text) {
  const fs::path out = fs::path(testing::TempDir()) / "moxie_random_converted.moxie";
  fs::remove(out);
  ConvertOptions options;
  options.plan.pack = true;
  const ConvertReport report = convert_to_gguf(write("to_convert", kTiny, options_of("q8_0")), out, options);
  ASSERT_TRUE(report.logits.has_value());
  EXPECT_GT(report.logits->tokens, 1);
  EXPECT_TRUE(report.logits->identical);
}

TEST(RandomModel, rows_differ_and_have_the_wanted_deviation) {
  for (const char* mix : {"q4_k_m", "q8_0", "bf16", "f32"}) {
    const GgufFile file = GgufFile::open(write("rows", kTiny, options_of(mix)));
    for (const TensorEntry& entry : file.entries()) {
      const View& view = entry.tensor.view;
      const bool embedding = entry.name == "token_embd.weight";
      if (view.shape.rank() < 2) continue;
      std::set<std::string> rows;
      double squares = 0;
      std::vector<float> row(static_cast<size_t>(view.shape.back()));
      for (int64_t i = 0; i < view.num_rows(); ++i) {
        const char* data = static_cast<const char*>(view.data) + i * view.row_bytes;
        rows.emplace(data, static_cast<size_t>(view.row_bytes));
        find_kernel_set("ref")->decode_row(view.format, data, nullptr, view.shape.back(), row.data());
        for (const float x : row) squares += static_cast<double>(x) * x;
      }
      // a row of one block is one of 1024; of more blocks hardly two are alike
      const int64_t blocks = view.shape.back() / std::max(32, format_info(view.format).block_elems);
      const auto num_rows = static_cast<size_t>(view.num_rows());
      EXPECT_GE(rows.size(), blocks < 4 ? std::min<size_t>(num_rows / 3, 800) : num_rows) << mix << " " << entry.name;
      const double deviation = std::sqrt(squares / static_cast<double>(view.shape.num_elems()));
      const double want = (embedding ? 30 : 1) / std::sqrt(static_cast<double>(view.shape.back()));
      EXPECT_NEAR(deviation / want, 1, 0.05) << mix << " " << entry.name;
    }
  }
}

TEST(RandomModel, every_named_shape_is_read_back) {
  for (const std::string& name : shape_names()) {
    const ModelSpec spec = parse_config(*find_shape(name), name);
    for (const char* mix : {"q4_k_m", "mxfp4"}) {
      const RandomModel model = random_model(spec, name, options_of(mix));
      EXPECT_GT(model.num_bytes(), 0) << name;
    }
  }
  EXPECT_FALSE(find_shape("small-ish"));
}

TEST(RandomModel, named_shapes_have_the_published_sizes) {
  const std::pair<const char*, int64_t> kSizes[] = {{"olmoe-1b-7b", 6919161856},
                                                    {"qwen3-30b-a3b", 30532122624},
                                                    {"mixtral-8x7b", 46702792704},
                                                    {"deepseek-v2-lite", 15706484224},
                                                    {"gpt-oss-20b", 20914757184}};
  for (const auto& [name, size] : kSizes) {
    const RandomModel model = random_model(parse_config(*find_shape(name), name), name, options_of("f16"));
    int64_t elems = 0;
    for (const MadeTensor& tensor : model.tensors) elems += tensor.shape.num_elems();
    EXPECT_EQ(elems, size) << name;
  }
}

TEST(RandomModel, a_dense_twin_is_as_wide_as_the_experts_of_a_token) {
  for (const std::string& name : shape_names()) {
    if (!name.ends_with("-dense")) continue;
    const ModelSpec twin = parse_config(*find_shape(name), name);
    std::string of = name.substr(0, name.size() - 6);
    if (of == "olmoe-1b-7b") of = "olmoe-as-qwen3moe";
    const ModelSpec moe = parse_config(*find_shape(of), of);
    const MoeSpec& ffn = moe.layers[0].ffn;
    EXPECT_EQ(twin.layers[0].ffn.moe_intermediate_size, ffn.top_k * ffn.moe_intermediate_size) << name;
    EXPECT_EQ(twin.attention, moe.attention) << name;
    EXPECT_EQ(twin.vocab_size, moe.vocab_size);
    EXPECT_EQ(twin.num_layers, moe.num_layers);
  }
}

// Shares of assignments of every layer when the model runs 512 different tokens, each alone.
std::vector<std::vector<double>> measured_loads(const fs::path& path) {
  const Model model = Model::load(path);
  const ModelSpec& spec = model.spec();
  ThreadPool pool(2);
  Arena arena;
  KvCache cache(spec, 512, FormatId::f32);
  std::vector<MoeStats> stats(spec.layers.size());
  for (MoeStats& layer : stats) layer.reset(spec.layers[0].ffn.num_experts);
  std::vector<int32_t> tokens(512), pages(512);
  std::iota(tokens.begin(), tokens.end(), 0);
  std::vector<StepSequence> sequences;
  for (size_t i = 0; i < tokens.size(); ++i) {
    pages[i] = cache.take_page();
    sequences.push_back({.tokens = std::span(tokens).subspan(i, 1), .pages = std::span(pages).subspan(i, 1)});
  }
  Exec exec{choose_kernel_set(), pool, arena};
  model.forward(exec, cache, sequences, {.stats = &stats, .every_row = true});
  std::vector<std::vector<double>> loads;
  for (const MoeStats& layer : stats) {
    auto& own = loads.emplace_back();
    for (const int64_t count : layer.tokens_per_expert) own.push_back(static_cast<double>(count) / 1024);
  }
  return loads;
}

// Half the summed differences: the share of assignments that would have to move.
double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::fabs(a[i] - b[i]) / 2;
  return sum;
}

TEST(RandomModel, its_router_spreads_tokens_as_asked) {
  const ModelSpec spec = parse_config(kTiny, "tiny");
  for (const char* routing : {"uniform", "zipf:1"}) {
    const ExpertLoads want = expert_loads(routing, spec, 1);
    const auto found = measured_loads(write("spread", kTiny, options_of("q8_0", 1, routing)));
    for (size_t layer = 0; layer < want.size(); ++layer) {
      EXPECT_LT(distance(found[layer], want[layer]), 0.1) << routing << " layer " << layer;
    }
  }
  // no accident: the one's loads are far from the other's
  EXPECT_GT(distance(expert_loads("uniform", spec, 1)[0], expert_loads("zipf:1", spec, 1)[0]), 0.25);
}

TEST(RandomModel, sizes_beyond_all_machines_are_refused) {
  const auto with = [](const char* key, const char* was, const char* is) {
    std::string config = kTiny;
    const std::string from = fmt::format("\"{}\": {}", key, was);
    return config.replace(config.find(from), from.size(), fmt::format("\"{}\": {}", key, is));
  };
  for (const std::string& config :
       {with("num_local_experts", "16", "16777216"), with("vocab_size", "512", "16777216")}) {
    const ModelSpec spec = parse_config(config, "huge");
    EXPECT_THROW(random_model(spec, "huge", options_of("q4_k_m")), Error);
    EXPECT_THROW(random_model(spec, "huge", options_of("q4_k_m", 1, "zipf:1")), Error);
  }
}

TEST(RoutingTarget, a_trace_gives_its_loads) {
  RoutingTrace trace{.token_ids = {1, 2}, .layers = {}, .metadata = {}};
  LayerTrace layer{.layer = 1, .num_experts = 16, .top_k = 2, .topk_ids = {3, 5, 3, 7}};
  layer.topk_weights.assign(4, 0.5f);
  layer.margin.assign(2, 1.0f);
  trace.layers = {layer};
  const fs::path path = fs::path(testing::TempDir()) / "moxie_random_trace.safetensors";
  write_routing_trace(path, trace);
  const ExpertLoads loads = expert_loads(path.string(), parse_config(kTiny, "tiny"), 1);
  EXPECT_TRUE(loads[0].empty());
  ASSERT_EQ(loads[1].size(), 16u);
  EXPECT_NEAR(loads[1][3], 0.475, 1e-9);  // half, but no expert is in every choice
  EXPECT_NEAR(loads[1][5], 0.2625, 1e-9);
  EXPECT_EQ(loads[1][0], 0);
}

TEST(RoutingTarget, what_cannot_be_is_refused) {
  const ModelSpec spec = parse_config(kTiny, "tiny");
  for (const char* text : {"zipf", "zipf:", "zipf:x", "zipf:-1", "zipf:11", "zipf:nan", "zipf:1,", "even", "/"}) {
    EXPECT_THROW(expert_loads(text, spec, 1), Error) << text;
  }
  const ModelSpec other = parse_config(*find_shape("small"), "small");
  RoutingTrace trace{.token_ids = {1}, .layers = {}, .metadata = {}};
  trace.layers.push_back(
      {.layer = 0, .num_experts = 16, .top_k = 1, .topk_ids = {3}, .topk_weights = {1}, .margin = {1}});
  const fs::path path = fs::path(testing::TempDir()) / "moxie_random_other_trace.safetensors";
  write_routing_trace(path, trace);
  EXPECT_THROW(expert_loads(path.string(), other, 1), Error);
}

TEST(RoutingTarget, offsets_lead_to_the_loads) {
  const std::vector<double> loads = {0.4, 0.3, 0.2, 0.1, 0, 0};
  const std::vector<double> offsets = offsets_for(loads, 2, 0.7, 3);
  const Rng rng(99, 1);  // other tokens than those it was found with
  std::vector<double> found(loads.size());
  constexpr int kTokens = 4000;
  for (int t = 0; t < kTokens; ++t) {
    std::vector<std::pair<double, size_t>> token;
    for (size_t e = 0; e < loads.size(); ++e) {
      token.emplace_back(offsets[e] + 0.7 * near_normal(rng, static_cast<uint64_t>(t) * loads.size() + e), e);
    }
    std::sort(token.rbegin(), token.rend());
    for (int k = 0; k < 2; ++k) found[token[static_cast<size_t>(k)].second] += 0.5 / kTokens;
  }
  for (size_t e = 0; e < loads.size(); ++e) EXPECT_NEAR(found[e], loads[e], 0.03) << e;
}

TEST(NearNormal, has_the_moments_of_a_normal) {
  const Rng rng(5, 5);
  double sum = 0, squares = 0, beyond = 0;
  constexpr int kCount = 100000;
  for (int i = 0; i < kCount; ++i) {
    const double x = near_normal(rng, static_cast<uint64_t>(i));
    sum += x;
    squares += x * x;
    beyond += std::fabs(x) > 2;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.015);
  EXPECT_NEAR(squares / kCount, 1, 0.02);
  EXPECT_NEAR(beyond / kCount, 0.0455, 0.003);
}

}  // namespace
}  // namespace moxie
