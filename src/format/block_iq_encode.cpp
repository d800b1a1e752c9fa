// Encoders of the codebook formats of 2 and 3 bits: iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s. Unpackers: block_iq.cpp.
#include <cstring>

#include "format/block_fit.h"
#include "format/block_parts.h"
#include "format/codebooks.h"
#include "format/grid_search.h"

namespace moxie::block {
namespace {

constexpr float kF16Max = 65504;

/// What distinguishes the formats: x ~ step * (2 scale + 1) * +-grid, scale 0 .. 15 for each `sub_elems` elements.
struct GridFormat {
  const GridSearch& grid;
  int sub_elems;
  bool even_signs;  // an even number of minus signs in each eight
};

/// A super-block being fitted: magnitudes with the signs taken off, then the parts of the block.
struct GridFit {
  float x[256], weight[256];
  uint8_t signs[32] = {};
  float step = 0;
  int scale[16] = {};
  uint16_t entry[64] = {};
};

/// Takes signs off. Where their number must be even and is not, the least element of the eight gets the wrong one, and
/// is negative from here on.
void take_signs(const float* x, const float* weight, bool even, GridFit* fit) {
  for (int group = 0; group < 32; ++group) {
    uint32_t signs = 0;
    int least = 8 * group;
    for (int i = 8 * group; i < 8 * group + 8; ++i) {
      signs |= (x[i] < 0 ? 1u : 0u) << i % 8;
      fit->x[i] = std::fabs(x[i]);
      if (weight[i] * x[i] * x[i] < weight[least] * x[least] * x[least]) least = i;
    }
    if (even && std::popcount(signs) % 2 != 0) {
      signs ^= 1u << least % 8;
      fit->x[least] = -fit->x[least];
    }
    fit->signs[group] = static_cast<uint8_t>(signs);
  }
}

/// Nearest entries of one sub-block for a step, and the sums of least squares; entries are written if asked for.
ScaleSums grid_sums(const GridFormat& format, const GridFit& fit, int sub, float step, uint16_t* entries) {
  const int dim = format.grid.dim();
  const float inverse = 1.0f / step;
  ScaleSums sums;
  for (int i = format.sub_elems * sub; i < format.sub_elems * (sub + 1); i += dim) {
    float y[8];
    for (int k = 0; k < dim; ++k) y[k] = fit.x[i + k] * inverse;
    const int index = format.grid.nearest(y, fit.weight + i);
    const float* value = format.grid.entry(index);
    for (int k = 0; k < dim; ++k) {
      sums.xq += fit.weight[i + k] * fit.x[i + k] * value[k];
      sums.qq += fit.weight[i + k] * value[k] * value[k];
    }
    if (entries != nullptr) entries[i / dim] = static_cast<uint16_t>(index);
  }
  return sums;
}

/// The best step of one sub-block alone.
float fit_step(const GridFormat& format, const GridFit& fit, int sub) {
  float largest = 0;
  for (int i = format.sub_elems * sub; i < format.sub_elems * (sub + 1); ++i) largest = std::max(largest, fit.x[i]);
  if (largest < kTiny) return 0;
  float best = 0, step = 0;
  const auto consider = [&](float candidate) {
    const ScaleSums sums = grid_sums(format, fit, sub, candidate, nullptr);
    if (sums.xq <= 0 || sums.xq * sums.xq <= best * sums.qq) return false;
    best = sums.xq * sums.xq / sums.qq;
    step = sums.xq / sums.qq;
    return true;
  };
  // From the largest element on the last level, down to where it is cut and up to where that level is not used.
  for (int k = -3; k <= 9; ++k) consider(largest / format.grid.largest() * (1.0f + 0.08f * static_cast<float>(k)));
  consider(largest / format.grid.smallest());  // all elements alike
  for (int round = 0; round < 2 && step > 0; ++round) {
    if (!consider(step)) break;
  }
  return step;
}

/// For each sub-block the best integer scale near what it wants. Returns Σ of what the error falls below Σ w x².
float round_grid_scales(const GridFormat& format, const float* wanted, GridFit* fit) {
  float gain = 0;
  for (int sub = 0; sub < 256 / format.sub_elems; ++sub) {
    const int middle = static_cast<int>(round_even(clamp((wanted[sub] / fit->step - 1) * 0.5f, 0, 15)));
    float best = -INFINITY;
    for (int scale = std::max(middle - 1, 0); scale <= std::min(middle + 1, 15); ++scale) {
      const float step = fit->step * static_cast<float>(2 * scale + 1);
      const ScaleSums sums = grid_sums(format, *fit, sub, step, nullptr);
      const float less = step * (2 * sums.xq - step * sums.qq);
      if (less > best) best = less, fit->scale[sub] = scale;
    }
    gain += best;
  }
  return gain;
}

/// The step that is best for the entries the scales lead to.
float solve_step(const GridFormat& format, const GridFit& fit) {
  float xq = 0, qq = 0;
  for (int sub = 0; sub < 256 / format.sub_elems; ++sub) {
    const auto scale = static_cast<float>(2 * fit.scale[sub] + 1);
    const ScaleSums sums = grid_sums(format, fit, sub, fit.step * scale, nullptr);
    xq += scale * sums.xq;
    qq += scale * scale * sums.qq;
  }
  return xq / qq;
}

/// Fits a super-block; `unit` is what d is times, so that step = f16(d) * unit. Returns the bits of d, 0 for zeros.
uint16_t fit_grid(const GridFormat& format, const float* x, const float* importance, float unit, GridFit* fit) {
  float clean[256], wanted[16], largest = 0;
  const float limit = kF16Max * unit * 31 * format.grid.largest() * 0.5f;
  prepare(x, importance, 256, -limit, limit, clean, fit->weight);
  take_signs(clean, fit->weight, format.even_signs, fit);
  for (int sub = 0; sub < 256 / format.sub_elems; ++sub) {
    wanted[sub] = fit_step(format, *fit, sub);
    largest = std::max(largest, wanted[sub]);
  }
  uint16_t best_bits = 0;
  float best_gain = 0;  // of zeros, which an all-zero d gives
  float step = largest / 31;
  GridFit trial = *fit;
  for (int round = 0; round < 2 && step >= kTiny; ++round) {
    const uint16_t bits = scale_to_f16(step / unit);
    trial.step = f16_to_f32(bits) * unit;
    const float gain = round_grid_scales(format, wanted, &trial);
    if (!(gain > best_gain)) break;
    best_gain = gain;
    best_bits = bits;
    *fit = trial;
    step = solve_step(format, trial);
  }
  if (best_bits == 0) return 0;
  for (int sub = 0; sub < 256 / format.sub_elems; ++sub) {
    grid_sums(format, *fit, sub, fit->step * static_cast<float>(2 * fit->scale[sub] + 1), fit->entry);
  }
  return best_bits;
}

uint8_t scale_pair(const GridFit& fit, int pair) {
  return static_cast<uint8_t>(fit.scale[2 * pair] | fit.scale[2 * pair + 1] << 4);
}

/// Four times seven signs and the scale, as iq2_xxs and iq3_xxs have them for 32 elements.
uint32_t signs_and_scale(const GridFit& fit, int sub) {
  uint32_t packed = static_cast<uint32_t>(fit.scale[sub]) << 28;
  for (int k = 0; k < 4; ++k) packed |= (fit.signs[4 * sub + k] & 127u) << 7 * k;
  return packed;
}

}  // namespace

void encode_iq2_xxs(const float* x, const float* importance, uint8_t* block) noexcept {
  static const GridSearch grid(kIq2XxsGrid, 8);
  GridFit fit;
  store_u16(block, fit_grid({grid, 32, true}, x, importance, 0.125f, &fit));
  for (int sub = 0; sub < 8; ++sub) {
    for (int k = 0; k < 4; ++k) block[2 + 8 * sub + k] = static_cast<uint8_t>(fit.entry[4 * sub + k]);
    store_u32(block + 6 + 8 * sub, signs_and_scale(fit, sub));
  }
}

void encode_iq2_xs(const float* x, const float* importance, uint8_t* block) noexcept {
  static const GridSearch grid(kIq2XsGrid, 8);
  GridFit fit;
  store_u16(block, fit_grid({grid, 16, true}, x, importance, 0.125f, &fit));
  for (int group = 0; group < 32; ++group) {
    store_u16(block + 2 + 2 * group, fit.entry[group] | (fit.signs[group] & 127u) << 9);
  }
  for (int pair = 0; pair < 8; ++pair) block[66 + pair] = scale_pair(fit, pair);
}

void encode_iq2_s(const float* x, const float* importance, uint8_t* block) noexcept {
  static const GridSearch grid(kIq2SGrid, 8);
  GridFit fit;
  store_u16(block, fit_grid({grid, 16, false}, x, importance, 0.125f, &fit));
  std::memset(block + 66, 0, 8);
  for (int group = 0; group < 32; ++group) {
    block[2 + group] = static_cast<uint8_t>(fit.entry[group]);
    block[34 + group] = fit.signs[group];
    block[66 + group / 4] = static_cast<uint8_t>(block[66 + group / 4] | (fit.entry[group] >> 8) << 2 * (group % 4));
  }
  for (int pair = 0; pair < 8; ++pair) block[74 + pair] = scale_pair(fit, pair);
}

void encode_iq3_xxs(const float* x, const float* importance, uint8_t* block) noexcept {
  static const GridSearch grid(kIq3XxsGrid, 4);
  GridFit fit;
  store_u16(block, fit_grid({grid, 32, true}, x, importance, 0.25f, &fit));
  for (int k = 0; k < 64; ++k) block[2 + k] = static_cast<uint8_t>(fit.entry[k]);
  for (int sub = 0; sub < 8; ++sub) store_u32(block + 66 + 4 * sub, signs_and_scale(fit, sub));
}

void encode_iq3_s(const float* x, const float* importance, uint8_t* block) noexcept {
  static const GridSearch grid(kIq3SGrid, 4);
  GridFit fit;
  store_u16(block, fit_grid({grid, 32, false}, x, importance, 1, &fit));
  std::memset(block + 66, 0, 8);
  for (int k = 0; k < 64; ++k) {
    block[2 + k] = static_cast<uint8_t>(fit.entry[k]);
    block[66 + k / 8] = static_cast<uint8_t>(block[66 + k / 8] | (fit.entry[k] >> 8) << k % 8);
  }
  std::memcpy(block + 74, fit.signs, 32);
  for (int pair = 0; pair < 4; ++pair) block[106 + pair] = scale_pair(fit, pair);
}

}  // namespace moxie::block
