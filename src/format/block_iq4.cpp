// The blocks of 4-bit indices into sixteen uneven levels: iq4_nl and its super-block iq4_xs.
#include "format/block_parts.h"
#include "format/block_super.h"
#include "format/codebooks.h"

namespace moxie::block {
namespace {

constexpr float kF16Max = 65504;

/// Index of the nearest level for floor(2 y) + 254, y in -127 .. 113. Midpoints of levels are halves, so floors decide.
struct NearestTable {
  uint8_t index[2 * (127 + 113) + 1];
};

constexpr NearestTable make_nearest() {
  NearestTable table{};
  for (int twice = -254; twice <= 226; ++twice) {
    uint8_t best = 0;
    while (best < 15 && twice >= kIq4Values[best] + kIq4Values[best + 1]) ++best;
    table.index[twice + 254] = best;
  }
  return table;
}

constexpr NearestTable kNearest = make_nearest();

struct Iq4Levels {
  static constexpr float kLow = -127, kHigh = 113;
  static constexpr int kSteps = 7;
  static constexpr float kReach = 0.08f;
  static uint8_t index(float y) noexcept { return kNearest.index[static_cast<int>(2 * clamp(y, kLow, kHigh) + 254)]; }
  static float nearest(float y) noexcept { return kIq4Values[index(y)]; }
  static Float4 nearest(Float4 y) noexcept {
    return Float4{nearest(y[0]), nearest(y[1]), nearest(y[2]), nearest(y[3])};
  }
};

void unpack_levels(const uint8_t* nibbles, int8_t* out) noexcept {
  for (int i = 0; i < 16; ++i) {
    out[i] = kIq4Values[nibbles[i] & 15];
    out[i + 16] = kIq4Values[nibbles[i] >> 4];
  }
}

void pack_levels(const float* x, float scale, uint8_t* nibbles) noexcept {
  const float inverse = std::fabs(scale) < kTiny ? 0.0f : 1.0f / scale;
  for (int i = 0; i < 16; ++i) {
    nibbles[i] = static_cast<uint8_t>(Iq4Levels::index(x[i] * inverse) | Iq4Levels::index(x[i + 16] * inverse) << 4);
  }
}

}  // namespace

void unpack_iq4_nl(const uint8_t* block, IntBlock* out) noexcept {
  out->d = load_f16(block);
  out->scale[0] = 1;
  out->sub_elems = 32;
  unpack_levels(block + 2, out->value);
}

void unpack_iq4_xs(const uint8_t* block, IntBlock* out) noexcept {
  out->d = load_f16(block);
  out->sub_elems = 32;
  const uint32_t high = load_u16(block + 2);
  for (int sub = 0; sub < 8; ++sub) {
    const uint32_t low = block[4 + sub / 2] >> 4 * (sub % 2) & 15u;
    out->scale[sub] = static_cast<int16_t>(static_cast<int>(low | (high >> 2 * sub & 3) << 4) - 32);
    unpack_levels(block + 8 + 16 * sub, out->value + 32 * sub);
  }
}

void encode_iq4_nl(const float* x, const float* importance, uint8_t* block) noexcept {
  float clean[32], weight[32];
  prepare(x, importance, 32, -113 * kF16Max, 113 * kF16Max, clean, weight);
  uint16_t bits = scale_to_f16(fit_scale<Iq4Levels, 32>(clean, weight));
  // No level is zero: with the smallest steps of f16 a block may lie nearer to zero than to any level.
  const float error = scale_error<Iq4Levels, 32>(clean, weight, f16_to_f32(bits));
  if (error > scale_error<Iq4Levels, 32>(clean, weight, 0)) bits = 0;
  store_u16(block, bits);
  pack_levels(clean, f16_to_f32(bits), block + 2);
}

void encode_iq4_xs(const float* x, const float* importance, uint8_t* block) noexcept {
  constexpr float kLimit = 113 * 31 * kF16Max;
  float clean[256], weight[256];
  prepare(x, importance, 256, -kLimit, kLimit, clean, weight);
  const auto fit = fit_super_block<Iq4Levels, 32, -32, 31>(clean, weight);
  store_u16(block, fit.d_bits);
  uint32_t high = 0;
  for (int sub = 0; sub < 8; ++sub) {
    const int bits = fit.scale[sub] + 32;
    high |= static_cast<uint32_t>(bits >> 4) << 2 * sub;
    const int nibble = (bits & 15) << 4 * (sub % 2);
    block[4 + sub / 2] = static_cast<uint8_t>(sub % 2 == 0 ? nibble : block[4 + sub / 2] | nibble);
    pack_levels(clean + 32 * sub, fit.d * static_cast<float>(fit.scale[sub]), block + 8 + 16 * sub);
  }
  store_u16(block + 2, high);
}

}  // namespace moxie::block
