// Blocks of w as pair_gemm.h multiplies them (AVX2): 32 elements a vector in order of k, as they lie in the file;
// layouts: format/block.h.
//
// Super-blocks: x = d scale (value - kOffset) - dmin min. value(j): elements 32 j ..; scales()[j]: their scales as
// int16; mins(): for 16 elements each, min (kMin) or scale * kOffset. Blocks of 32: x = d value + m. Values are
// unsigned and products of pairs fit int16, or kSigned: any int8.
// kLead: the bytes before the dwords of a packed block (format/packed.h).
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "format/block.h"
#include "format/codebooks.h"

namespace moxie::cpu {
namespace {

inline __m256i load_32(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
inline __m128i load_16(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
inline __m256i twice_16(const void* p) {
  return _mm256_broadcastsi128_si256(load_16(p));
}
inline uint32_t load_dword(const uint8_t* p) {
  uint32_t value;
  std::memcpy(&value, p, 4);
  return value;
}
inline float load_half(const uint8_t* p) {
  uint16_t value;
  std::memcpy(&value, p, 2);
  return _cvtsh_ss(value);
}

/// Bits [shift, shift + bits) of every byte, in the low bits.
inline __m256i low_bits(__m256i v, int shift, int bits) {
  return _mm256_and_si256(_mm256_srli_epi16(v, shift), _mm256_set1_epi8(static_cast<char>((1 << bits) - 1)));
}
/// Bits [shift, shift + bits) of every byte, from bit `to` on.
inline __m256i moved_bits(__m256i v, int shift, int bits, int to) {
  const __m256i moved = shift < to ? _mm256_slli_epi16(v, to - shift) : _mm256_srli_epi16(v, shift - to);
  return _mm256_and_si256(moved, _mm256_set1_epi8(static_cast<char>(((1 << bits) - 1) << to)));
}

/// 16 bytes of nibbles: the low ones, then the high ones.
inline __m256i halves_of_nibbles(const uint8_t* p) {
  const __m128i q = load_16(p);
  return low_bits(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), 0, 4);
}

inline __m256i look_up(const int8_t (&table)[16], __m256i index) {
  return _mm256_shuffle_epi8(twice_16(table), index);
}

/// The int16 scales of a super-block: word j of each half is that of this half of vector j.
struct Scales {
  __m256i operator[](int j) const {
    return _mm256_shuffle_epi8(words, _mm256_set1_epi16(static_cast<int16_t>(0x0100 + 0x0202 * j)));
  }
  __m256i words;
};
inline Scales scales_of_32(__m128i words) {
  return {_mm256_broadcastsi128_si256(words)};
}
inline Scales scales_of_16(__m128i bytes) {
  return {_mm256_cvtepi8_epi16(
      _mm_shuffle_epi8(bytes, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)))};
}

/// The 6-bit scales and mins of q4_k and q5_k: 16 bytes d, dmin, a, b, c. Scales 0 .. 3 and mins 0 .. 3 are the low 6
/// bits of a and b; scales and mins 4 .. 7 the low and high nibbles of c below the high bits of a and b.
struct HeadK4 {
  explicit HeadK4(const uint8_t* block) : d(load_half(block)), dmin(load_half(block + 2)) {
    const __m128i head = load_16(block);
    const __m128i low = _mm_srlv_epi32(_mm_shuffle_epi32(head, 0xed), _mm_setr_epi32(0, 0, 0, 4));
    const __m128i high =
        _mm_and_si128(_mm_srli_epi32(_mm_shuffle_epi32(head, 0x84), 2), _mm_setr_epi32(0, 0x30303030, 0, 0x30303030));
    const __m128i bytes =
        _mm_or_si128(_mm_and_si128(low, _mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f)), high);
    scale = _mm_cvtepu8_epi16(bytes);
    const __m128i each_twice =
        _mm_shuffle_epi8(bytes, _mm_setr_epi8(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15));
    min = _mm256_cvtepu8_epi16(each_twice);
  }
  Scales scales() const { return scales_of_32(scale); }
  __m256i mins() const { return min; }
  float d, dmin;
  __m128i scale;
  __m256i min;
};

struct PairsQ4K : HeadK4 {
  static constexpr int kElems = 256, kLead = 0, kBytes = 144;
  static constexpr bool kSigned = false, kMin = true;
  explicit PairsQ4K(const uint8_t* block) : HeadK4(block), nibbles(block + 16) {}
  __m256i value(int j) const { return low_bits(load_32(nibbles + 32 * (j / 2)), 4 * (j % 2), 4); }
  const uint8_t* nibbles;
};

struct PairsQ5K : HeadK4 {
  static constexpr int kElems = 256, kLead = 0, kBytes = 176;
  static constexpr bool kSigned = false, kMin = true;
  explicit PairsQ5K(const uint8_t* block) : HeadK4(block), nibbles(block + 48), fifth(load_32(block + 16)) {}
  __m256i value(int j) const {
    const __m256i low = low_bits(load_32(nibbles + 32 * (j / 2)), 4 * (j % 2), 4);
    return _mm256_or_si256(low, moved_bits(fifth, j, 1, 4));
  }
  const uint8_t* nibbles;
  __m256i fifth;
};

struct PairsQ6K {
  static constexpr int kElems = 256, kLead = 0, kBytes = 210;
  static constexpr bool kSigned = false, kMin = false;
  explicit PairsQ6K(const uint8_t* bytes) : block(bytes), d(load_half(bytes + 208)) {}
  __m256i value(int j) const {
    const int half = j / 4, plane = j % 4;
    const __m256i low = low_bits(load_32(block + 64 * half + 32 * (plane % 2)), 4 * (plane / 2), 4);
    return _mm256_or_si256(low, moved_bits(load_32(block + 128 + 32 * half), 2 * plane, 2, 4));
  }
  Scales scales() const { return scales_of_16(load_16(block + 192)); }
  __m256i mins() const { return _mm256_slli_epi16(_mm256_cvtepi8_epi16(load_16(block + 192)), 5); }  // 32
  const uint8_t* block;
  float d, dmin = 0;
};

struct PairsQ2K {
  static constexpr int kElems = 256, kLead = 0, kBytes = 84;
  static constexpr bool kSigned = false, kMin = true;
  explicit PairsQ2K(const uint8_t* bytes) : block(bytes), d(load_half(bytes + 80)), dmin(load_half(bytes + 82)) {}
  __m256i value(int j) const { return low_bits(load_32(block + 16 + 32 * (j / 4)), 2 * (j % 4), 2); }
  Scales scales() const { return scales_of_16(_mm_and_si128(load_16(block), _mm_set1_epi8(15))); }
  __m256i mins() const {
    return _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(load_16(block), 4), _mm_set1_epi8(15)));
  }
  const uint8_t* block;
  float d, dmin;
};

