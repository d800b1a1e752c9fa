#include "spec/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace moxie {
namespace {

bool is_long(const RopeSpec& rope, int64_t sequence_length) {
  return static_cast<double>(sequence_length) > rope.original_max_position;
}

// The dimension that makes `turns` whole turns over the original context (equation in arXiv 2309.00071, appendix A.2).
double yarn_dimension(const RopeSpec& rope, double turns) {
  return static_cast<double>(rope.dim) * std::log(rope.original_max_position / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(rope.theta));
}

// Dimensions that turn often are kept, those that never complete a turn are slowed by `factor`, a ramp between.
void scale_yarn(const RopeSpec& rope, const std::vector<float>& periods, std::vector<float>& frequencies) {
  double low = yarn_dimension(rope, rope.beta_fast);
  double high = yarn_dimension(rope, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rope.dim - 1));
  if (low == high) high += 0.001;
  const auto factor = static_cast<float>(rope.factor);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float position = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float kept = 1 - std::clamp(position, 0.0f, 1.0f);
    const float slowed = 1 / (factor * periods[i]);
    frequencies[i] = slowed * (1 - kept) + frequencies[i] * kept;
  }
}

}  // namespace

std::vector<double> rope_slowdowns(const RopeSpec& rope) {
  if (rope.scaling != RopeScaling::llama3) return rope.slowdowns;
  std::vector<double> slowdowns;
  for (int64_t i = 0; i < rope.dim; i += 2) {
    const double exponent = static_cast<double>(i) / static_cast<double>(rope.dim);
    const double wave = 2 * std::numbers::pi * std::pow(rope.theta, exponent);
    const double turns = rope.original_max_position / wave;
    const double kept = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
    const double blend = std::clamp(kept, 0.0, 1.0);
    slowdowns.push_back(1 / ((1 - blend) / rope.factor + blend));
  }
  return slowdowns;
}

std::vector<float> rope_inverse_frequencies(const RopeSpec& rope, int64_t sequence_length) {
  MOXIE_CHECK(rope.dim > 0 && rope.dim % 2 == 0);
  std::vector<float> periods(static_cast<size_t>(rope.dim / 2));
  for (size_t i = 0; i < periods.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rope.dim);
    periods[i] = static_cast<float>(std::pow(static_cast<double>(static_cast<float>(rope.theta)), exponent));
  }
  if (rope.scaling == RopeScaling::longrope) {
    const std::vector<double>& factors = is_long(rope, sequence_length) ? rope.long_factors : rope.short_factors;
    MOXIE_CHECK(factors.size() == periods.size());
    for (size_t i = 0; i < periods.size(); ++i) periods[i] *= static_cast<float>(factors[i]);
  }
  std::vector<float> frequencies(periods.size());
  for (size_t i = 0; i < periods.size(); ++i) frequencies[i] = 1 / periods[i];
  if (rope.scaling == RopeScaling::linear) {
    for (float& frequency : frequencies) frequency /= static_cast<float>(rope.factor);
  }
  if (rope.scaling == RopeScaling::yarn) scale_yarn(rope, periods, frequencies);
  const std::vector<double> slowdowns = rope_slowdowns(rope);
  MOXIE_CHECK(slowdowns.empty() || slowdowns.size() == frequencies.size());
  for (size_t i = 0; i < slowdowns.size(); ++i) frequencies[i] /= static_cast<float>(slowdowns[i]);
  return frequencies;
}

double rope_attention_factor(const RopeSpec& rope, int64_t sequence_length) {
  if (rope.scaling == RopeScaling::longrope && !is_long(rope, sequence_length)) return rope.short_attention_factor;
  return rope.attention_factor;
}

}  // namespace moxie
