// Blocks of w, eight sub-blocks of 32 at a time, as pair_tile.h multiplies them (AVX2); layouts: format/block.h.
//
// Lane 4 h + p of a vector has half h (16 elements) of a sub-block 2 p + o, four elements a vector: q[4 o + t] has
// elements 4 t .. of the halves. x = d value + m for the 16 elements of a lane. Values are unsigned, or kSigned (any
// int8, no m), of magnitudes up to kMost; kRun products of pairs of them fit int16 together.
// kLead: the bytes of a packed block before its dwords (format/packed.h); kCanPack: whether there are packed blocks.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "format/block.h"
#include "format/codebooks.h"
#include "kernels/cpu/isa_avx2.h"
#include "kernels/cpu/k4_scales.h"

namespace moxie::cpu {
namespace {

struct alignas(32) PairGroup {
  __m256i q[8];
  __m256 d[2], m[2];  // of o
};

inline __m256i load_32(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
inline __m128i load_16(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
inline uint32_t load_dword(const uint8_t* p) {
  uint32_t value;
  std::memcpy(&value, p, 4);
  return value;
}
inline uint16_t load_word(const uint8_t* p) {
  uint16_t value;
  std::memcpy(&value, p, 2);
  return value;
}
inline __m256 load_half(const uint8_t* p) {
  return _mm256_set1_ps(_cvtsh_ss(load_word(p)));
}

/// Bits [shift, shift + bits) of every byte, from bit `to` on.
inline __m256i byte_bits(__m256i v, int shift, int bits, int to = 0) {
  const __m256i moved = shift < to ? _mm256_slli_epi16(v, to - shift) : _mm256_srli_epi16(v, shift - to);
  return _mm256_and_si256(moved, _mm256_set1_epi8(static_cast<char>(((1 << bits) - 1) << to)));
}
inline __m128i nibbles(__m128i v) {
  return _mm_and_si128(v, _mm_set1_epi8(15));
}

/// Dword t of four vectors, in both halves: out[t].
inline void transpose_fours(__m256i a, __m256i b, __m256i c, __m256i d, __m256i* out) {
  const __m256i ab = _mm256_unpacklo_epi32(a, b), more_ab = _mm256_unpackhi_epi32(a, b);
  const __m256i cd = _mm256_unpacklo_epi32(c, d), more_cd = _mm256_unpackhi_epi32(c, d);
  out[0] = _mm256_unpacklo_epi64(ab, cd);
  out[1] = _mm256_unpackhi_epi64(ab, cd);
  out[2] = _mm256_unpacklo_epi64(more_ab, more_cd);
  out[3] = _mm256_unpackhi_epi64(more_ab, more_cd);
}

/// Sub-blocks in order of k as a group has them.
inline void to_lanes(const __m256i (&sub)[8], __m256i* q) {
  transpose_fours(sub[0], sub[2], sub[4], sub[6], q);
  transpose_fours(sub[1], sub[3], sub[5], sub[7], q + 4);
}

/// Numbers of eight sub-blocks as lanes of o have them.
inline __m256 lanes_of_32(__m256 v, int o) {
  return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(o, 2 + o, 4 + o, 6 + o, o, 2 + o, 4 + o, 6 + o));
}
/// The same of int8.
inline __m256 lanes_of_32(__m128i bytes, int o) {
  const int64_t order = 0x0604020006040200 + 0x0101010101010101 * o;
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_shuffle_epi8(bytes, _mm_cvtsi64_si128(order))));
}
/// Of int8, one for 16 elements.
inline __m256 lanes_of_16(__m128i bytes, int o) {
  const int64_t order = 0x0d0905010c080400 + 0x0202020202020202 * o;
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_shuffle_epi8(bytes, _mm_cvtsi64_si128(order))));
}

// ---- super-blocks: read(block, 1, group) ----

inline void read_scales_k4(const uint8_t* block, PairGroup& out) {
  const __m128i scales = k4_scales(block), mins = _mm_srli_si128(scales, 8);
  const __m256 d = load_half(block), minus_dmin = -load_half(block + 2);
#pragma GCC unroll 2
  for (int o = 0; o < 2; ++o) {
    out.d[o] = d * lanes_of_32(scales, o);
    out.m[o] = minus_dmin * lanes_of_32(mins, o);
  }
}