struct PairsQ3K {
  static constexpr int kElems = 256, kLead = 0, kBytes = 110;
  static constexpr bool kSigned = false, kMin = false;
  explicit PairsQ3K(const uint8_t* bytes) : block(bytes), d(load_half(bytes + 108)) {
    const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(block + 96));
    const __m128i nibbles = _mm_and_si128(_mm_unpacklo_epi64(low, _mm_srli_epi16(low, 4)), _mm_set1_epi8(15));
    const __m128i pairs =
        _mm_srlv_epi32(_mm_set1_epi32(static_cast<int>(load_dword(block + 104))), _mm_setr_epi32(0, 2, 4, 6));
    const __m128i high = _mm_slli_epi16(_mm_and_si128(pairs, _mm_set1_epi8(3)), 4);
    scale = _mm_sub_epi8(_mm_or_si128(nibbles, high), _mm_set1_epi8(32));
  }
  __m256i value(int j) const {
    const __m256i low = low_bits(load_32(block + 32 + 32 * (j / 4)), 2 * (j % 4), 2);
    return _mm256_or_si256(low, moved_bits(load_32(block), j, 1, 2));
  }
  Scales scales() const { return scales_of_16(scale); }
  __m256i mins() const { return _mm256_slli_epi16(_mm256_cvtepi8_epi16(scale), 2); }  // 4
  const uint8_t* block;
  float d, dmin = 0;
  __m128i scale;
};

struct PairsIq4Xs {
  static constexpr int kElems = 256, kLead = 0, kBytes = 136;
  static constexpr bool kSigned = true, kMin = false;
  explicit PairsIq4Xs(const uint8_t* bytes) : block(bytes), d(load_half(bytes)) {}
  __m256i value(int j) const { return look_up(kIq4Values, halves_of_nibbles(block + 8 + 16 * j)); }
  Scales scales() const {
    const auto bits = [](uint32_t word, int each) {
      const __m256i shift = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(each));
      const __m256i v = _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(word)), shift);
      return _mm256_and_si256(v, _mm256_set1_epi32((1 << each) - 1));
    };
    const __m256i low = bits(load_dword(block + 4), 4), high = bits(load_dword(block) >> 16, 2);
    const __m256i scale = _mm256_sub_epi32(_mm256_or_si256(low, _mm256_slli_epi32(high, 4)), _mm256_set1_epi32(32));
    return {_mm256_permute4x64_epi64(_mm256_packs_epi32(scale, scale), 0x88)};
  }
  __m256i mins() const { return _mm256_setzero_si256(); }
  const uint8_t* block;
  float d, dmin = 0;
};

