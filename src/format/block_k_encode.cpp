// Encoders of the k formats: q2_k .. q6_k. The fits stand in block_super.h, the unpackers in block_k.cpp.
#include <cstring>

#include "format/block_parts.h"
#include "format/block_super.h"

namespace moxie::block {
namespace {

constexpr float kF16Max = 65504;

/// Codes q of 0 .. kMaxQ for x ~ scale * q - min.
template <int kMaxQ, int kSub>
void assign(const float* x, const SuperScalesMins<kSub>& fit, uint8_t* codes) noexcept {
  for (int i = 0; i < 256; ++i) {
    const ScaleMin part = fit.of(i / kSub);
    const float inverse = part.scale < kTiny ? 0.0f : 1.0f / part.scale;
    codes[i] = static_cast<uint8_t>(round_even(clamp((x[i] + part.min) * inverse, 0, kMaxQ)));
  }
}

/// Codes q - kLow for x ~ scale * q.
template <typename Levels, int kSub>
void assign(const float* x, const SuperScales<kSub>& fit, uint8_t* codes) noexcept {
  for (int i = 0; i < 256; ++i) {
    const float scale = fit.d * static_cast<float>(fit.scale[i / kSub]);
    const float inverse = std::fabs(scale) < kTiny ? 0.0f : 1.0f / scale;
    codes[i] = static_cast<uint8_t>(static_cast<int>(Levels::nearest(x[i] * inverse) - Levels::kLow));
  }
}

/// d, dmin and the 6-bit scales and mins that q4_k and q5_k begin with.
void pack_head(const SuperScalesMins<32>& fit, uint8_t* block) noexcept {
  store_u16(block, fit.d_bits);
  store_u16(block + 2, fit.dmin_bits);
  uint8_t* packed = block + 4;
  for (int sub = 0; sub < 4; ++sub) {
    packed[sub] = static_cast<uint8_t>(fit.scale[sub] | (fit.scale[sub + 4] >> 4) << 6);
    packed[sub + 4] = static_cast<uint8_t>(fit.min[sub] | (fit.min[sub + 4] >> 4) << 6);
    packed[sub + 8] = static_cast<uint8_t>((fit.scale[sub + 4] & 15) | (fit.min[sub + 4] & 15) << 4);
  }
}

/// Low nibbles of q4_k and q5_k.
void pack_nibbles(const uint8_t* codes, uint8_t* out) noexcept {
  for (int i = 0; i < 128; ++i) {
    const int first = 64 * (i / 32) + i % 32;
    out[i] = static_cast<uint8_t>((codes[first] & 15) | (codes[first + 32] & 15) << 4);
  }
}

/// Bits 0..1 of the codes, four planes of 32 a byte row.
void pack_crumbs(const uint8_t* codes, int shift, uint8_t* out) noexcept {
  for (int i = 0; i < 64; ++i) {
    const uint8_t* column = codes + 128 * (i / 32) + i % 32;
    int byte = 0;
    for (int plane = 0; plane < 4; ++plane) byte |= (column[32 * plane] >> shift & 3) << 2 * plane;
    out[i] = static_cast<uint8_t>(byte);
  }
}

}  // namespace

void encode_q2_k(const float* x, const float* importance, uint8_t* block) noexcept {
  float clean[256], weight[256];
  uint8_t codes[256];
  prepare(x, importance, 256, -15 * kF16Max, 2 * 15 * kF16Max, clean, weight);
  const auto fit = fit_super_block_min<3, 16, 15>(clean, weight);
  assign<3>(clean, fit, codes);
  for (int sub = 0; sub < 16; ++sub) block[sub] = static_cast<uint8_t>(fit.scale[sub] | fit.min[sub] << 4);
  pack_crumbs(codes, 0, block + 16);
  store_u16(block + 80, fit.d_bits);
  store_u16(block + 82, fit.dmin_bits);
}

void encode_q3_k(const float* x, const float* importance, uint8_t* block) noexcept {
  using Levels = IntLevels<-4, 3>;
  constexpr float kLimit = 3 * 31 * kF16Max;
  float clean[256], weight[256];
  uint8_t codes[256];
  prepare(x, importance, 256, -kLimit, kLimit, clean, weight);
  const auto fit = fit_super_block<Levels, 16, -32, 31>(clean, weight);
  assign<Levels>(clean, fit, codes);
  std::memset(block, 0, 110);
  for (int i = 0; i < 256; ++i) block[i % 32] = static_cast<uint8_t>(block[i % 32] | (codes[i] >> 2) << i / 32);
  pack_crumbs(codes, 0, block + 32);
  uint8_t* scales = block + 96;
  for (int sub = 0; sub < 16; ++sub) {
    const int bits = fit.scale[sub] + 32;
    scales[sub % 8] = static_cast<uint8_t>(scales[sub % 8] | (bits & 15) << 4 * (sub / 8));
    scales[8 + sub % 4] = static_cast<uint8_t>(scales[8 + sub % 4] | (bits >> 4) << 2 * (sub / 4));
  }
  store_u16(block + 108, fit.d_bits);
}

void encode_q4_k(const float* x, const float* importance, uint8_t* block) noexcept {
  float clean[256], weight[256];
  uint8_t codes[256];
  prepare(x, importance, 256, -63 * kF16Max, 14 * 63 * kF16Max, clean, weight);
  const auto fit = fit_super_block_min<15, 32, 63>(clean, weight);
  assign<15>(clean, fit, codes);
  pack_head(fit, block);
  pack_nibbles(codes, block + 16);
}

void encode_q5_k(const float* x, const float* importance, uint8_t* block) noexcept {
  float clean[256], weight[256];
  uint8_t codes[256];
  prepare(x, importance, 256, -63 * kF16Max, 30 * 63 * kF16Max, clean, weight);
  const auto fit = fit_super_block_min<31, 32, 63>(clean, weight);
  assign<31>(clean, fit, codes);
  pack_head(fit, block);
  for (int i = 0; i < 32; ++i) {
    int byte = 0;
    for (int sub = 0; sub < 8; ++sub) byte |= (codes[32 * sub + i] >> 4) << sub;
    block[16 + i] = static_cast<uint8_t>(byte);
  }
  pack_nibbles(codes, block + 48);
}

void encode_q6_k(const float* x, const float* importance, uint8_t* block) noexcept {
  using Levels = IntLevels<-32, 31>;
  constexpr float kLimit = 31 * 127 * kF16Max;
  float clean[256], weight[256];
  uint8_t codes[256];
  prepare(x, importance, 256, -kLimit, kLimit, clean, weight);
  const auto fit = fit_super_block<Levels, 16, -128, 127>(clean, weight);
  assign<Levels>(clean, fit, codes);
  for (int i = 0; i < 128; ++i) {
    const int first = 128 * (i / 64) + i % 64;  // its partner in the high nibble is two planes on
    block[i] = static_cast<uint8_t>((codes[first] & 15) | (codes[first + 64] & 15) << 4);
  }
  pack_crumbs(codes, 4, block + 128);
  for (int sub = 0; sub < 16; ++sub) block[192 + sub] = static_cast<uint8_t>(fit.scale[sub]);
  store_u16(block + 208, fit.d_bits);
}

}  // namespace moxie::block
