// The learning rate of a step: warm-up, then constant, cosine, linear, or constant with a linear end (WSD).
#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "train/config.h"

namespace moxie {
namespace {

double warmup_steps(const LoopConfig& config) {
  return std::round(config.warmup < 1 ? config.warmup * static_cast<double>(config.steps) : config.warmup);
}

}  // namespace

double learning_rate(const LoopConfig& config, int64_t step) {
  MOXIE_CHECK(step >= 1);
  const auto steps = static_cast<double>(config.steps);
  const double warmup = warmup_steps(config);
  const auto now = std::min(static_cast<double>(step), steps);
  if (now <= warmup) return config.lr * now / warmup;
  const auto toward_min = [&](double kept) { return config.min_lr + (config.lr - config.min_lr) * kept; };
  const double progress = (now - warmup) / (steps - warmup);
  switch (config.schedule) {
    case Schedule::constant:
      return config.lr;
    case Schedule::cosine:
      return toward_min(0.5 * (1 + std::cos(std::numbers::pi * progress)));
    case Schedule::linear:
      return toward_min(1 - progress);
    case Schedule::wsd:
      return toward_min(std::min(1.0, (steps - now) / std::max(1.0, std::round(config.decay * steps))));
  }
  return config.lr;
}

double rate_decay(const LoopConfig& config, int64_t step) {
  return static_cast<double>(step) <= warmup_steps(config) ? 1 : learning_rate(config, step) / config.lr;
}

}  // namespace moxie
