// Every family against what huggingface/transformers computes: logits, hidden states, attention and feed-forward
// outputs layer by layer, router logits, chosen experts, and greedy text.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/file.h"
#include "base/json.h"
#include "model/runner.h"
#include "spec/config.h"

namespace moxie {
namespace {

constexpr float kTolerance = 1e-4f;  // on logits and activations, f32 weights
constexpr int64_t kBatch = 2, kLength = 48;

std::filesystem::path golden_dir(const std::string& name) {
  return std::filesystem::path(MOXIE_SOURCE_DIR) / "tests/data/golden" / name;
}

class CapturingTap : public Tap {
 public:
  void record(std::string_view name, const View& view) override {
    std::vector<float>& to = taken[std::string(name)];
    for (int64_t row = 0; row < view.num_rows(); ++row) {
      const auto* from = reinterpret_cast<const float*>(static_cast<const char*>(view.data) + row * view.row_bytes);
      to.insert(to.end(), from, from + view.shape.back());
    }
  }
  std::map<std::string, std::vector<float>> taken;
};

class CapturingSink : public RoutingSink {
 public:
  void record(int64_t layer, const Routing& routing) override {
    auto& to = ids[layer];
    to.insert(to.end(), routing.topk_ids, routing.topk_ids + routing.num_tokens * routing.top_k);
    margins[layer].insert(margins[layer].end(), routing.margin, routing.margin + routing.num_tokens);
  }
  std::map<int64_t, std::vector<int32_t>> ids;
  std::map<int64_t, std::vector<float>> margins;
};

float largest_difference(const float* a, const float* b, int64_t n) {
  float most = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float difference = std::fabs(a[i] - b[i]);
    if (!(difference <= most)) most = difference;  // NaN counts
  }
  return most;
}

class Golden : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::filesystem::path dir = golden_dir(GetParam());
    model_ = std::make_unique<Model>(Model::load(dir));
    golden_ = std::make_unique<Checkpoint>(Checkpoint::open(dir / "golden.safetensors"));
    const View& ids = golden_->find("input_ids")->view;
    ASSERT_EQ(ids.shape, (Shape{kBatch, kLength}));
    const auto* data = static_cast<const int64_t*>(ids.data);
    ids_.assign(data, data + kBatch * kLength);
  }

  // One step over both rows of the batch.
  void run() {
    Runner runner(*model_);
    const std::vector<int32_t> pages[kBatch] = {runner.pages(1), runner.pages(1)};
    std::vector<StepSequence> sequences;
    for (int64_t b = 0; b < kBatch; ++b) {
      sequences.push_back({.tokens = std::span<const int32_t>(ids_).subspan(b * kLength, kLength),
                           .pages = pages[static_cast<size_t>(b)],
                           .num_logits = kLength});
    }
    logits_ = runner.step(sequences, {.tap = &tap_, .routing = &sink_});
  }

  // Compares a captured activation with the peer's, if the peer kept it.
  bool matches(const std::string& theirs, const std::string& ours) {
    const Tensor* expected = golden_->find(theirs);
    if (expected == nullptr) return false;
    const std::vector<float>& got = tap_.taken.at(ours);
    EXPECT_EQ(expected->view.shape.num_elems(), static_cast<int64_t>(got.size())) << theirs;
    EXPECT_LE(largest_difference(expected->view.f32(), got.data(), static_cast<int64_t>(got.size())), kTolerance)
        << theirs << " against " << ours;
    return true;
  }

  std::unique_ptr<Model> model_;
  std::unique_ptr<Checkpoint> golden_;
  std::vector<int32_t> ids_;
  std::vector<float> logits_;
  CapturingTap tap_;
  CapturingSink sink_;
};

TEST_P(Golden, logits_match) {
  run();
  const View& expected = golden_->find("logits")->view;
  ASSERT_EQ(expected.shape.num_elems(), static_cast<int64_t>(logits_.size()));
  EXPECT_LE(largest_difference(expected.f32(), logits_.data(), expected.shape.num_elems()), kTolerance);
}

TEST_P(Golden, activations_match_layer_by_layer) {
  run();
  const int64_t layers = model_->spec().num_layers;
  ASSERT_TRUE(matches("hidden_states.0", "embedding"));
  for (int64_t layer = 0; layer < layers; ++layer) {
    const std::string theirs = fmt::format("out.model.layers.{}.", layer), ours = fmt::format("layers.{}.", layer);
    EXPECT_TRUE(matches(theirs + "self_attn.0", ours + "attention"));
    EXPECT_TRUE(matches(theirs + "mlp.0", ours + "ffn") || matches(theirs + "block_sparse_moe.0", ours + "ffn"));
    if (layer + 1 < layers) {
      EXPECT_TRUE(matches(fmt::format("hidden_states.{}", layer + 1), ours + "hidden"));
    }
  }
  EXPECT_TRUE(matches(fmt::format("hidden_states.{}", layers), "final_norm"));
}

