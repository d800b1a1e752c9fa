// How each format in blocks of 32 becomes a panel (block_panel.h), 16 rows at a time: x = d (value - kOffset) + m;
// layouts: format/block.h. Of plain rows 8 blocks can be read, `count` of them are meant.
#pragma once

#include "kernels/cpu/block_unpack.h"

namespace moxie::cpu {
namespace {

/// The dwords of 8 blocks of kBytes each, lanes owning rows; a block may begin anywhere in a dword.
template <int kBytes>
struct EightBlocks {
  static constexpr int kDwords = 8 * kBytes / 4;
  EightBlocks(const PlainRows& rows, int) {
#pragma GCC unroll 4
    for (int i = 0; i + 16 <= kDwords; i += 16) {
      V v[16];
      load_dwords(rows, 4 * i, v);
#pragma GCC unroll 16
      for (int j = 0; j < 16; ++j) dword[i + j] = v[j];
    }
#pragma GCC unroll 4
    for (int i = kDwords / 16 * 16; i < kDwords; i += 4) {
      const int first = i + 4 <= kDwords ? i : kDwords - 4;  // nothing beyond the blocks is read
      V v[4];
      load_four_dwords(rows, 4 * first, v);
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) dword[first + k] = v[k];
    }
  }
  template <class Body>
  [[gnu::always_inline]] void each(const Body& body) const {
#pragma GCC unroll 8
    for (int b = 0; b < 8; ++b) body(b);
  }
  /// The dword at `offset` of a block.
  V at(int block, int offset) const {
    const int byte = block * kBytes + offset;
    if (byte % 4 == 0) return dword[byte / 4];
    const auto shift = static_cast<unsigned>(8 * (byte % 4));
    return _mm512_or_si512(_mm512_srli_epi32(dword[byte / 4], shift),
                           _mm512_slli_epi32(dword[byte / 4 + 1], 32 - shift));
  }
  V byte_at(int block) const {
    return dword_bits(dword[block * kBytes / 4], 8 * (block * kBytes % 4), 8);
  }
  __m512 half(int block, int offset) const {
    const int byte = block * kBytes + offset;
    return byte % 4 == 0 ? low_halves(dword[byte / 4]) : high_halves(dword[byte / 4]);
  }
  V dword[kDwords];
};

/// The same of packed rows, where the dwords stand ready.
template <int kBytes>
struct PackedBlocks {
  PackedBlocks(const PackedRows& packed, int count) : rows(packed), num_blocks(count) {}
  template <class Body>
  [[gnu::always_inline]] void each(const Body& body) const {
    for (int b = 0; b < num_blocks; ++b) body(b);
  }
  const char* address(int block, int offset) const { return rows.at(2 * block * kBytes + offset); }
  V at(int block, int offset) const { return _mm512_loadu_si512(address(block, offset)); }
  V byte_at(int block) const {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(address(block, 0))));
  }
  __m512 half(int block, int offset) const {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(address(block, offset))));
  }
  PackedRows rows;
  int num_blocks;
};

template <int kBytes>
EightBlocks<kBytes> blocks_of(const PlainRows& rows, int count) {
  return {rows, count};
}
template <int kBytes>
PackedBlocks<kBytes> blocks_of(const PackedRows& rows, int count) {
  return {rows, count};
}

/// Each tile reads packed rows as they lie, however many rows x has.
struct UnpackQ80 {
  static constexpr int kBlockElems = 32, kOffset = 128, kBytes = 34, kPhases = 1;
  static constexpr bool kMin = false, kCanPack = true, kInTile = true;
  template <int, int>
  static V weights(const BlockPanel& panel, int run, int s, int g) {
    const V w = _mm512_loadu_si512(panel.steps[g] + panel.block_bytes * run + 64 * s);
    return _mm512_xor_si512(w, _mm512_set1_epi8(static_cast<char>(0x80)));
  }
  template <class Rows>
  static void group(const Rows& rows, int count, BlockPanel& panel, int group) {
    const auto blocks = blocks_of<kBytes>(rows, count);
    if constexpr (__is_same(Rows, PackedRows)) {
      panel.steps[group] = reinterpret_cast<const uint8_t*>(blocks.address(0, 2));
      panel.block_bytes = blocks.address(1, 2) - blocks.address(0, 2);
    } else {
      panel.block_bytes = sizeof(panel.values[group]) / 8;
    }
    blocks.each([&](int b) __attribute__((always_inline)) {
      _mm512_store_ps(&panel.d[b][kGroupRows * group], blocks.half(b, 0));
      if constexpr (__is_same(Rows, PlainRows)) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) store_step(panel, 8 * b + i, group, blocks.at(b, 2 + 4 * i));
      }
    });
  }
};

