#include "quantize/logit_check.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/model.h"

namespace moxie {
namespace {

constexpr int64_t kMostTokens = 32;

// Of a text; where there is no tokenizer, or none that knows its characters (random models), any ids will do.
std::vector<int32_t> ids_for(const ModelSource& source, const ModelSpec& spec) {
  std::vector<int32_t> ids;
  try {
    ids = source.tokenizer().encode(
        "The quick brown fox jumps over the lazy dog. In 1969 two people walked on the moon; since then, nobody has "
        "been back for more than a few days.");
  } catch (const Error&) {
  }
  if (ids.empty()) {
    for (int64_t i = 0; i < kMostTokens; ++i) ids.push_back(static_cast<int32_t>(i * 7919 % spec.vocab_size));
  }
  const auto most = static_cast<size_t>(std::min(kMostTokens, spec.max_position));
  if (ids.size() > most) ids.resize(most);
  return ids;
}

std::vector<float> logits_of(const Model& model, const std::vector<int32_t>& ids, ThreadPool& pool) {
  Arena arena;
  KvCache cache(model.spec(), 1, FormatId::f32);
  const std::vector<int32_t> pages = {cache.take_page()};
  Exec exec{choose_kernel_set(), pool, arena};
  const auto count = static_cast<int64_t>(ids.size());
  const StepSequence sequence{.tokens = ids, .pages = pages, .num_logits = count};
  const float* logits = model.forward(exec, cache, {&sequence, 1}, {});
  return {logits, logits + count * model.spec().vocab_size};
}

// KL(softmax(a) || softmax(b)).
double divergence(const float* a, const float* b, int64_t n) {
  const auto log_sum = [n](const float* x) {
    const double top = *std::max_element(x, x + n);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - top);
    return top + std::log(sum);
  };
  const double of_a = log_sum(a), of_b = log_sum(b);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(a[i] - of_a) * ((a[i] - of_a) - (b[i] - of_b));
  return std::max(sum, 0.0);
}

}  // namespace

LogitCheck check_logits(const std::filesystem::path& want, const std::filesystem::path& got, ThreadPool& pool) {
  const ModelSource source = ModelSource::open(want);
  const Model model = Model::load(source);
  const std::vector<int32_t> ids = ids_for(source, model.spec());
  const std::vector<float> a = logits_of(model, ids, pool), b = logits_of(Model::load(got), ids, pool);
  if (a.size() != b.size()) {
    throw invalid({.where = got.string(), .expected = "the source's vocabulary", .got = "another one"});
  }
  LogitCheck check{.tokens = static_cast<int64_t>(ids.size())};
  check.identical = std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  const int64_t v = model.spec().vocab_size;
  for (int64_t t = 0; t < check.tokens; ++t) {
    const float *x = a.data() + t * v, *y = b.data() + t * v;
    for (int64_t i = 0; i < v; ++i) {
      if (std::isfinite(x[i]) && !std::isfinite(y[i])) {
        throw invalid({.where = got.string() + ": its logits", .expected = "numbers", .got = "NaN or infinity"});
      }
      check.largest = std::max(check.largest, std::fabs(static_cast<double>(x[i]) - y[i]));
    }
    check.mean_divergence += divergence(x, y, v) / static_cast<double>(check.tokens);
    check.same_best += std::max_element(x, x + v) - x == std::max_element(y, y + v) - y;
  }
  return check;
}

}  // namespace moxie
