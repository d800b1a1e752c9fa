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

// Low and high frequencies of Llama 3.1: long waves are slowed by `factor`, short ones kept, those between blended.
void scale_llama3(const RopeSpec& rope, std::vector<float>& frequencies) {
  const auto factor = static_cast<float>(rope.factor);
  const auto low = static_cast<float>(rope.low_freq_factor);
  const auto range = static_cast<float>(rope.high_freq_factor - rope.low_freq_factor);
  const auto context = static_cast<float>(rope.original_max_position);
  const auto longest_kept = static_cast<float>(rope.original_max_position / rope.high_freq_factor);
  const auto shortest_slowed = static_cast<float>(rope.original_max_position / rope.low_freq_factor);
  for (float& frequency : frequencies) {
    const float wavelength = static_cast<float>(2 * std::numbers::pi) / frequency;
    if (wavelength > shortest_slowed) {
      frequency /= factor;
    } else if (wavelength >= longest_kept) {
      const float smooth = (context / wavelength - low) / range;
      frequency = (1 - smooth) * frequency / factor + smooth * frequency;
    }
  }
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
  if (rope.scaling == RopeScaling::llama3) scale_llama3(rope, frequencies);
  if (rope.scaling == RopeScaling::yarn) scale_yarn(rope, periods, frequencies);
  MOXIE_CHECK(rope.slowdowns.empty() || rope.slowdowns.size() == frequencies.size());
  for (size_t i = 0; i < rope.slowdowns.size(); ++i) frequencies[i] /= static_cast<float>(rope.slowdowns[i]);
  return frequencies;
}

double rope_attention_factor(const RopeSpec& rope, int64_t sequence_length) {
  if (rope.scaling == RopeScaling::longrope && !is_long(rope, sequence_length)) return rope.short_attention_factor;
  return rope.attention_factor;
}

}  // namespace moxie
