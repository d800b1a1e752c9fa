// Unpacking of the k formats, 256 elements a super-block: q2_k .. q6_k. Their encoders stand in block_k_encode.cpp.
#include "format/block_parts.h"

namespace moxie::block {
namespace {

/// The 6-bit scales and mins of q4_k and q5_k.
void unpack_scales_and_mins(const uint8_t* packed, IntBlock* out) noexcept {
  for (int sub = 0; sub < 4; ++sub) {
    out->scale[sub] = packed[sub] & 63;
    out->min[sub] = packed[sub + 4] & 63;
    out->scale[sub + 4] = static_cast<int16_t>((packed[sub + 8] & 15) | (packed[sub] >> 6) << 4);
    out->min[sub + 4] = static_cast<int16_t>(packed[sub + 8] >> 4 | (packed[sub + 4] >> 6) << 4);
  }
}

}  // namespace

void unpack_q2_k(const uint8_t* block, IntBlock* out) noexcept {
  out->d = load_f16(block + 80);
  out->dmin = load_f16(block + 82);
  out->sub_elems = 16;
  for (int sub = 0; sub < 16; ++sub) {
    out->scale[sub] = block[sub] & 15;
    out->min[sub] = block[sub] >> 4;
  }
  for (int run = 0; run < 8; ++run) {
    const uint8_t* bits = block + 16 + 32 * (run / 4);
    for (int i = 0; i < 32; ++i) out->value[32 * run + i] = bits[i] >> 2 * (run % 4) & 3;
  }
}

void unpack_q3_k(const uint8_t* block, IntBlock* out) noexcept {
  const uint8_t *high = block, *low = block + 32, *scales = block + 96;
  out->d = load_f16(block + 108);
  out->sub_elems = 16;
  for (int sub = 0; sub < 16; ++sub) {
    const int low_bits = scales[sub % 8] >> 4 * (sub / 8) & 15;
    const int high_bits = scales[8 + sub % 4] >> 2 * (sub / 4) & 3;
    out->scale[sub] = static_cast<int16_t>((low_bits | high_bits << 4) - 32);
  }
  for (int run = 0; run < 8; ++run) {
    for (int i = 0; i < 32; ++i) {
      const int bits = (low[32 * (run / 4) + i] >> 2 * (run % 4) & 3) | (high[i] >> run & 1) << 2;
      out->value[32 * run + i] = static_cast<int8_t>(bits - 4);
    }
  }
}

void unpack_q4_k(const uint8_t* block, IntBlock* out) noexcept {
  out->d = load_f16(block);
  out->dmin = load_f16(block + 2);
  out->sub_elems = 32;
  unpack_scales_and_mins(block + 4, out);
  for (int sub = 0; sub < 8; ++sub) {
    const uint8_t* nibbles = block + 16 + 32 * (sub / 2);
    for (int i = 0; i < 32; ++i) out->value[32 * sub + i] = nibbles[i] >> 4 * (sub % 2) & 15;
  }
}

void unpack_q5_k(const uint8_t* block, IntBlock* out) noexcept {
  const uint8_t *high = block + 16, *low = block + 48;
  out->d = load_f16(block);
  out->dmin = load_f16(block + 2);
  out->sub_elems = 32;
  unpack_scales_and_mins(block + 4, out);
  for (int sub = 0; sub < 8; ++sub) {
    for (int i = 0; i < 32; ++i) {
      const int low_bits = low[32 * (sub / 2) + i] >> 4 * (sub % 2) & 15;
      out->value[32 * sub + i] = static_cast<int8_t>(low_bits | (high[i] >> sub & 1) << 4);
    }
  }
}

void unpack_q6_k(const uint8_t* block, IntBlock* out) noexcept {
  const uint8_t *low = block, *high = block + 128, *scales = block + 192;
  out->d = load_f16(block + 208);
  out->sub_elems = 16;
  for (int sub = 0; sub < 16; ++sub) out->scale[sub] = static_cast<int8_t>(scales[sub]);
  for (int run = 0; run < 8; ++run) {
    const int half = run / 4, plane = run % 4;
    for (int i = 0; i < 32; ++i) {
      const int low_bits = low[64 * half + 32 * (plane % 2) + i] >> 4 * (plane / 2) & 15;
      const int high_bits = high[32 * half + i] >> 2 * plane & 3;
      out->value[32 * run + i] = static_cast<int8_t>((low_bits | high_bits << 4) - 32);
    }
  }
}

}  // namespace moxie::block
