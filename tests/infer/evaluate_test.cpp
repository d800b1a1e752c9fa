// Evaluation: the windows of the definition, one by one by brute force, and the figures transformers got for moe-7m.
#include "infer/evaluate.h"

#include <cmath>

#include "infer/support.h"

namespace moxie::test {
namespace {

const auto kSilent = [](double) {};

TEST(NegativeLogLikelihood, is_minus_log_softmax_in_double) {
  const std::vector<float> logits = {1.5f, -2.25f, 0.125f, 7.75f, 7.5f};
  double total = 0;
  for (const float logit : logits) total += std::exp(double{logit});
  for (size_t id = 0; id < logits.size(); ++id) {
    EXPECT_NEAR(negative_log_likelihood(logits, static_cast<int32_t>(id)),
                -std::log(std::exp(double{logits[id]}) / total), 1e-12);
  }
}

TEST(NegativeLogLikelihood, survives_logits_whose_exponentials_would_overflow) {
  EXPECT_DOUBLE_EQ(negative_log_likelihood(std::vector<float>{5000, 5000}, 1), std::log(2.0));
  EXPECT_DOUBLE_EQ(negative_log_likelihood(std::vector<float>{-5000, -5001}, 0), std::log1p(std::exp(-1.0)));
}

struct Expected {
  double nats = 0;
  int64_t tokens = 0;
  std::vector<bool> predicted;
};

// Window i reads tokens s*i .. s*i + n and predicts all but the first; each token counts once, in the first window that
// predicts it; every window runs alone.
Expected window_by_window(const std::vector<int32_t>& ids, size_t n, size_t stride) {
  Engine engine(moe_7m(), {.threads = 1});
  Expected expected;
  expected.predicted.resize(ids.size());
  std::vector<float> logits(n * 256);
  for (size_t begin = 0; begin + n < ids.size(); begin += stride) {
    all_logits(engine, std::span(ids).subspan(begin, n), logits.data());
    for (size_t i = 1; i <= n; ++i) {
      if (expected.predicted[begin + i]) continue;
      expected.predicted[begin + i] = true;
      expected.nats += negative_log_likelihood(std::span(logits).subspan((i - 1) * 256, 256), ids[begin + i]);
      ++expected.tokens;
    }
  }
  return expected;
}

TEST(Evaluate, windows_are_those_of_the_definition) {
  const std::vector<int32_t> ids = text_ids("drama", 100, 203);
  for (const auto& [n, stride] : std::vector<std::pair<size_t, size_t>>{
           {50, 50}, {50, 20}, {50, 49}, {50, 1}, {1, 1}, {101, 101}, {202, 202}, {202, 7}, {67, 33}}) {
    Engine engine(moe_7m(), {.threads = 2});
    const EvalResult result =
        evaluate(engine, ids, {.context = static_cast<int64_t>(n), .stride = static_cast<int64_t>(stride)}, kSilent);
    const Expected expected = window_by_window(ids, n, stride);
    EXPECT_EQ(result.tokens, expected.tokens) << n << " " << stride;
    EXPECT_EQ(result.predicted, expected.predicted) << n << " " << stride;
    EXPECT_NEAR(result.nats, expected.nats, 1e-9 * expected.nats) << n << " " << stride;
  }
}

TEST(Evaluate, a_last_short_window_is_dropped) {
  Engine engine(moe_7m(), {.threads = 1});
  const std::vector<int32_t> ids = text_ids("drama", 0, 100);
  const auto tokens = [&](size_t n) {
    return evaluate(engine, std::span(ids).first(n), {.context = 20, .stride = 20}, kSilent).tokens;
  };
  EXPECT_EQ(tokens(21), 20);
  EXPECT_EQ(tokens(40), 20);  // the second window lacks its last token
  EXPECT_EQ(tokens(41), 40);
}

TEST(Evaluate, a_cache_with_little_room_changes_no_figure) {
  const std::vector<int32_t> ids = text_ids("drama", 0, 400);
  Engine roomy(moe_7m(), {.threads = 1}), tight(moe_7m(), {.threads = 1, .cache_tokens = 64, .step_tokens = 17});
  const EvalOptions options{.context = 60, .stride = 45};
  EXPECT_EQ(evaluate(roomy, ids, options, kSilent).nats, evaluate(tight, ids, options, kSilent).nats);
}

TEST(Evaluate, windows_that_cannot_be_are_refused) {
  Engine engine(moe_7m(), {.threads = 1});
  const std::vector<int32_t> ids = text_ids("drama", 0, 50);
  const auto code = [&](int64_t n, int64_t stride) {
    const auto refusal = refusal_of([&] { evaluate(engine, ids, {.context = n, .stride = stride}, kSilent); });
    return refusal ? refusal->code : ErrorCode::runtime;
  };
  EXPECT_EQ(code(0, 1), ErrorCode::usage);
  EXPECT_EQ(code(1025, 1), ErrorCode::usage);
  EXPECT_EQ(code(20, 21), ErrorCode::usage);
  EXPECT_EQ(code(20, 0), ErrorCode::usage);
  EXPECT_EQ(code(50, 50), ErrorCode::invalid);  // 50 predictions need 51 tokens
}

class EvaluatePeer : public testing::TestWithParam<std::string> {};

TEST_P(EvaluatePeer, moe_7m_predicts_each_domain_as_well_as_transformers_found) {
  const json::Value peer = json::parse(read_file(bundled("moe-7m") / "peer.json", 1 << 20), {.source = "peer.json"});
  Engine engine(moe_7m(), {.kernels = find_kernel_set(GetParam())});
  int domains = 0;
  for (const json::Member& each : peer.find("valid")->members()) {
    const int64_t bytes = *each.value.find("bytes")->as_int();
    const std::vector<int32_t> ids = text_ids(each.key, 0, std::string::npos);
    const EvalResult result = evaluate(engine, ids, {.context = 256, .stride = 256}, kSilent);
    EXPECT_EQ(result.tokens, bytes) << each.key;
    EXPECT_NEAR(result.nats / static_cast<double>(bytes), each.value.find("nats_per_byte")->as_double(), 0.0005)
        << each.key;
    ++domains;
  }
  EXPECT_EQ(domains, 7);
}

// Not the portable set: it would take minutes, and its logits are held to the goldens and to the other sets elsewhere.
std::vector<std::string> fast_sets() {
  std::vector<std::string> names = kernel_sets_here();
  if (names.size() > 1) std::erase(names, "ref");
  return names;
}

INSTANTIATE_TEST_SUITE_P(Sets, EvaluatePeer, testing::ValuesIn(fast_sets()), [](const auto& set) { return set.param; });

}  // namespace
}  // namespace moxie::test