/// One d and m = -offset d for 16 elements each, from int8 scales.
inline void read_scales_16(__m256 d, __m128i scales, float offset, PairGroup& out) {
#pragma GCC unroll 2
  for (int o = 0; o < 2; ++o) {
    out.d[o] = d * lanes_of_16(scales, o);
    out.m[o] = out.d[o] * _mm256_set1_ps(-offset);
  }
}

struct PairsQ4K {
  static constexpr int kElems = 256, kLead = 0, kBytes = 144, kRun = 4, kMost = 15;
  static constexpr bool kSigned = false, kCanPack = true;
  [[gnu::always_inline]] static void read(const uint8_t* block, int, PairGroup& out) {
    read_scales_k4(block, out);
    const uint8_t* q = block + 16;  // sub-blocks 2 p and 2 p + 1: low and high nibbles
    __m256i both[4];
    transpose_fours(load_32(q), load_32(q + 32), load_32(q + 64), load_32(q + 96), both);
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t) {
      out.q[t] = byte_bits(both[t], 0, 4);
      out.q[4 + t] = byte_bits(both[t], 4, 4);
    }
  }
};

struct PairsQ5K {
  static constexpr int kElems = 256, kLead = 0, kBytes = 176, kRun = 4, kMost = 31;
  static constexpr bool kSigned = false, kCanPack = true;
  [[gnu::always_inline]] static void read(const uint8_t* block, int, PairGroup& out) {
    read_scales_k4(block, out);
    const __m256i fifth = load_32(block + 16);
    __m256i sub[8];
#pragma GCC unroll 8
    for (int s = 0; s < 8; ++s) {
      const __m256i low = byte_bits(load_32(block + 48 + 32 * (s / 2)), 4 * (s % 2), 4);
      sub[s] = _mm256_or_si256(low, byte_bits(fifth, s, 1, 4));
    }
    to_lanes(sub, out.q);
  }
};

struct PairsQ6K {
  static constexpr int kElems = 256, kLead = 0, kBytes = 210, kRun = 2, kMost = 63;
  static constexpr bool kSigned = false, kCanPack = true;
  [[gnu::always_inline]] static void read(const uint8_t* block, int, PairGroup& out) {
    read_scales_16(load_half(block + 208), load_16(block + 192), 32, out);
    __m256i sub[8];
#pragma GCC unroll 8
    for (int s = 0; s < 8; ++s) {
      const int half = s / 4, plane = s % 4;
      const __m256i low = byte_bits(load_32(block + 64 * half + 32 * (plane % 2)), 4 * (plane / 2), 4);
      sub[s] = _mm256_or_si256(low, byte_bits(load_32(block + 128 + 32 * half), 2 * plane, 2, 4));
    }
    to_lanes(sub, out.q);
  }
};

struct PairsQ2K {
  static constexpr int kElems = 256, kLead = 0, kBytes = 84, kRun = 4, kMost = 3;
  static constexpr bool kSigned = false, kCanPack = true;
  [[gnu::always_inline]] static void read(const uint8_t* block, int, PairGroup& out) {
    const __m128i scales = load_16(block);
#pragma GCC unroll 2
    for (int o = 0; o < 2; ++o) {
      out.d[o] = load_half(block + 80) * lanes_of_16(nibbles(scales), o);
      out.m[o] = -load_half(block + 82) * lanes_of_16(nibbles(_mm_srli_epi16(scales, 4)), o);
    }
    __m256i sub[8];
#pragma GCC unroll 8
    for (int s = 0; s < 8; ++s) sub[s] = byte_bits(load_32(block + 16 + 32 * (s / 4)), 2 * (s % 4), 2);
    to_lanes(sub, out.q);
  }
};

struct PairsQ3K {
  static constexpr int kElems = 256, kLead = 0, kBytes = 110, kRun = 4, kMost = 7;
  static constexpr bool kSigned = false, kCanPack = true;
  [[gnu::always_inline]] static void read(const uint8_t* block, int, PairGroup& out) {
    const __m128i four_bits = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(block + 96));
    const __m128i low = nibbles(_mm_unpacklo_epi64(four_bits, _mm_srli_epi16(four_bits, 4)));
    const __m128i two_bits =
        _mm_srlv_epi32(_mm_set1_epi32(static_cast<int>(load_dword(block + 104))), _mm_setr_epi32(0, 2, 4, 6));
    const __m128i high = _mm_slli_epi16(_mm_and_si128(two_bits, _mm_set1_epi8(3)), 4);
    read_scales_16(load_half(block + 108), _mm_sub_epi8(_mm_or_si128(low, high), _mm_set1_epi8(32)), 4, out);
    __m256i sub[8];
#pragma GCC unroll 8
    for (int s = 0; s < 8; ++s) {
      const __m256i bits = byte_bits(load_32(block + 32 + 32 * (s / 4)), 2 * (s % 4), 2);
      sub[s] = _mm256_or_si256(bits, byte_bits(load_32(block), s, 1, 2));
    }
    to_lanes(sub, out.q);
  }
};

