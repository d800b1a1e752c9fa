// What the kernel bodies need to know of AVX2 with FMA and F16C: 8 lanes of f32. No arithmetic of its own.
//
// Included only by sources compiled for it. Everything has internal linkage, as the bodies built on it: code made for
// one instruction set must never be merged by the linker with code for another.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace moxie::cpu {
namespace {

struct Avx2 {
  using F = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kBytes = 32;
  static constexpr int kTileRows = 3, kTileCols = 4;  // 12 accumulators, 3 + 1 operands: all 16 registers
  static constexpr int kOuterRows = 6;                // x 2 vectors: 12 accumulators, 2 + 1 operands

  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float v) { return _mm256_set1_ps(v); }
  static F load(const void* p) { return _mm256_loadu_ps(static_cast<const float*>(p)); }
  static F load_part(const void* p, int64_t n) { return _mm256_maskload_ps(static_cast<const float*>(p), mask(n)); }
  static void store(void* p, F v) { _mm256_storeu_ps(static_cast<float*>(p), v); }
  static void store_part(void* p, F v, int64_t n) { _mm256_maskstore_ps(static_cast<float*>(p), mask(n), v); }

  static F load_bf16(const void* p) { return widen_bf16(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  static F load_bf16_part(const void* p, int64_t n) { return widen_bf16(load_u16_part(p, n)); }
  static F load_f16(const void* p) { return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  static F load_f16_part(const void* p, int64_t n) { return _mm256_cvtph_ps(load_u16_part(p, n)); }
  /// The first (half 0) or second bf16 of each of 8 pairs.
  static F load_bf16_half(const void* p, int64_t half) {
    const __m256i pairs = _mm256_loadu_si256(static_cast<const __m256i*>(p));
    const __m256i high = _mm256_sll_epi32(pairs, _mm_cvtsi64_si128(16 - 16 * half));
    return _mm256_castsi256_ps(_mm256_and_si256(high, _mm256_set1_epi32(static_cast<int>(0xffff0000))));
  }
  static F load_i8(const void* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
  }
  /// 8 e2m1 values of 4 bytes, low nibble first.
  static F load_e2m1(const void* p) {
    int32_t word;
    std::memcpy(&word, p, 4);
    const __m256i nibbles = _mm256_srlv_epi32(_mm256_set1_epi32(word), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    const F magnitude = _mm256_permutevar8x32_ps(_mm256_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f),
                                                 nibbles);  // takes the low 3 bits
    const __m256i sign = _mm256_slli_epi32(_mm256_and_si256(nibbles, _mm256_set1_epi32(8)), 28);
    return _mm256_or_ps(magnitude, _mm256_castsi256_ps(sign));
  }
  /// 8 e4m3 values, exactly: as f16 they are 2^-8 of what they are.
  static F load_e4m3(const void* p) { return widen_e4m3(_mm_loadl_epi64(static_cast<const __m128i*>(p))); }
  static F load_e4m3_part(const void* p, int64_t n) {
    uint8_t part[16] = {};
    std::memcpy(part, p, static_cast<size_t>(n));
    return widen_e4m3(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(part)));
  }
  /// Nearest, ties to even; a NaN stays one, quiet.
  static void store_bf16(void* p, F v) { _mm_storeu_si128(static_cast<__m128i*>(p), narrow_bf16(v)); }
  static void store_bf16_part(void* p, F v, int64_t n) {
    uint16_t all[8];
    store_bf16(all, v);
    std::memcpy(p, all, static_cast<size_t>(n) * 2);
  }

  static void store_f16(void* p, F v) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store_f16_part(void* p, F v, int64_t n) {
    uint16_t all[8];
    store_f16(all, v);
    std::memcpy(p, all, static_cast<size_t>(n) * 2);
  }

  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
  /// b where either is a NaN.
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F sqrt(F a) { return _mm256_sqrt_ps(a); }
  /// x where a <= b, else 0.
  static F where_le(F a, F b, F x) { return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_LE_OQ), x); }
  static F round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  /// a * 2^n for integral |n| < 252, in two steps so that underflow is gradual.
  static F scale_by_power(F a, F n) {
    const __m256i power = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(power, 1);
    return mul(mul(a, power_of_two(half)), power_of_two(_mm256_sub_epi32(power, half)));
  }

  /// Sums of the lanes of four vectors: lane j + lane j + 4, then + 2, + 1.
  static __m128 sum4(F a, F b, F c, F d) { return sum4_of_4(halve(a), halve(b), halve(c), halve(d)); }
  static float max_lane(F a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }

  /// The nearest bf16, as f32.
  static F round_bf16(F v) { return widen_bf16(narrow_bf16(v)); }
  /// v[i][j] becomes v[j][i].
  static void transpose(F (&v)[8]) {
    F a[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      a[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
      a[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
    }
    F b[8];
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {  // b[4 i + c]: column c of each half, rows 4 i .. 4 i + 3
      b[4 * i] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
      b[4 * i + 1] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0xee);
      b[4 * i + 2] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
      b[4 * i + 3] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      v[c] = _mm256_permute2f128_ps(b[c], b[4 + c], 0x20);
      v[4 + c] = _mm256_permute2f128_ps(b[c], b[4 + c], 0x31);
    }
  }

 private:
  static __m256i mask(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static __m128i load_u16_part(const void* p, int64_t n) {
    uint16_t part[8] = {};
    std::memcpy(part, p, static_cast<size_t>(n) * 2);
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(part));
  }
  static __m128 halve(__m256 v) {
    return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  }
  static __m128 sum4_of_4(__m128 a, __m128 b, __m128 c, __m128 d) {
    const __m128 ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));  // a02 b02 a13 b13
    const __m128 cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
    return _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
  }
  static F power_of_two(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
  static F widen_bf16(__m128i v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
  }
  static F widen_e4m3(__m128i v) {
    const __m128i wide = _mm_unpacklo_epi8(_mm_setzero_si128(), v);  // the byte above
    const __m128i magnitude = _mm_srli_epi16(_mm_slli_epi16(wide, 1), 2);
    const __m128i nan = _mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x3f80));
    const __m128i sign = _mm_and_si128(wide, _mm_set1_epi16(-0x8000));
    const __m128i half = _mm_or_si128(_mm_or_si128(magnitude, sign), _mm_and_si128(nan, _mm_set1_epi16(0x7e00)));
    return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256));
  }
  static __m128i narrow_bf16(F v) {
    const __m256i bits = _mm256_castps_si256(v), high = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
    const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i all = _mm256_blendv_epi8(rounded, quiet, nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
  }
};

}  // namespace
}  // namespace moxie::cpu
