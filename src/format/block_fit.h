// Searches for the scales of a block by weighted least squares; knows levels, no layout. For the encoders of this room.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "format/codec.h"

namespace moxie::block {

/// To the nearest integer, ties to even, for |value| < 2^22: the sum drops the fraction.
inline float round_even(float value) noexcept {
  return (value + 12582912.0f) - 12582912.0f;
}

inline float clamp(float value, float low, float high) noexcept {
  value = value < low ? low : value;
  return value > high ? high : value;
}

/// Below this all elements of a block are zero to every format with an f16 scale.
inline constexpr float kTiny = 1e-15f;

/// f16 of a scale: finite, and zero only where the scale is, since any step serves the block better than none.
inline uint16_t scale_to_f16(float scale) noexcept {
  const uint16_t bits = f32_to_f16(clamp(scale, -65504.0f, 65504.0f));
  if ((bits & 0x7fff) != 0 || std::fabs(scale) < kTiny) return bits;
  return static_cast<uint16_t>(bits | 1);
}

/// x within [low, high] with NaN as 0, and positive weights of at most 1.
inline void prepare(const float* x, const float* importance, int num, float low, float high, float* out,
                    float* weight) noexcept {
  for (int i = 0; i < num; ++i) out[i] = x[i] == x[i] ? clamp(x[i], low, high) : 0.0f;
  float largest = 0;
  for (int i = 0; i < num && importance != nullptr; ++i) {
    if (importance[i] > largest) largest = importance[i];
  }
  largest = std::min(largest, 1e30f);
  // The floor keeps the sums away from zero where an element counts for nothing.
  for (int i = 0; i < num; ++i) {
    const float share = largest > 1e-30f ? importance[i] / largest : 1.0f;
    weight[i] = share > 1e-6f ? std::min(share, 1.0f) : 1e-6f;
  }
}

/// Levels kLo .. kHi, evenly spaced.
template <int kLo, int kHi>
struct IntLevels {
  static constexpr float kLow = kLo, kHigh = kHi;
  static constexpr int kSteps = 8;
  static constexpr float kReach = 0.9f / kHi;  // how far around "largest element = last level" the search goes
  static float nearest(float y) noexcept { return round_even(clamp(y, kLow, kHigh)); }
};

/// What least squares needs of x and its levels q.
struct ScaleSums {
  float xq = 0, qq = 0;
};

template <typename Levels, int kNum>
ScaleSums scale_sums(const float* x, const float* weight, float inverse) noexcept {
  float xq[4] = {}, qq[4] = {};
  for (int i = 0; i < kNum; i += 4) {
    for (int lane = 0; lane < 4; ++lane) {
      const float q = Levels::nearest(x[i + lane] * inverse);
      const float wq = weight[i + lane] * q;
      xq[lane] += wq * x[i + lane];
      qq[lane] += wq * q;
    }
  }
  return {(xq[0] + xq[1]) + (xq[2] + xq[3]), (qq[0] + qq[1]) + (qq[2] + qq[3])};
}

template <typename Levels, int kNum>
float scale_error(const float* x, const float* weight, float scale) noexcept {
  const float inverse = std::fabs(scale) < kTiny ? 0.0f : 1.0f / scale;
  float sum[4] = {};
  for (int i = 0; i < kNum; i += 4) {
    for (int lane = 0; lane < 4; ++lane) {
      const float error = x[i + lane] - scale * Levels::nearest(x[i + lane] * inverse);
      sum[lane] += weight[i + lane] * error * error;
    }
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/// The scale s, of either sign, for x ~ s * level: the best least squares of a grid of assignments, then descent.
template <typename Levels, int kNum>
float fit_scale(const float* x, const float* weight) noexcept {
  float peak = 0;
  for (int i = 0; i < kNum; ++i) {
    if (std::fabs(x[i]) > std::fabs(peak)) peak = x[i];
  }
  if (std::fabs(peak) < kTiny) return 0;
  float best = 0, scale = 0;
  const auto consider = [&](float inverse) {
    const ScaleSums sums = scale_sums<Levels, kNum>(x, weight, inverse);
    if (sums.qq <= 0 || sums.xq * sums.xq <= best * sums.qq) return false;  // error = Σ w x² - xq² / qq
    best = sums.xq * sums.xq / sums.qq;
    scale = sums.xq / sums.qq;
    return true;
  };
  for (int step = -Levels::kSteps; step <= Levels::kSteps; ++step) {
    const float stretch = 1.0f + Levels::kReach * static_cast<float>(step) / Levels::kSteps;
    consider(Levels::kLow * stretch / peak);
    consider(Levels::kHigh * stretch / peak);
  }
  for (int round = 0; round < 4 && std::fabs(scale) > kTiny; ++round) {
    if (!consider(1.0f / scale)) break;
  }
  return scale;
}

/// x ~ scale * q - min.
struct ScaleMin {
  float scale = 0, min = 0;
};

/// The best q of 0 .. kMaxQ for a given scale and min, as least squares sees it.
template <int kMaxQ, int kNum>
float scale_min_error(const float* x, const float* weight, ScaleMin fit) noexcept {
  const float inverse = fit.scale < kTiny ? 0.0f : 1.0f / fit.scale;
  float sum[4] = {};
  for (int i = 0; i < kNum; i += 4) {
    for (int lane = 0; lane < 4; ++lane) {
      const float y = x[i + lane] + fit.min;
      const float error = y - fit.scale * round_even(clamp(y * inverse, 0, kMaxQ));
      sum[lane] += weight[i + lane] * error * error;
    }
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/// Least squares of y = x - base over scale and offset for the q that `inverse` and `shift` assign; the error too.
/// With kPositiveMin the offset from zero may not be above zero.
template <int kMaxQ, int kNum, bool kPositiveMin>
ScaleMin solve_scale_min(const float* x, const float* weight, float base, float inverse, float shift,
                         float* error) noexcept {
  float sw[4] = {}, sq[4] = {}, sqq[4] = {}, sy[4] = {}, syq[4] = {}, syy[4] = {};
  for (int i = 0; i < kNum; i += 4) {
    for (int lane = 0; lane < 4; ++lane) {
      const float w = weight[i + lane], y = x[i + lane] - base;
      const float q = round_even(clamp((y + shift) * inverse, 0, kMaxQ));
      sw[lane] += w;
      sq[lane] += w * q;
      sqq[lane] += w * q * q;
      sy[lane] += w * y;
      syq[lane] += w * y * q;
      syy[lane] += w * y * y;
    }
  }
  const auto total = [](const float* sum) { return (sum[0] + sum[1]) + (sum[2] + sum[3]); };
  const float w = total(sw), q = total(sq), qq = total(sqq), y = total(sy), yq = total(syq), yy = total(syy);
  const float determinant = w * qq - q * q;
  if (!(determinant > 1e-6f * w * qq)) return *error = INFINITY, ScaleMin{};
  float scale = (w * yq - q * y) / determinant;
  float offset = (y * qq - q * yq) / determinant;
  if (kPositiveMin && base + offset > 0) {
    offset = -base;
    scale = (yq - offset * q) / qq;
  }
  if (!(scale > 0)) return *error = INFINITY, ScaleMin{};
  *error = yy + scale * (scale * qq + 2 * (offset * q - yq)) + offset * (offset * w - 2 * y);
  return {scale, -(base + offset)};
}

/// Scale >= 0 and min for x ~ scale * q - min, q in 0 .. kMaxQ: a grid of assignments, then descent from the best.
template <int kMaxQ, int kNum, bool kPositiveMin>
ScaleMin fit_scale_min(const float* x, const float* weight) noexcept {
  float low = x[0], high = x[0];
  for (int i = 1; i < kNum; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  if (kPositiveMin && low > 0) low = 0;
  if (high - low < kTiny) return {0, -low};
  ScaleMin best{(high - low) / kMaxQ, -low};
  float least = INFINITY;
  const auto consider = [&](float inverse, float shift) {
    float error;
    const ScaleMin fit = solve_scale_min<kMaxQ, kNum, kPositiveMin>(x, weight, low, inverse, shift, &error);
    if (!(error < least)) return false;
    least = error;
    best = fit;
    return true;
  };
  for (int step = -10; step <= 10; ++step) {
    // From the lowest element on, a little more than the range or a little less.
    const float levels = static_cast<float>(kMaxQ) + 0.1f * static_cast<float>(step);
    consider(levels / (high - low), 0);
  }
  for (int round = 0; round < 4; ++round) {
    if (!consider(1.0f / best.scale, best.min + low)) break;
  }
  return best;
}

}  // namespace moxie::block
