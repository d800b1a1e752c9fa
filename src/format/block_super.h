// Fits of super-blocks: 256 elements in sub-blocks whose scales are integers times one f16. For the encoders of this
// room.
#pragma once

#include "format/block_fit.h"

namespace moxie::block {

/// x ~ d * scale[sub] * q.
template <int kSub>
struct SuperScales {
  uint16_t d_bits = 0;
  float d = 0;
  int scale[256 / kSub] = {};
};

/// For each sub-block the integer near s / d, of its neighbours too, that leaves the least error. Returns the error.
template <typename Levels, int kSub, int kLowScale, int kHighScale>
float round_scales(const float* x, const float* weight, const float* wanted, SuperScales<kSub>* fit) noexcept {
  float total = 0;
  const float inverse = fit->d != 0 ? 1.0f / fit->d : 0;
  for (int sub = 0; sub < 256 / kSub; ++sub) {
    const int middle = static_cast<int>(round_even(clamp(wanted[sub] * inverse, kLowScale, kHighScale)));
    float least = INFINITY;
    for (int scale = std::max(middle - 1, kLowScale); scale <= std::min(middle + 1, kHighScale); ++scale) {
      const float step = fit->d * static_cast<float>(scale);
      const float error = scale_error<Levels, kSub>(x + kSub * sub, weight + kSub * sub, step);
      if (error < least) least = error, fit->scale[sub] = scale;
    }
    total += least;
  }
  return total;
}

/// The d that is best for the levels the fit assigns.
template <typename Levels, int kSub>
float solve_super_scale(const float* x, const float* weight, const SuperScales<kSub>& fit) noexcept {
  float xq = 0, qq = 0;
  for (int sub = 0; sub < 256 / kSub; ++sub) {
    const auto scale = static_cast<float>(fit.scale[sub]);
    if (std::fabs(fit.d * scale) < kTiny) continue;
    const ScaleSums sums = scale_sums<Levels, kSub>(x + kSub * sub, weight + kSub * sub, 1.0f / (fit.d * scale));
    xq += scale * sums.xq;
    qq += scale * scale * sums.qq;
  }
  return qq > 0 ? xq / qq : 0;
}

template <typename Levels, int kSub, int kLowScale, int kHighScale>
SuperScales<kSub> fit_super_block(const float* x, const float* weight) noexcept {
  float wanted[256 / kSub], peak = 0;
  for (int sub = 0; sub < 256 / kSub; ++sub) {
    wanted[sub] = fit_scale<Levels, kSub>(x + kSub * sub, weight + kSub * sub);
    if (std::fabs(wanted[sub]) > std::fabs(peak)) peak = wanted[sub];
  }
  SuperScales<kSub> best;
  float least = INFINITY;
  float d = peak / kLowScale;
  for (int round = 0; round < 3 && std::fabs(d) >= kTiny; ++round) {
    SuperScales<kSub> fit;
    fit.d_bits = scale_to_f16(d);
    fit.d = f16_to_f32(fit.d_bits);
    const float error = round_scales<Levels, kSub, kLowScale, kHighScale>(x, weight, wanted, &fit);
    if (!(error < least)) break;
    least = error;
    best = fit;
    d = solve_super_scale<Levels, kSub>(x, weight, fit);
  }
  return best;
}

/// x ~ d * scale[sub] * q - dmin * min[sub].
template <int kSub>
struct SuperScalesMins {
  uint16_t d_bits = 0, dmin_bits = 0;
  float d = 0, dmin = 0;
  int scale[256 / kSub] = {}, min[256 / kSub] = {};