/// The codebook formats by way of their integers: magnitudes up to 62.
template <FormatId kFormat, int kBlockBytes, int kSub>
struct PairsGrid {
  static constexpr int kElems = 256, kLead = 0, kBytes = kBlockBytes;
  static constexpr bool kSigned = false, kMin = false;
  explicit PairsGrid(const uint8_t* block) {
    static const UnpackInts kUnpack = find_unpacker(kFormat);
    kUnpack(block, &ints);
    d = ints.d;
  }
  __m256i value(int j) const { return _mm256_add_epi8(load_32(ints.value + 32 * j), _mm256_set1_epi8(64)); }
  Scales scales() const {
    if constexpr (kSub == 32) return scales_of_32(load_16(ints.scale));
    const __m256i all = load_32(ints.scale);
    const __m256i even_then_odd =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    return {_mm256_permute4x64_epi64(_mm256_shuffle_epi8(all, even_then_odd), 0xd8)};
  }
  __m256i mins() const {
    __m256i each = load_32(ints.scale);
    if constexpr (kSub == 32) {
      const __m128i s = load_16(ints.scale);
      each = _mm256_set_m128i(_mm_unpackhi_epi16(s, s), _mm_unpacklo_epi16(s, s));
    }
    return _mm256_slli_epi16(each, 6);  // 64
  }
  IntBlock ints;
  float d, dmin = 0;
};

// ---- blocks of 32 ----

struct PairsQ80 {
  static constexpr int kElems = 32, kLead = 2, kBytes = 34;
  static constexpr bool kSigned = true, kMin = false;
  explicit PairsQ80(const uint8_t* bytes) : block(bytes), d(load_half(bytes)) {}
  __m256i value() const { return load_32(block + 2); }
  const uint8_t* block;
  float d, m = 0;
};

/// q4_0 and q4_1, q5_0 and q5_1: nibbles behind d (and m, and the high bits).
template <bool kWithM, bool kWithHigh>
struct PairsQ45 {
  static constexpr int kHighAt = kWithM ? 4 : 2, kNibblesAt = kHighAt + (kWithHigh ? 4 : 0);
  static constexpr int kElems = 32, kLead = kHighAt, kBytes = kNibblesAt + 16;
  static constexpr bool kSigned = !kWithM, kMin = kWithM;
  explicit PairsQ45(const uint8_t* bytes)
      : block(bytes), d(load_half(bytes)), m(kWithM ? load_half(bytes + 2) : 0.0f) {}
  __m256i value() const {
    __m256i q = halves_of_nibbles(block + kNibblesAt);
    if constexpr (kWithHigh) {
      const __m256i all = _mm256_set1_epi32(static_cast<int>(load_dword(block + kHighAt)));
      const __m256i byte = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3,
                                            3, 3, 3, 3, 3, 3, 3);
      const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
      const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(all, byte), bit), bit);
      q = _mm256_or_si256(q, _mm256_and_si256(set, _mm256_set1_epi8(16)));
    }
    return kWithM ? q : _mm256_sub_epi8(q, _mm256_set1_epi8(kWithHigh ? 16 : 8));
  }
  const uint8_t* block;
  float d, m;
};

/// A nibble is an index into 16 int8 values: iq4_nl, and mxfp4_block, whose scale is the exponent e of 2^(e - 128).
template <bool kMx>
struct PairsTable {
  static constexpr int kNibblesAt = kMx ? 1 : 2, kElems = 32, kLead = kNibblesAt, kBytes = kNibblesAt + 16;
  static constexpr bool kSigned = true, kMin = false;
  explicit PairsTable(const uint8_t* bytes) : block(bytes), d(kMx ? power(bytes[0]) : load_half(bytes)) {}
  __m256i value() const { return look_up(kMx ? kE2m1Doubled : kIq4Values, halves_of_nibbles(block + kNibblesAt)); }
  const uint8_t* block;
  float d, m = 0;

 private:
  static float power(uint32_t e) {
    const uint32_t bits = e < 2 ? 0x00200000u << e : (e - 1) << 23;  // e = 0 and 1: below the normal numbers
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }
};

}  // namespace
}  // namespace moxie::cpu