/// q4_0 and q4_1, q5_0 and q5_1: nibbles behind d (and m, and the high bits).
template <bool kWithM, bool kWithHigh>
struct UnpackQ45 : UnpackedPanel {
  static constexpr int kBlockElems = 32, kOffset = kWithM ? 0 : kWithHigh ? 16 : 8;
  static constexpr int kHighAt = kWithM ? 4 : 2, kNibblesAt = kHighAt + (kWithHigh ? 4 : 0), kBytes = kNibblesAt + 16;
  static constexpr bool kMin = kWithM, kCanPack = true;
  template <class Rows>
  static void group(const Rows& rows, int count, BlockPanel& panel, int group) {
    const auto blocks = blocks_of<kBytes>(rows, count);
    blocks.each([&](int b) __attribute__((always_inline)) {
      _mm512_store_ps(&panel.d[b][kGroupRows * group], blocks.half(b, 0));
      if constexpr (kWithM) _mm512_store_ps(&panel.m[b][kGroupRows * group], blocks.half(b, 2));
      const V high = kWithHigh ? blocks.at(b, kHighAt) : _mm512_setzero_si512();
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const V q = blocks.at(b, kNibblesAt + 4 * i);
        V low = nibbles(q), up = nibbles(_mm512_srli_epi32(q, 4));
        if constexpr (kWithHigh) {
          low = _mm512_or_si512(low, fifth_bits(high, 4 * i));
          up = _mm512_or_si512(up, fifth_bits(high, 16 + 4 * i));
        }
        store_step(panel, 8 * b + i, group, low);
        store_step(panel, 8 * b + 4 + i, group, up);
      }
    });
  }

 private:
  /// Bits first .. first + 3 of each dword as bit 4 of its bytes.
  static V fifth_bits(V bits, int first) {
    const V four = _mm512_and_si512(_mm512_srli_epi32(bits, static_cast<unsigned>(first)), _mm512_set1_epi32(15));
    // bit i to bit 8 i + 4: 0x204081 spreads bits 0 .. 3 to 0, 8, 16, 24 (with others, masked away)
    const V spread = _mm512_mullo_epi32(four, _mm512_set1_epi32(0x00204081));
    return _mm512_slli_epi32(_mm512_and_si512(spread, _mm512_set1_epi32(0x01010101)), 4);
  }
};

/// A nibble is an index into 16 int8 values: iq4_nl, and mxfp4_block, whose scale is the exponent e of 2^(e - 128).
template <bool kMx>
struct UnpackTable : UnpackedPanel {
  static constexpr int kBlockElems = 32, kOffset = 128, kNibblesAt = kMx ? 1 : 2, kBytes = kNibblesAt + 16;
  static constexpr bool kMin = false, kCanPack = true;
  template <class Rows>
  static void group(const Rows& rows, int count, BlockPanel& panel, int group) {
    const auto& table = kMx ? kE2m1Doubled : kIq4Values;
    const auto blocks = blocks_of<kBytes>(rows, count);
    blocks.each([&](int b) __attribute__((always_inline)) {
      _mm512_store_ps(&panel.d[b][kGroupRows * group], kMx ? power(blocks.byte_at(b)) : blocks.half(b, 0));
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const V q = blocks.at(b, kNibblesAt + 4 * i);
        store_step(panel, 8 * b + i, group, look_up<kOffset>(table, nibbles(q)));
        store_step(panel, 8 * b + 4 + i, group, look_up<kOffset>(table, nibbles(_mm512_srli_epi32(q, 4))));
      }
    });
  }

 private:
  static __m512 power(V e) {
    const V bits = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    const V tiny = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);  // e = 0 and 1: below the normal numbers
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(bits, _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2)), tiny));
  }
};

}  // namespace
}  // namespace moxie::cpu