/// 16 bytes of nibbles: the low ones, then the high ones.
inline __m256i halves_of_nibbles(const uint8_t* p) {
  const __m128i q = load_16(p);
  return byte_bits(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), 0, 4);
}

inline __m256i look_up(const int8_t (&table)[16], __m256i index) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_16(table)), index);
}

struct PairsIq4Xs {
  static constexpr int kElems = 256, kLead = 0, kBytes = 136, kRun = 1, kMost = 127;
  static constexpr bool kSigned = true, kCanPack = true;
  [[gnu::always_inline]] static void read(const uint8_t* block, int, PairGroup& out) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const auto bits = [&](uint32_t word, int each) {
      const __m256i shift = _mm256_mullo_epi32(index, _mm256_set1_epi32(each));
      const __m256i v = _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(word)), shift);
      return _mm256_and_si256(v, _mm256_set1_epi32((1 << each) - 1));
    };
    const __m256i low = bits(load_dword(block + 4), 4), high = bits(load_word(block + 2), 2);
    const __m256i scale = _mm256_sub_epi32(_mm256_or_si256(low, _mm256_slli_epi32(high, 4)), _mm256_set1_epi32(32));
    const __m256 d = load_half(block) * _mm256_cvtepi32_ps(scale);
#pragma GCC unroll 2
    for (int o = 0; o < 2; ++o) out.d[o] = lanes_of_32(d, o);
    __m256i sub[8];
#pragma GCC unroll 8
    for (int s = 0; s < 8; ++s) sub[s] = look_up(kIq4Values, halves_of_nibbles(block + 8 + 16 * s));
    to_lanes(sub, out.q);
  }
};

/// The codebook formats by way of their integers: magnitudes up to kOffset, scales up to 31.
template <FormatId kFormat, int kBlockBytes, int kSub, int kOffset>
struct PairsGrid {
  static constexpr int kElems = 256, kBytes = kBlockBytes, kRun = kOffset < 16 ? 4 : 1, kMost = 2 * kOffset;
  static constexpr bool kSigned = false, kCanPack = false;
  [[gnu::always_inline]] static void read(const uint8_t* block, int, PairGroup& out) {
    static const UnpackInts kUnpack = find_unpacker(kFormat);
    IntBlock ints;  // of which they set value, scale and d, all that is read
    kUnpack(block, &ints);
    const __m128i first = load_16(ints.scale);
    const __m128i scales = kSub == 16 ? _mm_packs_epi16(first, load_16(ints.scale + 8))
                                      : _mm_or_si128(first, _mm_slli_epi16(first, 8));  // small: bytes, each twice
    read_scales_16(_mm256_set1_ps(ints.d), scales, kOffset, out);
    __m256i sub[8];
#pragma GCC unroll 8
    for (int s = 0; s < 8; ++s) sub[s] = _mm256_add_epi8(load_32(ints.value + 32 * s), _mm256_set1_epi8(kOffset));
    to_lanes(sub, out.q);
  }
};

// ---- blocks of 32: read(blocks, count, group), count up to 8; those that are not there count nothing ----

/// v[i]: f16 i of each block.
template <int kHalves, int kBytes>
[[gnu::always_inline]] inline void read_halves(const uint8_t* blocks, int count, __m256 (&v)[kHalves]) {
#pragma GCC unroll 2
  for (int i = 0; i < kHalves; ++i) {
    uint16_t words[8] = {};
#pragma GCC unroll 8
    for (int b = 0; b < 8; ++b) {
      if (b < count) words[b] = load_word(blocks + kBytes * b + 2 * i);
    }
    const __m128i all =
        _mm_setr_epi16(static_cast<int16_t>(words[0]), static_cast<int16_t>(words[1]), static_cast<int16_t>(words[2]),
                       static_cast<int16_t>(words[3]), static_cast<int16_t>(words[4]), static_cast<int16_t>(words[5]),
                       static_cast<int16_t>(words[6]), static_cast<int16_t>(words[7]));
    v[i] = _mm256_cvtph_ps(all);
  }
}

