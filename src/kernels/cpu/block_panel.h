// Panels of block-format weights: 32 rows of w over at most 256 k in the order in which an integer product reads them,
// lanes owning rows; scales beside. What a format's bytes mean stands in block_unpack.h.
//
// Plain rows go through a transpose of 16 rows x 16 dwords as they lie in the file; nibbles and high bits are taken
// apart after it, so unpacking costs a few instructions for 64 weights. Packed rows (format/packed.h) need no
// transpose.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/cpu/isa_avx512.h"

namespace moxie::cpu {
namespace {

inline constexpr int kPanelRows = 32, kPanelK = 256, kGroupRows = 16;
inline constexpr int64_t kAheadBytes = 8192;  // how far ahead weights are asked for

/// Element (row, k) is kOffset more than its number. values: group of rows, step k / 4, row, k % 4; where tiles take
/// the values apart themselves (kInTile), what their format's weights() reads.
struct alignas(64) BlockPanel {
  uint8_t values[2][kPanelK / 4][kGroupRows][4];
  int32_t scale[16][kPanelRows];  // of a sub-block (super-blocks)
  int32_t min[8][kPanelRows];     // of two sub-blocks, int16 each, the lower one first; or scale * kOffset
  float d[8][kPanelRows];         // super-blocks: d[0]; else of each block of 32
  float m[8][kPanelRows];         // super-blocks: m[0] = dmin; else what is added a block
  const uint8_t* steps[2];        // kInTile, of each group of rows: its values, or packed rows as they lie
  int64_t block_bytes;            // there, from a block of 32 to the next
  const char* next;               // bytes that later panels need
};

/// Where the blocks of 16 rows lie.
struct PlainRows {
  const char* first;
  int64_t stride;
  const char* row(int r) const { return first + r * stride; }
};

/// The same of 16 packed rows, half of a packed block; of blocks of 32, those that follow stand 2 x 16 blocks apart.
struct PackedRows {
  const char* half;
  const char* at(int64_t offset) const { return half + kGroupRows * offset; }
};

using V = __m512i;

template <class T>
T load_as(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

/// Of kSteps steps of a group each asks for its share of 128 lines, which the longest panels (q8_0) have and more than
/// others do: an ask may find no buffer free, and here it is repeated.
template <int kSteps>
inline void ask(const BlockPanel& panel, int step, int group) {
#pragma GCC unroll 2
  for (int line = step + kSteps * group; line < 128; line += 2 * kSteps) {
    _mm_prefetch(panel.next + 64 * line, _MM_HINT_T0);
  }
}

template <int kSteps = kPanelK / 4>
inline void store_step(BlockPanel& panel, int step, int group, V v) {
  _mm512_store_si512(panel.values[group][step], v);
  ask<kSteps>(panel, step, group);
  asm volatile("" ::: "memory");  // in this order: asked for in one go, most would find no buffer
}

inline void transpose(V (&v)[16]) {
  __m512 f[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) f[i] = _mm512_castsi512_ps(v[i]);
  Avx512::transpose(f);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) v[i] = _mm512_castps_si512(f[i]);
}

/// out[i], lane r: dword i of the 64 bytes at `offset` of row r.
inline void load_dwords(const PlainRows& rows, int64_t offset, V (&out)[16]) {
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) out[r] = _mm512_loadu_si512(rows.row(r) + offset);
  transpose(out);
}

/// The same of two runs of 32 bytes each.
inline void load_dwords(const PlainRows& rows, int64_t first, int64_t second, V (&out)[16]) {
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) {
    const auto load = [&](int64_t at) {
      return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows.row(r) + at));
    };
    out[r] = _mm512_inserti64x4(_mm512_castsi256_si512(load(first)), load(second), 1);
  }
  transpose(out);
}

/// The same of 16 bytes: out[i], lane r: dword i of the bytes at `offset` of row r.
inline void load_four_dwords(const PlainRows& rows, int64_t offset, V (&out)[4]) {
  V v[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const auto load = [&](int r) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.row(r) + offset)); };
    v[i] = _mm512_castsi128_si512(load(i));
    v[i] = _mm512_inserti32x4(v[i], load(4 + i), 1);
    v[i] = _mm512_inserti32x4(v[i], load(8 + i), 2);
    v[i] = _mm512_inserti32x4(v[i], load(12 + i), 3);
  }
  const V a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
  const V c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
  out[0] = _mm512_unpacklo_epi64(a, c);
  out[1] = _mm512_unpackhi_epi64(a, c);
  out[2] = _mm512_unpacklo_epi64(b, d);
  out[3] = _mm512_unpackhi_epi64(b, d);
}

inline void load_dwords(const PackedRows& rows, int64_t offset, V (&out)[16]) {
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) out[i] = _mm512_loadu_si512(rows.at(offset + 4 * i));
}
inline void load_dwords(const PackedRows& rows, int64_t first, int64_t second, V (&out)[16]) {
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    out[i] = _mm512_loadu_si512(rows.at(first + 4 * i));
    out[8 + i] = _mm512_loadu_si512(rows.at(second + 4 * i));
  }
}
inline void load_four_dwords(const PackedRows& rows, int64_t offset, V (&out)[4]) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) out[i] = _mm512_loadu_si512(rows.at(offset + 4 * i));
}

/// The f16 in the low half of each dword.
inline __m512 low_halves(V v) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}
inline __m512 high_halves(V v) {
  return low_halves(_mm512_srli_epi32(v, 16));
}

inline __m512 sixteenth(__m512 v) {
  return _mm512_mul_ps(v, _mm512_set1_ps(0.0625f));
}

/// The dword at `offset` of each row.
inline V dwords_at(const PackedRows& rows, int64_t offset) {
  return _mm512_loadu_si512(rows.at(offset));
}
inline V dwords_at(const PlainRows& rows, int64_t offset) {
  const V lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const V index = _mm512_mullo_epi32(lane, _mm512_set1_epi32(static_cast<int32_t>(rows.stride)));
  return _mm512_i32gather_epi32(index, rows.first + offset, 1);
}

/// The f16 that ends a block, at `offset` of each row.
inline __m512 last_halves(const PackedRows& rows, int64_t offset) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows.at(offset))));
}
inline __m512 last_halves(const PlainRows& rows, int64_t offset) {
  return high_halves(dwords_at(rows, offset - 2));  // nothing beyond the block is read
}

inline V nibbles(V v) {
  return _mm512_and_si512(v, _mm512_set1_epi8(0x0f));
}
/// Bits [shift, shift + bits) of every byte, in the low bits; the shift crosses no byte once masked.
inline V byte_bits(V v, int shift, int bits) {
  return _mm512_and_si512(_mm512_srli_epi32(v, static_cast<unsigned>(shift)),
                          _mm512_set1_epi8(static_cast<char>((1 << bits) - 1)));
}
/// Bits [shift, shift + bits) of every dword.
inline V dword_bits(V v, int shift, int bits) {
  return _mm512_and_si512(_mm512_srli_epi32(v, static_cast<unsigned>(shift)), _mm512_set1_epi32((1 << bits) - 1));
}
/// v's bytes shifted left by `shift`; their high bits must be clear.
inline V byte_shift_left(V v, int shift) {
  return _mm512_slli_epi32(v, static_cast<unsigned>(shift));
}

}  // namespace
}  // namespace moxie::cpu
