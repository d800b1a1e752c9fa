// Panels of block-format weights: 32 rows of w over at most 256 k as unsigned bytes in the order in which an integer
// product reads them, lanes owning rows; scales beside. Filling them is here; multiplying is in block_gemm.h.
//
// A row's bytes go through a transpose of 16 rows x 16 dwords as they lie in the file; nibbles and high bits are taken
// apart after it, so unpacking costs a few instructions for 64 weights.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "format/block.h"
#include "kernels/cpu/isa_avx512.h"

namespace moxie::cpu {
namespace {

inline constexpr int kPanelRows = 32, kPanelK = 256, kGroupRows = 16;

/// Element (row, k) is kOffset more than its number. values: step k / 4, row, k % 4.
struct alignas(64) BlockPanel {
  uint8_t values[kPanelK / 4][kPanelRows][4];
  int32_t scale[16][kPanelRows];  // of a sub-block (super-blocks)
  int32_t min[8][kPanelRows];     // of two sub-blocks, int16 each, the lower one first
  float d[8][kPanelRows];         // super-blocks: d[0]; else of each block of 32
  float m[8][kPanelRows];         // super-blocks: m[0] = dmin; else what is added a block
  const char* next;               // bytes that a later panel needs: a line of them is asked for with each step stored
};

/// Where the blocks of 16 rows lie.
struct BlockRows {
  const char* first;
  int64_t stride;
  const char* row(int r) const { return first + r * stride; }
};

using V = __m512i;

inline void store_step(BlockPanel& panel, int step, int group, V v) {
  _mm512_store_si512(panel.values[step][kGroupRows * group], v);
  _mm_prefetch(panel.next + 64 * (step + kPanelK / 4 * group), _MM_HINT_T0);
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
inline void load_dwords(const BlockRows& rows, int64_t offset, V (&out)[16]) {
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) out[r] = _mm512_loadu_si512(rows.row(r) + offset);
  transpose(out);
}

/// The same of two runs of 32 bytes each.
inline void load_dwords(const BlockRows& rows, int64_t first, int64_t second, V (&out)[16]) {
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
inline void load_four_dwords(const BlockRows& rows, int64_t offset, V (&out)[4]) {
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

/// The f16 in the low half of each dword.
inline __m512 low_halves(V v) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}
inline __m512 high_halves(V v) {
  return low_halves(_mm512_srli_epi32(v, 16));
}

/// The f16 that ends at `end` of each row.
inline __m512 load_halves_before(const BlockRows& rows, int64_t end) {
  const V lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const V index = _mm512_mullo_epi32(lane, _mm512_set1_epi32(static_cast<int32_t>(rows.stride)));
  return high_halves(_mm512_i32gather_epi32(index, rows.first + end - 4, 1));
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

// ---- super-blocks of 256: kSub elements a sub-block; x = d scale (value - kOffset) - dmin min ----

/// The 6-bit scales and mins of q4_k and q5_k, and d and dmin: the first 16 bytes of a block.
inline void unpack_scales_k4(const BlockRows& rows, BlockPanel& panel, int group) {
  V head[4];
  load_four_dwords(rows, 0, head);
  const int at = kGroupRows * group;
  _mm512_store_ps(&panel.d[0][at], low_halves(head[0]));
  _mm512_store_ps(&panel.m[0][at], high_halves(head[0]));
  V min[8];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    _mm512_store_si512(&panel.scale[j][at], dword_bits(head[1], 8 * j, 6));
    min[j] = dword_bits(head[2], 8 * j, 6);
    const V high = _mm512_slli_epi32(dword_bits(head[1], 8 * j + 6, 2), 4);
    const V min_high = _mm512_slli_epi32(dword_bits(head[2], 8 * j + 6, 2), 4);
    _mm512_store_si512(&panel.scale[4 + j][at], _mm512_or_si512(dword_bits(head[3], 8 * j, 4), high));
    min[4 + j] = _mm512_or_si512(dword_bits(head[3], 8 * j + 4, 4), min_high);
  }
#pragma GCC unroll 4
  for (int p = 0; p < 4; ++p) {
    _mm512_store_si512(&panel.min[p][at], _mm512_or_si512(min[2 * p], _mm512_slli_epi32(min[2 * p + 1], 16)));
  }
}

struct UnpackQ4K {
  static constexpr int kBlockElems = 256, kSub = 32, kOffset = 0;
  static constexpr bool kMin = true;
  static void group(const BlockRows& rows, int, BlockPanel& panel, int group) {
    unpack_scales_k4(rows, panel, group);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      V q[16];
      load_dwords(rows, 16 + 64 * half, q);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {  // 8 dwords: two sub-blocks of 8 steps
        const int step = 32 * half + 16 * (i / 8) + i % 8;
        store_step(panel, step, group, nibbles(q[i]));
        store_step(panel, step + 8, group, nibbles(_mm512_srli_epi32(q[i], 4)));
      }
    }
  }
};

struct UnpackQ5K {
  static constexpr int kBlockElems = 256, kSub = 32, kOffset = 0;
  static constexpr bool kMin = true;
  static void group(const BlockRows& rows, int, BlockPanel& panel, int group) {
    unpack_scales_k4(rows, panel, group);
    V high[16];  // dwords 0 .. 7: bit s of byte l belongs to element l of sub-block s
    load_dwords(rows, 16, 16, high);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      V q[16];
      load_dwords(rows, 48 + 64 * half, q);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        const int sub = 4 * half + 2 * (i / 8), step = 8 * sub + i % 8;
        const V low_bit = byte_shift_left(byte_bits(high[i % 8], sub, 1), 4);
        const V high_bit = byte_shift_left(byte_bits(high[i % 8], sub + 1, 1), 4);
        store_step(panel, step, group, _mm512_or_si512(nibbles(q[i]), low_bit));
        store_step(panel, step + 8, group, _mm512_or_si512(nibbles(_mm512_srli_epi32(q[i], 4)), high_bit));
      }
    }
  }
};

