// What the kernel bodies need to know of AVX-512 (F, BW, VL, DQ): 16 lanes of f32. No arithmetic of its own.
//
// Included only by sources compiled for it. Everything has internal linkage, as the bodies built on it: code made for
// one instruction set must never be merged by the linker with code for another.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace moxie::cpu {
namespace {

struct Avx512 {
  using F = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kBytes = 64;
  static constexpr int kTileRows = 4, kTileCols = 6;  // 24 accumulators, 4 + 1 operands: 29 of 32 registers
  static constexpr int kOuterRows = 12;               // x 2 vectors: 24 accumulators, 2 + 1 operands

  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float v) { return _mm512_set1_ps(v); }
  static F load(const void* p) { return _mm512_loadu_ps(p); }
  static F load_part(const void* p, int64_t n) { return _mm512_maskz_loadu_ps(mask(n), p); }
  static void store(void* p, F v) { _mm512_storeu_ps(p, v); }
  static void store_part(void* p, F v, int64_t n) { _mm512_mask_storeu_ps(p, mask(n), v); }

  static F load_bf16(const void* p) { return widen_bf16(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
  static F load_bf16_part(const void* p, int64_t n) { return widen_bf16(_mm256_maskz_loadu_epi16(mask(n), p)); }
  static F load_f16(const void* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
  static F load_f16_part(const void* p, int64_t n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask(n), p)); }
  /// The first (half 0) or second bf16 of each of 16 pairs.
  static F load_bf16_half(const void* p, int64_t half) {
    const __m512i high = _mm512_sll_epi32(_mm512_loadu_si512(p), _mm_cvtsi64_si128(16 - 16 * half));
    return _mm512_castsi512_ps(_mm512_and_si512(high, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
  }
  /// Of each pair of bf16 the first (half 0) or the second, the other zero.
  static F keep_bf16_half(F pairs, int64_t half) {
    const __m512i mask = _mm512_set1_epi32(half == 0 ? 0xffff : static_cast<int>(0xffff0000));
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(pairs), mask));
  }
  static F load_i8(const void* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
  }
  /// 16 e2m1 values of 8 bytes, low nibble first.
  static F load_e2m1(const void* p) {
    int64_t bytes;
    std::memcpy(&bytes, p, 8);
    const __m512i dword = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m512i shift = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    const __m512i index = _mm512_srlv_epi32(_mm512_permutexvar_epi32(dword, _mm512_set1_epi64(bytes)), shift);
    const F table = _mm512_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f, -0.0f, -0.5f, -1.0f, -1.5f, -2.0f,
                                   -3.0f, -4.0f, -6.0f);
    return _mm512_permutexvar_ps(index, table);  // takes the low 4 bits
  }
  /// 16 e4m3 values, exactly: as f16 they are 2^-8 of what they are.
  static F load_e4m3(const void* p) { return widen_e4m3(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  static F load_e4m3_part(const void* p, int64_t n) { return widen_e4m3(_mm_maskz_loadu_epi8(mask(n), p)); }
  /// Nearest, ties to even; a NaN stays one, quiet.
  static void store_bf16(void* p, F v) { _mm256_storeu_si256(static_cast<__m256i*>(p), narrow_bf16(v)); }
  static void store_bf16_part(void* p, F v, int64_t n) { _mm256_mask_storeu_epi16(p, mask(n), narrow_bf16(v)); }

  static void store_f16(void* p, F v) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store_f16_part(void* p, F v, int64_t n) {
    _mm256_mask_storeu_epi16(p, mask(n), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }

  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  /// b where either is a NaN.
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F sqrt(F a) { return _mm512_sqrt_ps(a); }
  /// x where a <= b, else 0.
  static F where_le(F a, F b, F x) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_LE_OQ), x); }
  static F round(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  /// a * 2^n for integral n; underflow is gradual.
  static F scale_by_power(F a, F n) { return _mm512_scalef_ps(a, n); }

  /// Sums of the lanes of four vectors: lane j + lane j + 8, then + 4, + 2, + 1.
  static __m128 sum4(F a, F b, F c, F d) {
    const F ab = add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));  // 8 of a, 8 of b
    const F cd = add(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    const F four = add(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));  // 4 of each
    const F two = add(four, _mm512_permute_ps(four, 0x4e));
    const F one = add(two, _mm512_permute_ps(two, 0xb1));
    return _mm512_castps512_ps128(
        _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), one));
  }
  static float max_lane(F a) { return _mm512_reduce_max_ps(a); }

  /// The nearest bf16, as f32.
  static F round_bf16(F v) { return widen_bf16(narrow_bf16(v)); }
  /// v[i][j] becomes v[j][i], 32 bits each.
  static void transpose(F (&v)[16]) {
    F a[16], b[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      a[2 * i] = _mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]);
      a[2 * i + 1] = _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {  // b[4 i + c]: column c of each quarter, rows 4 i .. 4 i + 3
      b[4 * i] = _mm512_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
      b[4 * i + 1] = _mm512_shuffle_ps(a[4 * i], a[4 * i + 2], 0xee);
      b[4 * i + 2] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
      b[4 * i + 3] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const F even_low = _mm512_shuffle_f32x4(b[c], b[4 + c], 0x88),
              odd_low = _mm512_shuffle_f32x4(b[c], b[4 + c], 0xdd);
      const F even_high = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0x88);
      const F odd_high = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0xdd);
      v[c] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
      v[8 + c] = _mm512_shuffle_f32x4(even_low, even_high, 0xdd);
      v[4 + c] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
      v[12 + c] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd);
    }
  }

 private:
  static __mmask16 mask(int64_t n) {
    return static_cast<__mmask16>((1u << n) - 1);
  }
  static F widen_e4m3(__m128i v) {
    const __m256i wide = _mm256_slli_epi16(_mm256_cvtepu8_epi16(v), 8);
    const __m256i magnitude = _mm256_srli_epi16(_mm256_slli_epi16(wide, 1), 2);
    const __mmask16 nan = _mm256_cmpeq_epi16_mask(magnitude, _mm256_set1_epi16(0x3f80));
    const __m256i sign = _mm256_and_si256(wide, _mm256_set1_epi16(-0x8000));
    const __m256i half = _mm256_or_si256(_mm256_mask_mov_epi16(magnitude, nan, _mm256_set1_epi16(0x7fff)), sign);
    return _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(256));
  }
  static F widen_bf16(__m256i v) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
  }
  static __m256i narrow_bf16(F v) {
    const __m512i bits = _mm512_castps_si512(v), high = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40)));
  }
};

}  // namespace
}  // namespace moxie::cpu