// The peer's own choice where it kept one ([T, K] ids), else the highest of its router logits where the choice is by
// the logits alone. Ids count where the margin exceeds the tolerance.
TEST_P(Golden, chosen_experts_match) {
  run();
  for (int64_t layer = 0; layer < model_->spec().num_layers; ++layer) {
    const MoeSpec& ffn = model_->spec().layers[static_cast<size_t>(layer)].ffn;
    if (ffn.is_dense()) continue;
    const int64_t k = ffn.top_k, tokens = kBatch * kLength;
    const std::string prefix = fmt::format("out.model.layers.{}.", layer);
    const Tensor* chosen = golden_->find(prefix + "mlp.router.1");
    if (chosen == nullptr) chosen = golden_->find(prefix + "mlp.gate.0");
    const bool by_id = chosen != nullptr && chosen->view.shape == (Shape{tokens, k}) && k != ffn.num_experts;
    const Tensor* scores = nullptr;
    for (const char* name : {"mlp.gate.0", "block_sparse_moe.gate.0", "block_sparse_moe.router.layer.0"}) {
      const Tensor* found = golden_->find(prefix + name);
      if (found != nullptr && found->view.shape.num_elems() == tokens * ffn.num_experts) scores = found;
    }
    if (scores != nullptr) {
      EXPECT_LE(
          largest_difference(scores->view.f32(), tap_.taken.at(fmt::format("layers.{}.router_logits", layer)).data(),
                             tokens * ffn.num_experts),
          kTolerance);
    }
    const bool by_logits = scores != nullptr && ffn.groups == GroupScore::none && !ffn.select_bias;
    if (!by_id && !by_logits) continue;
    for (int64_t t = 0; t < tokens; ++t) {
      if (sink_.margins[layer][static_cast<size_t>(t)] <= kTolerance) continue;
      std::vector<int32_t> expected(static_cast<size_t>(k));
      if (by_id) {
        const View& v = chosen->view;
        for (int64_t j = 0; j < k; ++j) {
          expected[static_cast<size_t>(j)] = static_cast<int32_t>(static_cast<const int64_t*>(v.data)[t * k + j]);
        }
      } else {
        const float* row = scores->view.f32() + t * ffn.num_experts;
        std::vector<int32_t> order(static_cast<size_t>(ffn.num_experts));
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return row[a] > row[b]; });
        expected.assign(order.begin(), order.begin() + k);
      }
      std::vector<int32_t> got(sink_.ids[layer].begin() + t * k, sink_.ids[layer].begin() + (t + 1) * k);
      std::sort(expected.begin(), expected.end());
      std::sort(got.begin(), got.end());
      EXPECT_EQ(got, expected) << "layer " << layer << " token " << t;
    }
  }
}

TEST_P(Golden, greedy_ids_match) {
  const json::Value golden = json::parse(read_file(golden_dir(GetParam()) / "golden.json", 1 << 20), {});
  if (golden.find("greedy_margin_min")->as_double() <= 0.002) return;  // the peer itself may go either way
  Runner runner(*model_);
  std::vector<int32_t> tokens(ids_.begin(), ids_.begin() + 16);
  const std::vector<int32_t> pages = runner.pages(1);
  std::vector<int32_t> got;
  int64_t cached = 0;
  for (const json::Value& expected : golden.find("greedy_ids")->items()) {
    const StepSequence sequence{.tokens = std::span<const int32_t>(tokens).subspan(static_cast<size_t>(cached)),
                                .start = cached,
                                .pages = pages,
                                .num_logits = 1};
    const std::vector<float> logits = runner.step({&sequence, 1}, {});
    const auto id = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    ASSERT_EQ(id, *expected.as_int()) << "after " << got.size() << " tokens";
    got.push_back(id);
    cached = static_cast<int64_t>(tokens.size());
    tokens.push_back(id);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Golden,
                         testing::Values("mixtral", "mixtral-swa", "qwen2_moe", "qwen3_moe", "olmoe", "phimoe",
                                         "granitemoe", "deepseek_v2", "deepseek_v2-group", "deepseek_v3", "gpt_oss",
                                         "glm4_moe", "llama", "llama3-rope", "mistral", "qwen2", "qwen3", "olmoe-clip",
                                         "phimoe-longrope"),
                         [](const auto& family) {
                           std::string name = family.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace moxie