/// 16 scales as int8 at `offset`, `less` taken from each.
inline void unpack_scale_bytes(const BlockRows& rows, int64_t offset, BlockPanel& panel, int group) {
  V bytes[4];
  load_four_dwords(rows, offset, bytes);
#pragma GCC unroll 16
  for (int s = 0; s < 16; ++s) {
    const V up = _mm512_slli_epi32(bytes[s / 4], static_cast<unsigned>(24 - 8 * (s % 4)));
    _mm512_store_si512(&panel.scale[s][kGroupRows * group], _mm512_srai_epi32(up, 24));
  }
}

struct UnpackQ6K {
  static constexpr int kBlockElems = 256, kSub = 16, kOffset = 32;
  static constexpr bool kMin = false;
  static void group(const BlockRows& rows, int, BlockPanel& panel, int group) {
    unpack_scale_bytes(rows, 192, panel, group);
    _mm512_store_ps(&panel.d[0][kGroupRows * group], load_halves_before(rows, 210));
    V high[16];
    load_dwords(rows, 128, high);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      V low[16];
      load_dwords(rows, 64 * half, low);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {  // low nibbles: elements 4 i of 64; high nibbles: 64 further
        const V two = high[8 * half + i % 8];
        const int run = i / 8, step = 32 * half + i;
        const V first = byte_shift_left(byte_bits(two, 2 * run, 2), 4);
        const V second = byte_shift_left(byte_bits(two, 4 + 2 * run, 2), 4);
        store_step(panel, step, group, _mm512_or_si512(nibbles(low[i]), first));
        store_step(panel, step + 16, group, _mm512_or_si512(nibbles(_mm512_srli_epi32(low[i], 4)), second));
      }
    }
  }
};

/// Any format of super-blocks, from its scalar integers: slow, and right.
template <FormatId kFormat, int kSubElems>
struct UnpackAny {
  static constexpr int kBlockElems = 256, kSub = kSubElems, kOffset = 128;
  static constexpr bool kMin = kFormat == FormatId::q2_k;
  static void group(const BlockRows& rows, int, BlockPanel& panel, int group) {
    for (int r = 0; r < kGroupRows; ++r) {
      const int lane = kGroupRows * group + r;
      IntBlock block;
      int_block(kFormat, rows.row(r), &block);
      for (int i = 0; i < 256; ++i) panel.values[i / 4][lane][i % 4] = static_cast<uint8_t>(block.value[i] + kOffset);
      for (int s = 0; s < 256 / kSub; ++s) panel.scale[s][lane] = block.scale[s];
      for (int p = 0; kMin && p < 128 / kSub; ++p) {
        panel.min[p][lane] =
            (block.min[2 * p] & 0xffff) | static_cast<int32_t>(static_cast<uint32_t>(block.min[2 * p + 1]) << 16);
      }
      panel.d[0][lane] = block.d;
      panel.m[0][lane] = block.dmin;
    }
  }
};

