// What the files of block formats share: one unpacker and one encoder a format; not for use outside the room.
#pragma once

#include <cstdint>

#include "format/block.h"
#include "format/codec.h"

namespace moxie::block {

inline uint32_t load_u16(const uint8_t* bytes) noexcept {
  return static_cast<uint32_t>(bytes[0]) | static_cast<uint32_t>(bytes[1]) << 8;
}

inline uint32_t load_u32(const uint8_t* bytes) noexcept {
  return load_u16(bytes) | load_u16(bytes + 2) << 16;
}

inline float load_f16(const uint8_t* bytes) noexcept {
  return f16_to_f32(static_cast<uint16_t>(load_u16(bytes)));
}

inline void store_u16(uint8_t* bytes, uint32_t value) noexcept {
  bytes[0] = static_cast<uint8_t>(value);
  bytes[1] = static_cast<uint8_t>(value >> 8);
}

inline void store_u32(uint8_t* bytes, uint32_t value) noexcept {
  store_u16(bytes, value & 0xffffu);
  store_u16(bytes + 2, value >> 16);
}

/// Fills the parts of a cleared IntBlock that the format has.
using Unpack = void(const uint8_t* block, IntBlock* out) noexcept;

/// Writes one block of x; see encode_blocks for the importance and for odd numbers.
using Encode = void(const float* x, const float* importance, uint8_t* block) noexcept;

Unpack unpack_q4_0, unpack_q4_1, unpack_q5_0, unpack_q5_1, unpack_q8_0;            // block_32.cpp
Unpack unpack_q2_k, unpack_q3_k, unpack_q4_k, unpack_q5_k, unpack_q6_k;            // block_k.cpp
Unpack unpack_iq2_xxs, unpack_iq2_xs, unpack_iq2_s, unpack_iq3_xxs, unpack_iq3_s;  // block_iq.cpp
Unpack unpack_iq4_nl, unpack_iq4_xs;                                               // block_iq4.cpp
Unpack unpack_mxfp4, unpack_nvfp4;                                                 // block_fp4.cpp

Encode encode_q4_0, encode_q4_1, encode_q5_0, encode_q5_1, encode_q8_0;            // block_32.cpp
Encode encode_q2_k, encode_q3_k, encode_q4_k, encode_q5_k, encode_q6_k;            // block_k_encode.cpp
Encode encode_iq2_xxs, encode_iq2_xs, encode_iq2_s, encode_iq3_xxs, encode_iq3_s;  // block_iq_encode.cpp
Encode encode_iq4_nl, encode_iq4_xs;                                               // block_iq4.cpp
Encode encode_mxfp4, encode_nvfp4;                                                 // block_fp4.cpp

}  // namespace moxie::block