/// value(block): its 32 values; d: of eight blocks.
template <int kBytes, class Value>
[[gnu::always_inline]] inline void read_blocks(const uint8_t* blocks, int count, __m256 d, const Value& value,
                                               PairGroup& out) {
  __m256i sub[8];
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) sub[b] = b < count ? value(blocks + kBytes * b) : _mm256_setzero_si256();
  to_lanes(sub, out.q);
#pragma GCC unroll 2
  for (int o = 0; o < 2; ++o) out.d[o] = lanes_of_32(d, o);
}

struct PairsQ80 {
  static constexpr int kElems = 32, kLead = 2, kBytes = 34, kRun = 1, kMost = 128;
  static constexpr bool kSigned = true, kCanPack = true;
  [[gnu::always_inline]] static void read(const uint8_t* blocks, int count, PairGroup& out) {
    __m256 d[1];
    read_halves<1, kBytes>(blocks, count, d);
    read_blocks<kBytes>(
        blocks, count, d[0], [](const uint8_t* block) { return load_32(block + 2); }, out);
  }
};

/// q4_0 and q4_1, q5_0 and q5_1: nibbles behind d (and m, and the high bits).
template <bool kWithM, bool kWithHigh>
struct PairsQ45 {
  static constexpr int kHighAt = kWithM ? 4 : 2, kNibblesAt = kHighAt + (kWithHigh ? 4 : 0);
  static constexpr int kElems = 32, kLead = kHighAt, kBytes = kNibblesAt + 16, kRun = 4, kMost = kWithHigh ? 31 : 15;
  static constexpr bool kSigned = false, kCanPack = true;
  [[gnu::always_inline]] static void read(const uint8_t* blocks, int count, PairGroup& out) {
    __m256 dm[kWithM ? 2 : 1];
    read_halves<kWithM ? 2 : 1, kBytes>(blocks, count, dm);
    const __m256 m = kWithM ? dm[kWithM] : dm[0] * _mm256_set1_ps(kWithHigh ? -16.0f : -8.0f);
    read_blocks<kBytes>(blocks, count, dm[0], value, out);
#pragma GCC unroll 2
    for (int o = 0; o < 2; ++o) out.m[o] = lanes_of_32(m, o);
  }

 private:
  static __m256i value(const uint8_t* block) {
    const __m256i q = halves_of_nibbles(block + kNibblesAt);
    if constexpr (!kWithHigh) return q;
    const __m256i high = _mm256_set1_epi32(static_cast<int>(load_dword(block + kHighAt)));
    const __m256i byte = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(high, byte), bit), bit);
    return _mm256_or_si256(q, _mm256_and_si256(set, _mm256_set1_epi8(16)));
  }
};

struct PairsIq4Nl {
  static constexpr int kElems = 32, kLead = 2, kBytes = 18, kRun = 1, kMost = 127;
  static constexpr bool kSigned = true, kCanPack = true;
  [[gnu::always_inline]] static void read(const uint8_t* blocks, int count, PairGroup& out) {
    __m256 d[1];
    read_halves<1, kBytes>(blocks, count, d);
    const auto value = [](const uint8_t* block) { return look_up(kIq4Values, halves_of_nibbles(block + 2)); };
    read_blocks<kBytes>(blocks, count, d[0], value, out);
  }
};

/// The scale is the exponent e of 2^(e - 128).
struct PairsMxfp4 {
  static constexpr int kElems = 32, kLead = 1, kBytes = 17, kRun = 4, kMost = 12;
  static constexpr bool kSigned = true, kCanPack = true;
  [[gnu::always_inline]] static void read(const uint8_t* blocks, int count, PairGroup& out) {
    int32_t bits[8] = {};
#pragma GCC unroll 8
    for (int b = 0; b < 8; ++b) {
      const uint32_t e = blocks[b < count ? kBytes * b : 0];
      // e = 0 and 1: below the normal numbers
      if (b < count) bits[b] = static_cast<int32_t>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
    }
    const __m256 d =
        _mm256_castsi256_ps(_mm256_setr_epi32(bits[0], bits[1], bits[2], bits[3], bits[4], bits[5], bits[6], bits[7]));
    const auto value = [](const uint8_t* block) { return look_up(kE2m1Doubled, halves_of_nibbles(block + 1)); };
    read_blocks<kBytes>(blocks, count, d, value, out);
  }
};

}  // namespace
}  // namespace moxie::cpu
