// The blocks of e2m1 numbers: mxfp4 with an e8m0 scale, nvfp4 with e4m3 scales.
#include <cmath>

#include "format/block_fit.h"
#include "format/block_parts.h"
#include "format/codebooks.h"

namespace moxie::block {
namespace {

constexpr int kMaxE8m0 = 252;  // 6 * 2^125, the largest level, is finite; one more and it is not
constexpr int kMaxUe4m3 = 0x7e;

/// Index of the level of kE2m1Doubled[0..7] nearest to a magnitude.
int nearest_e2m1(float doubled) noexcept {
  return (doubled > 0.5f) + (doubled > 1.5f) + (doubled > 2.5f) + (doubled > 3.5f) + (doubled > 5.0f) +
         (doubled > 7.0f) + (doubled > 10.0f);
}

float fp4_error(const float* x, const float* weight, int num, float step) noexcept {
  const float inverse = 1.0f / step;
  float sum = 0;
  for (int i = 0; i < num; ++i) {
    const float magnitude = std::fabs(x[i]);
    const float error = magnitude - step * kE2m1Doubled[nearest_e2m1(magnitude * inverse)];
    sum += weight[i] * error * error;
  }
  return sum;
}

uint8_t fp4_code(float x, float inverse) noexcept {
  const int level = nearest_e2m1(std::fabs(x) * inverse);
  return static_cast<uint8_t>(level | (x < 0 && level != 0 ? 8 : 0));
}

/// The mantissa m and exponent k of a ue4m3 byte: its value is m * 2^(k - 9). Both zero for the byte 0x7f.
void split_ue4m3(int byte, int* mantissa, int* exponent) noexcept {
  const int biased = byte >> 3 & 15, fraction = byte & 7;
  *mantissa = byte == 0x7f ? 0 : biased == 0 ? fraction : 8 + fraction;
  *exponent = byte == 0x7f || biased == 0 ? 0 : biased - 1;
}

float ue4m3_to_f32(int byte) noexcept {
  int mantissa, exponent;
  split_ue4m3(byte, &mantissa, &exponent);
  return std::ldexp(static_cast<float>(mantissa), exponent - 9);
}

/// The largest byte of at most this value.
int floor_ue4m3(float value) noexcept {
  int low = 0, high = kMaxUe4m3;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (ue4m3_to_f32(middle) <= value) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

}  // namespace

void unpack_mxfp4(const uint8_t* block, IntBlock* out) noexcept {
  // Half of e8m0, since the levels are doubled; the two smallest are subnormal.
  out->d = block[0] < 2 ? std::bit_cast<float>(0x00200000u << block[0])
                        : std::bit_cast<float>(static_cast<uint32_t>(block[0] - 1) << 23);
  out->scale[0] = 1;
  out->sub_elems = 32;
  for (int i = 0; i < 16; ++i) {
    out->value[i] = kE2m1Doubled[block[1 + i] & 15];
    out->value[i + 16] = kE2m1Doubled[block[1 + i] >> 4];
  }
}

void unpack_nvfp4(const uint8_t* block, IntBlock* out) noexcept {
  out->d = 0x1p-10f;
  out->sub_elems = 16;
  for (int sub = 0; sub < 4; ++sub) {
    int mantissa, exponent;
    split_ue4m3(block[sub], &mantissa, &exponent);
    // The range of ue4m3 is wider than int16: levels (at most 12) take what 15 << 11 leaves over.
    const int excess = exponent > 11 ? exponent - 11 : 0;
    out->scale[sub] = static_cast<int16_t>(mantissa << (exponent - excess));
    for (int i = 0; i < 8; ++i) {
      const uint8_t nibbles = block[4 + 8 * sub + i];
      out->value[16 * sub + i] = static_cast<int8_t>(kE2m1Doubled[nibbles & 15] * (1 << excess));
      out->value[16 * sub + 8 + i] = static_cast<int8_t>(kE2m1Doubled[nibbles >> 4] * (1 << excess));
    }
  }
}

void encode_mxfp4(const float* x, const float* importance, uint8_t* block) noexcept {
  float clean[32], weight[32], largest = 0;
  const float limit = std::ldexp(6.0f, kMaxE8m0 - 127);
  prepare(x, importance, 32, -limit, limit, clean, weight);
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(clean[i]));
  int exponent = 0;
  if (largest > 0) std::frexp(largest, &exponent);
  // Brought to [0.5, 1), squares neither overflow nor vanish; in two factors, since 2^148 is no float.
  const float first = std::ldexp(1.0f, -exponent / 2), second = std::ldexp(1.0f, -exponent - -exponent / 2);
  for (float& value : clean) value = value * first * second;
  float least = INFINITY, step = 1;
  int best = 0;
  for (int lower = 4; lower >= 2 && largest > 0; --lower) {
    const int scale = std::clamp(exponent - lower + 127, 0, kMaxE8m0);
    const float candidate = std::ldexp(1.0f, scale - 128 - exponent);
    const float error = fp4_error(clean, weight, 32, candidate);
    if (error < least) least = error, step = candidate, best = scale;
  }
  block[0] = static_cast<uint8_t>(best);
  for (int i = 0; i < 16; ++i) {
    block[1 + i] = static_cast<uint8_t>(fp4_code(clean[i], 1 / step) | fp4_code(clean[i + 16], 1 / step) << 4);
  }
}

void encode_nvfp4(const float* x, const float* importance, uint8_t* block) noexcept {
  constexpr float kLimit = 6 * 448;
  float clean[64], weight[64];
  prepare(x, importance, 64, -kLimit, kLimit, clean, weight);
  for (int sub = 0; sub < 4; ++sub) {
    const float *part = clean + 16 * sub, *part_weight = weight + 16 * sub;
    float largest = 0;
    for (int i = 0; i < 16; ++i) largest = std::max(largest, std::fabs(part[i]));
    const int guess = floor_ue4m3(largest / 6);
    float least = INFINITY, step = 1;
    int best = 0;
    // From scales that cut the largest element a little to those that make it 4 instead of 6.
    for (int scale = std::max(guess - 3, 1); scale <= std::min(guess + 6, kMaxUe4m3); ++scale) {
      const float candidate = ue4m3_to_f32(scale) * 0.5f;
      const float error = fp4_error(part, part_weight, 16, candidate);
      if (error < least) least = error, step = candidate, best = scale;
    }
    block[sub] = static_cast<uint8_t>(largest > 0 ? best : 0);
    for (int i = 0; i < 8; ++i) {
      block[4 + 8 * sub + i] = static_cast<uint8_t>(fp4_code(part[i], 1 / step) | fp4_code(part[i + 8], 1 / step) << 4);
    }
  }
}

}  // namespace moxie::block
