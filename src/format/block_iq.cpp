// Blocks of 2 and 3 bit codebook entries with signs: iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s. Unpacking only.
#include "format/block_parts.h"
#include "format/codebooks.h"

namespace moxie::block {
namespace {

/// Magnitudes of `grid`, one a byte, with the signs of the low bits of `signs`.
template <typename Entry>
void signed_values(Entry grid, uint32_t signs, int8_t* out) noexcept {
  for (size_t i = 0; i < sizeof(Entry); ++i) {
    const auto magnitude = static_cast<int16_t>(grid >> 8 * i & 0xff);
    out[i] = static_cast<int16_t>((signs >> i & 1) != 0 ? -magnitude : magnitude);
  }
}

int16_t odd(uint32_t nibble) noexcept {
  return static_cast<int16_t>(2 * (nibble & 15) + 1);
}

}  // namespace

void unpack_iq2_xxs(const uint8_t* block, IntBlock* out) noexcept {
  out->d = load_f16(block) * 0.125f;
  out->sub_elems = 32;
  for (int sub = 0; sub < 8; ++sub) {
    const uint8_t* entries = block + 2 + 8 * sub;
    const uint32_t packed = load_u32(entries + 4);
    out->scale[sub] = odd(packed >> 28);
    for (int k = 0; k < 4; ++k) {
      signed_values(kIq2XxsGrid[entries[k]], even_signs(packed >> 7 * k & 127), out->value + 32 * sub + 8 * k);
    }
  }
}

void unpack_iq2_xs(const uint8_t* block, IntBlock* out) noexcept {
  out->d = load_f16(block) * 0.125f;
  out->sub_elems = 16;
  for (int sub = 0; sub < 16; ++sub) out->scale[sub] = odd(block[66 + sub / 2] >> 4 * (sub % 2));
  for (int group = 0; group < 32; ++group) {
    const uint32_t packed = load_u16(block + 2 + 2 * group);
    signed_values(kIq2XsGrid[packed & 511], even_signs(packed >> 9), out->value + 8 * group);
  }
}

void unpack_iq2_s(const uint8_t* block, IntBlock* out) noexcept {
  out->d = load_f16(block) * 0.125f;
  out->sub_elems = 16;
  const uint8_t *low = block + 2, *signs = block + 34, *high = block + 66, *scales = block + 74;
  for (int sub = 0; sub < 16; ++sub) out->scale[sub] = odd(scales[sub / 2] >> 4 * (sub % 2));
  for (int group = 0; group < 32; ++group) {
    const uint32_t entry = low[group] | (high[group / 4] >> 2 * (group % 4) & 3u) << 8;
    signed_values(kIq2SGrid[entry], signs[group], out->value + 8 * group);
  }
}

void unpack_iq3_xxs(const uint8_t* block, IntBlock* out) noexcept {
  out->d = load_f16(block) * 0.25f;
  out->sub_elems = 32;
  for (int sub = 0; sub < 8; ++sub) {
    const uint32_t packed = load_u32(block + 66 + 4 * sub);
    out->scale[sub] = odd(packed >> 28);
    for (int k = 0; k < 8; ++k) {
      const uint32_t signs = even_signs(packed >> 7 * (k / 2) & 127);
      signed_values(kIq3XxsGrid[block[2 + 8 * sub + k]], signs >> 4 * (k % 2), out->value + 32 * sub + 4 * k);
    }
  }
}

void unpack_iq3_s(const uint8_t* block, IntBlock* out) noexcept {
  out->d = load_f16(block);
  out->sub_elems = 32;
  const uint8_t *low = block + 2, *high = block + 66, *signs = block + 74, *scales = block + 106;
  for (int sub = 0; sub < 8; ++sub) out->scale[sub] = odd(scales[sub / 2] >> 4 * (sub % 2));
  for (int k = 0; k < 64; ++k) {
    const uint32_t entry = low[k] | (high[k / 8] >> k % 8 & 1u) << 8;
    signed_values(kIq3SGrid[entry], signs[k / 2] >> 4 * (k % 2), out->value + 4 * k);
  }
}

}  // namespace moxie::block
