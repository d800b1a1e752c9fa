// The blocks of 32 elements with one scale: q4_0, q4_1, q5_0, q5_1, q8_0.
#include "format/block_fit.h"
#include "format/block_parts.h"

namespace moxie::block {
namespace {

constexpr float kF16Max = 65504;

/// Nibbles of 16 bytes, and of `high` (null for none) one more bit each; `offset` is taken away.
void unpack_nibbles(const uint8_t* nibbles, const uint8_t* high, int offset, int8_t* out) noexcept {
  const uint32_t high_bits = high != nullptr ? load_u32(high) : 0;
  for (int i = 0; i < 16; ++i) {
    const uint32_t first = (nibbles[i] & 15u) | (high_bits >> i & 1) << 4;
    const uint32_t second = nibbles[i] >> 4 | (high_bits >> (i + 16) & 1) << 4;
    out[i] = static_cast<int8_t>(static_cast<int>(first) - offset);
    out[i + 16] = static_cast<int8_t>(static_cast<int>(second) - offset);
  }
}

void pack_nibbles(const uint32_t* codes, uint8_t* nibbles, uint8_t* high) noexcept {
  uint32_t high_bits = 0;
  for (int i = 0; i < 16; ++i) nibbles[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + 16] & 15) << 4);
  for (int i = 0; i < 32; ++i) high_bits |= (codes[i] >> 4 & 1) << i;
  if (high != nullptr) store_u32(high, high_bits);
}

void unpack_scaled(const uint8_t* block, bool five_bits, IntBlock* out) noexcept {
  out->d = load_f16(block);
  out->scale[0] = 1;
  out->sub_elems = 32;
  unpack_nibbles(block + (five_bits ? 6 : 2), five_bits ? block + 2 : nullptr, five_bits ? 16 : 8, out->value);
}

void unpack_with_min(const uint8_t* block, bool five_bits, IntBlock* out) noexcept {
  out->d = load_f16(block);
  out->dmin = -load_f16(block + 2);
  out->scale[0] = 1;
  out->min[0] = 1;
  out->sub_elems = 32;
  unpack_nibbles(block + (five_bits ? 8 : 4), five_bits ? block + 4 : nullptr, 0, out->value);
}

template <int kHalf>
void encode_scaled(const float* x, const float* importance, uint8_t* block) noexcept {
  using Levels = IntLevels<-kHalf, kHalf - 1>;
  float clean[32], weight[32];
  prepare(x, importance, 32, -(kHalf - 1) * kF16Max, (kHalf - 1) * kF16Max, clean, weight);
  const uint16_t bits = scale_to_f16(fit_scale<Levels, 32>(clean, weight));
  const float scale = f16_to_f32(bits);
  const float inverse = scale != 0 ? 1.0f / scale : 0;
  uint32_t codes[32];
  for (int i = 0; i < 32; ++i) {
    codes[i] = static_cast<uint32_t>(static_cast<int>(Levels::nearest(clean[i] * inverse)) + kHalf);
  }
  store_u16(block, bits);
  if (kHalf == 16) return pack_nibbles(codes, block + 6, block + 2);
  pack_nibbles(codes, block + 2, nullptr);
}

template <int kMaxQ>
void encode_with_min(const float* x, const float* importance, uint8_t* block) noexcept {
  float clean[32], weight[32];
  prepare(x, importance, 32, -kF16Max, (kMaxQ - 1) * kF16Max, clean, weight);
  const ScaleMin fit = fit_scale_min<kMaxQ, 32, false>(clean, weight);
  const uint16_t bits = scale_to_f16(fit.scale), min_bits = f32_to_f16(clamp(-fit.min, -kF16Max, kF16Max));
  const float scale = f16_to_f32(bits), offset = f16_to_f32(min_bits);
  const float inverse = scale != 0 ? 1.0f / scale : 0;
  uint32_t codes[32];
  for (int i = 0; i < 32; ++i) {
    codes[i] = static_cast<uint32_t>(round_even(clamp((clean[i] - offset) * inverse, 0, kMaxQ)));
  }
  store_u16(block, bits);
  store_u16(block + 2, min_bits);
  if (kMaxQ == 31) return pack_nibbles(codes, block + 8, block + 4);
  pack_nibbles(codes, block + 4, nullptr);
}

}  // namespace

void unpack_q4_0(const uint8_t* block, IntBlock* out) noexcept {
  unpack_scaled(block, false, out);
}

void unpack_q4_1(const uint8_t* block, IntBlock* out) noexcept {
  unpack_with_min(block, false, out);
}

void unpack_q5_0(const uint8_t* block, IntBlock* out) noexcept {
  unpack_scaled(block, true, out);
}

void unpack_q5_1(const uint8_t* block, IntBlock* out) noexcept {
  unpack_with_min(block, true, out);
}

void unpack_q8_0(const uint8_t* block, IntBlock* out) noexcept {
  out->d = load_f16(block);
  out->scale[0] = 1;
  out->sub_elems = 32;
  for (int i = 0; i < 32; ++i) out->value[i] = static_cast<int8_t>(block[2 + i]);
}

void encode_q4_0(const float* x, const float* importance, uint8_t* block) noexcept {
  encode_scaled<8>(x, importance, block);
}

void encode_q4_1(const float* x, const float* importance, uint8_t* block) noexcept {
  encode_with_min<15>(x, importance, block);
}

void encode_q5_0(const float* x, const float* importance, uint8_t* block) noexcept {
  encode_scaled<16>(x, importance, block);
}

void encode_q5_1(const float* x, const float* importance, uint8_t* block) noexcept {
  encode_with_min<31>(x, importance, block);
}

void encode_q8_0(const float* x, const float* /*importance*/, uint8_t* block) noexcept {
  float clean[32], largest = 0;
  for (int i = 0; i < 32; ++i) {
    clean[i] = x[i] == x[i] ? clamp(x[i], -127 * kF16Max, 127 * kF16Max) : 0.0f;
    largest = std::max(largest, std::fabs(clean[i]));
  }
  const uint16_t bits = scale_to_f16(largest / 127);
  const float scale = f16_to_f32(bits);
  const float inverse = scale != 0 ? 1.0f / scale : 0;
  store_u16(block, bits);
  for (int i = 0; i < 32; ++i) {
    block[2 + i] = static_cast<uint8_t>(static_cast<int>(round_even(clamp(clean[i] * inverse, -127, 127))));
  }
}

}  // namespace moxie::block
