// Searches for the scales of a block by weighted least squares; knows levels, no layout. For the encoders of this room.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

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

/// Four floats in the compiler's own terms: no order of operations changes, and no instruction set is named.
using Float4 = float __attribute__((vector_size(16)));

inline Float4 load4(const float* x) noexcept {
  Float4 value;
  std::memcpy(&value, x, sizeof value);
  return value;
}

inline Float4 all4(float x) noexcept {
  return Float4{x, x, x, x};
}

inline float total(Float4 x) noexcept {
  return (x[0] + x[1]) + (x[2] + x[3]);
}

inline Float4 round_even(Float4 value) noexcept {
  return (value + all4(12582912.0f)) - all4(12582912.0f);
}

inline Float4 clamp(Float4 value, float low, float high) noexcept {
  value = value < all4(low) ? all4(low) : value;
  return value > all4(high) ? all4(high) : value;
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
  static Float4 nearest(Float4 y) noexcept { return round_even(clamp(y, kLow, kHigh)); }
};

/// What least squares needs of x and its levels q.
struct ScaleSums {
  float xq = 0, qq = 0;
};

template <typename Levels, int kNum>
ScaleSums scale_sums(const float* x, const float* weight, float inverse) noexcept {
  Float4 xq = {}, qq = {};
  for (int i = 0; i < kNum; i += 4) {
    const Float4 value = load4(x + i);
    const Float4 q = Levels::nearest(value * all4(inverse));
    const Float4 wq = load4(weight + i) * q;
    xq += wq * value;
    qq += wq * q;
  }
  return {total(xq), total(qq)};
}

template <typename Levels, int kNum>
float scale_error(const float* x, const float* weight, float scale) noexcept {
  const float inverse = std::fabs(scale) < kTiny ? 0.0f : 1.0f / scale;
  Float4 sum = {};
  for (int i = 0; i < kNum; i += 4) {
    const Float4 value = load4(x + i);
    const Float4 error = value - all4(scale) * Levels::nearest(value * all4(inverse));
    sum += load4(weight + i) * error * error;
  }
  return total(sum);
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
  Float4 sum = {};
  for (int i = 0; i < kNum; i += 4) {
    const Float4 y = load4(x + i) + all4(fit.min);
    const Float4 error = y - all4(fit.scale) * round_even(clamp(y * all4(inverse), 0, kMaxQ));
    sum += load4(weight + i) * error * error;
  }
  return total(sum);
}

/// Least squares of y = x - base over scale and offset for the q that `inverse` and `shift` assign; the error too.
/// With kPositiveMin the offset from zero may not be above zero.
template <int kMaxQ, int kNum, bool kPositiveMin>
ScaleMin solve_scale_min(const float* x, const float* weight, float base, float inverse, float shift,
                         float* error) noexcept {
  Float4 sum_w = {}, sum_q = {}, sum_qq = {}, sum_y = {}, sum_yq = {}, sum_yy = {};
  for (int i = 0; i < kNum; i += 4) {
    const Float4 each_w = load4(weight + i), each_y = load4(x + i) - all4(base);
    const Float4 each_q = round_even(clamp((each_y + all4(shift)) * all4(inverse), 0, kMaxQ));
    const Float4 wq = each_w * each_q, wy = each_w * each_y;
    sum_w += each_w;
    sum_q += wq;
    sum_qq += wq * each_q;
    sum_y += wy;
    sum_yq += wy * each_q;
    sum_yy += wy * each_y;
  }
  const float w = total(sum_w), q = total(sum_q), qq = total(sum_qq);
  const float y = total(sum_y), yq = total(sum_yq), yy = total(sum_yy);
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