  ScaleMin of(int sub) const noexcept {
    return {d * static_cast<float>(scale[sub]), dmin * static_cast<float>(min[sub])};
  }
};

/// As round_scales, over pairs of scale and min.
template <int kMaxQ, int kSub, int kMaxScale>
float round_scales_mins(const float* x, const float* weight, const ScaleMin* wanted,
                        SuperScalesMins<kSub>* fit) noexcept {
  float total = 0;
  const float inverse = fit->d != 0 ? 1.0f / fit->d : 0, inverse_min = fit->dmin != 0 ? 1.0f / fit->dmin : 0;
  for (int sub = 0; sub < 256 / kSub; ++sub) {
    const int scale = static_cast<int>(round_even(clamp(wanted[sub].scale * inverse, 0, kMaxScale)));
    const int min = static_cast<int>(round_even(clamp(wanted[sub].min * inverse_min, 0, kMaxScale)));
    float least = INFINITY;
    for (int s = std::max(scale - 1, 0); s <= std::min(scale + 1, kMaxScale); ++s) {
      for (int m = std::max(min - 1, 0); m <= std::min(min + 1, kMaxScale); ++m) {
        const ScaleMin candidate{fit->d * static_cast<float>(s), fit->dmin * static_cast<float>(m)};
        const float error = scale_min_error<kMaxQ, kSub>(x + kSub * sub, weight + kSub * sub, candidate);
        if (error < least) least = error, fit->scale[sub] = s, fit->min[sub] = m;
      }
    }
    total += least;
  }
  return total;
}

/// The d and dmin that are best for the levels the fit assigns, or those it has where the equations have no answer.
template <int kMaxQ, int kSub>
ScaleMin solve_super_scale_min(const float* x, const float* weight, const SuperScalesMins<kSub>& fit) noexcept {
  float ss = 0, sm = 0, mm = 0, xs = 0, xm = 0;
  for (int sub = 0; sub < 256 / kSub; ++sub) {
    const ScaleMin current = fit.of(sub);
    const float inverse = current.scale < kTiny ? 0.0f : 1.0f / current.scale;
    const auto scale = static_cast<float>(fit.scale[sub]), min = static_cast<float>(fit.min[sub]);
    for (int i = kSub * sub; i < kSub * (sub + 1); ++i) {
      const float level = scale * round_even(clamp((x[i] + current.min) * inverse, 0, kMaxQ));
      ss += weight[i] * level * level;
      sm += weight[i] * level * min;
      mm += weight[i] * min * min;
      xs += weight[i] * x[i] * level;
      xm += weight[i] * x[i] * min;
    }
  }
  const float determinant = ss * mm - sm * sm;
  if (!(determinant > 1e-5f * ss * mm)) return {mm > 0 || !(ss > 0) ? fit.d : xs / ss, fit.dmin};
  const ScaleMin solved{(xs * mm - xm * sm) / determinant, (xs * sm - xm * ss) / determinant};
  return solved.scale > 0 && solved.min >= 0 ? solved : ScaleMin{fit.d, fit.dmin};
}

template <int kMaxQ, int kSub, int kMaxScale>
SuperScalesMins<kSub> fit_super_block_min(const float* x, const float* weight) noexcept {
  ScaleMin wanted[256 / kSub], next;
  for (int sub = 0; sub < 256 / kSub; ++sub) {
    wanted[sub] = fit_scale_min<kMaxQ, kSub, true>(x + kSub * sub, weight + kSub * sub);
    next.scale = std::max(next.scale, wanted[sub].scale / kMaxScale);
    next.min = std::max(next.min, wanted[sub].min / kMaxScale);
  }
  SuperScalesMins<kSub> best;
  float least = INFINITY;
  for (int round = 0; round < 3; ++round) {
    SuperScalesMins<kSub> fit;
    fit.d_bits = scale_to_f16(next.scale);
    fit.dmin_bits = scale_to_f16(next.min);
    fit.d = f16_to_f32(fit.d_bits);
    fit.dmin = f16_to_f32(fit.dmin_bits);
    const float error = round_scales_mins<kMaxQ, kSub, kMaxScale>(x, weight, wanted, &fit);
    if (!(error < least)) break;
    least = error;
    best = fit;
    next = solve_super_scale_min<kMaxQ, kSub>(x, weight, fit);
  }
  return best;
}

}  // namespace moxie::block