// ---- blocks of 32: x = d (value - kOffset) + m; 8 blocks can be read, `count` of them are meant ----

/// The dwords of 8 blocks of kBytes each, lanes owning rows; a block may begin in the middle of a dword.
template <int kBytes>
struct EightBlocks {
  static constexpr int kDwords = 8 * kBytes / 4;
  explicit EightBlocks(const BlockRows& rows) {
#pragma GCC unroll 4
    for (int i = 0; i + 16 <= kDwords; i += 16) {
      V v[16];
      load_dwords(rows, 4 * i, v);
#pragma GCC unroll 16
      for (int j = 0; j < 16; ++j) dword[i + j] = v[j];
    }
#pragma GCC unroll 4
    for (int i = kDwords / 16 * 16; i < kDwords; i += 4) {
      V v[4];
      load_four_dwords(rows, 4 * i, v);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) dword[i + j] = v[j];
    }
  }
  /// The dword at `offset`, which is even, of a block.
  V at(int block, int offset) const {
    const int byte = block * kBytes + offset;
    if (byte % 4 == 0) return dword[byte / 4];
    return _mm512_or_si512(_mm512_srli_epi32(dword[byte / 4], 16), _mm512_slli_epi32(dword[byte / 4 + 1], 16));
  }
  __m512 half(int block, int offset) const {
    const int byte = block * kBytes + offset;
    return byte % 4 == 0 ? low_halves(dword[byte / 4]) : high_halves(dword[byte / 4]);
  }
  V dword[kDwords];
};

struct UnpackQ80 {
  static constexpr int kBlockElems = 32, kSub = 32, kOffset = 128, kBytes = 34;
  static constexpr bool kMin = false;
  static void group(const BlockRows& rows, int, BlockPanel& panel, int group) {
    const EightBlocks<kBytes> blocks(rows);
    const V flip = _mm512_set1_epi8(static_cast<char>(0x80));
#pragma GCC unroll 8
    for (int b = 0; b < 8; ++b) {
      _mm512_store_ps(&panel.d[b][kGroupRows * group], blocks.half(b, 0));
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        store_step(panel, 8 * b + i, group, _mm512_xor_si512(blocks.at(b, 2 + 4 * i), flip));
      }
    }
  }
};

/// q4_0 and q4_1, q5_0 and q5_1: nibbles behind d (and m, and the high bits).
template <bool kWithM, bool kWithHigh>
struct UnpackQ45 {
  static constexpr int kBlockElems = 32, kSub = 32, kOffset = kWithM ? 0 : kWithHigh ? 16 : 8;
  static constexpr int kHighAt = kWithM ? 4 : 2, kNibblesAt = kHighAt + (kWithHigh ? 4 : 0), kBytes = kNibblesAt + 16;
  static constexpr bool kMin = kWithM;
  static void group(const BlockRows& rows, int, BlockPanel& panel, int group) {
    const EightBlocks<kBytes> blocks(rows);
#pragma GCC unroll 8
    for (int b = 0; b < 8; ++b) {
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
    }
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

/// A nibble is an index into 16 int8 values: iq4_nl, mxfp4_block. From the scalar integers.
template <FormatId kFormat, int kBlockBytes>
struct UnpackAny32 {
  static constexpr int kBlockElems = 32, kSub = 32, kOffset = 128, kBytes = kBlockBytes;
  static constexpr bool kMin = false;
  static void group(const BlockRows& rows, int count, BlockPanel& panel, int group) {
    for (int r = 0; r < kGroupRows; ++r) {
      const int lane = kGroupRows * group + r;
      for (int b = 0; b < count; ++b) {
        IntBlock block;
        int_block(kFormat, rows.row(r) + b * kBytes, &block);
        for (int i = 0; i < 32; ++i) {
          panel.values[8 * b + i / 4][lane][i % 4] = static_cast<uint8_t>(block.value[i] + kOffset);
        }
        panel.d[b][lane] = block.d * static_cast<float>(block.scale[0]);
      }
    }
  }
};

}  // namespace
}  // namespace moxie::cpu
