#include "infer/measure.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"

namespace moxie {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

std::vector<int32_t> random_tokens(const ModelSpec& spec, int64_t n, std::mt19937_64& random) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) {
    ids.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(spec.vocab_size)));
  }
  return ids;
}

double time_prefill(Engine& engine, int64_t n, std::mt19937_64& random) {
  Sequence sequence(engine, random_tokens(engine.spec(), n, random));
  const auto start = Clock::now();
  engine.prefill(sequence);
  return seconds_since(start);
}

std::vector<double> time_decode(Engine& engine, int64_t n, int64_t batch, std::mt19937_64& random) {
  std::vector<Sequence> sequences;
  std::vector<StepPart> parts;
  for (int64_t b = 0; b < batch; ++b) sequences.emplace_back(engine, random_tokens(engine.spec(), 1, random));
  for (Sequence& sequence : sequences) parts.push_back({&sequence, 1, 1});
  engine.step(parts);
  std::vector<double> seconds;
  for (int64_t i = 0; i < n; ++i) {
    for (Sequence& sequence : sequences) sequence.append(random_tokens(engine.spec(), 1, random));
    const auto start = Clock::now();
    engine.step(parts);
    seconds.push_back(seconds_since(start));
  }
  return seconds;
}

double median(std::vector<double> values) {
  MOXIE_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace moxie
