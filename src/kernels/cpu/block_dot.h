// y = x w^T for one row of x and plain rows of w in the formats of most GGUF files: rows of w are walked one after the
// other as they lie there, one stream from memory, lanes along k; no panel is unpacked.
//
// A block's sums are integers, hence the same whatever lanes take what; what follows them is done by the operations of
// the tiles (block_tile.h), so the bits of an output are the same too.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/activation.h"
#include "kernels/cpu/block_panel.h"
#include "kernels/cpu/gemm_rows.h"
#include "kernels/cpu/k4_scales.h"
#include "kernels/kernels.h"

namespace moxie::cpu {
namespace {

inline constexpr int kDotBlocks = 64;  // of a row at a time; more in a row leave the one stream

/// What kDotBlocks blocks of 16 rows of w make of x: integer sums, still in four lanes.
struct alignas(64) DotSums {
  int32_t total[kDotBlocks][kGroupRows][4];
  int32_t min[kDotBlocks][kGroupRows][4];
  uint32_t scales[kDotBlocks][kGroupRows];  // d and, where there is one, dmin
};

inline __m128i four_lanes(__m256i v) {
  return _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}
inline __m128i four_lanes(V v) {
  return four_lanes(_mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1)));
}

/// Lane r: the sum of row r's four lanes.
inline V sum_fours(const int32_t (&rows)[kGroupRows][4]) {
  const V order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  V v[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) v[i] = _mm512_load_si512(rows[4 * i]);
  const V a = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
  const V b = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
  // quarter q: rows q, 4 + q, 8 + q, 12 + q
  const V sums = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
  return _mm512_permutexvar_epi32(order, sums);
}

inline V twice(const uint8_t* bytes) {
  return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)));
}

/// Low lanes `low`, high lanes `high`.
inline V in_halves(int low, int high) {
  return _mm512_inserti64x4(_mm512_set1_epi32(low), _mm256_set1_epi32(high), 1);
}

/// The sum of scale * q * x over a super-block, 64 elements a vector.
inline __m128i scaled_sum(const V (&q)[4], const V (&scale)[4], const X8Block256& x) {
  V sum = _mm512_setzero_si512();
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const V dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), q[j], _mm512_loadu_si512(x.q + 64 * j));
    sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(dot, scale[j]));
  }
  return four_lanes(sum);
}

/// What a block of w makes of a block of x: sums in four lanes; min only where the format has mins.
struct BlockSums {
  __m128i total, min;
};

// Each format: where its f16 scales stand, and its sums, inlined so that their constants stay in registers.

/// q4_k, and q5_k, whose fifth bits stand before the nibbles: bit s of byte l is that of element l of sub-block s.
template <bool kFive>
struct DotK4 {
  using X = X8Block256;
  static constexpr int kBlockElems = 256, kBytes = kFive ? 176 : 144, kNibblesAt = kFive ? 48 : 16;
  static constexpr bool kMin = true;
  static uint32_t scales(const uint8_t* block) { return load_as<uint32_t>(block); }
  [[gnu::always_inline]] static BlockSums sums(const uint8_t* block, const X& x) {
    const __m128i bytes = k4_scales(block);
    const V all = _mm512_broadcast_i32x4(bytes);
    V q[4], scale[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      q[j] = nibbles(_mm512_srlv_epi32(twice(block + kNibblesAt + 32 * j), in_halves(0, 4)));
      if constexpr (kFive) {
        const V bits = _mm512_srlv_epi32(twice(block + 16), in_halves(2 * j, 2 * j + 1));
        q[j] = _mm512_or_si512(q[j], byte_shift_left(_mm512_and_si512(bits, _mm512_set1_epi8(1)), 4));
      }
      const int none = static_cast<int>(0x80808000);  // zeroes
      scale[j] = _mm512_shuffle_epi8(all, in_halves(none | 2 * j, none | (2 * j + 1)));
    }
    const __m128i mins = _mm_cvtepu8_epi16(_mm_srli_si128(bytes, 8));
    const __m128i sums = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x.double_sums));
    return {scaled_sum(q, scale, x), _mm_madd_epi16(mins, sums)};
  }
};

struct DotQ6K {
  using X = X8Block256;
  static constexpr int kBlockElems = 256, kBytes = 210;
  static constexpr bool kMin = false;
  static uint32_t scales(const uint8_t* block) { return load_as<uint16_t>(block + 208); }
  [[gnu::always_inline]] static BlockSums sums(const uint8_t* block, const X& x) {
    V q[4], scale[4];
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const V low = _mm512_loadu_si512(block + 64 * half), high = twice(block + 128 + 32 * half);
      const V sixteens = _mm512_set1_epi8(0x30);
      const V first_high = _mm512_and_si512(_mm512_sllv_epi32(high, in_halves(4, 2)), sixteens);
      const V second_high = _mm512_and_si512(_mm512_srlv_epi32(high, in_halves(0, 2)), sixteens);
      q[2 * half] = _mm512_or_si512(nibbles(low), first_high);
      q[2 * half + 1] = _mm512_or_si512(nibbles(_mm512_srli_epi32(low, 4)), second_high);
    }
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 192));
    const V all = _mm512_cvtepi8_epi32(bytes);
    const V first = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      scale[j] = _mm512_permutexvar_epi32(_mm512_add_epi32(first, _mm512_set1_epi32(4 * j)), all);
    }
    const __m256i x_sums = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x.sums));
    const __m256i scaled = _mm256_madd_epi16(_mm256_cvtepi8_epi16(bytes), x_sums);
    const __m128i offset = four_lanes(_mm256_slli_epi32(scaled, 5));  // 32 is in every q
    return {_mm_sub_epi32(scaled_sum(q, scale, x), offset), _mm_setzero_si128()};
  }
};

/// With 128 in every q, which finish_dots takes off.
struct DotQ80 {
  using X = X8Block32;
  static constexpr int kBlockElems = 32, kBytes = 34;
  static constexpr bool kMin = false;
  static uint32_t scales(const uint8_t* block) { return load_as<uint16_t>(block); }
  [[gnu::always_inline]] static BlockSums sums(const uint8_t* block, const X& x) {
    const auto load = [](const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); };
    const __m256i q = _mm256_xor_si256(load(block + 2), _mm256_set1_epi8(static_cast<char>(0x80)));
    return {four_lanes(_mm256_dpbusd_epi32(_mm256_setzero_si256(), q, load(x.q))), _mm_setzero_si128()};
  }
};

/// 16 outputs from the sums of `count` blocks; y: what was summed before.
template <class Dot>
__m512 finish_dots(const DotSums& sums, const typename Dot::X* x, int count, __m512 y) {
  for (int b = 0; b < count; ++b) {
    const V scales = _mm512_load_si512(sums.scales[b]);
    const __m512 d = low_halves(scales), dx = _mm512_set1_ps(x[b].d);
    V sum = sum_fours(sums.total[b]);
    if constexpr (Dot::kBlockElems == 32)
      sum = _mm512_sub_epi32(sum, _mm512_slli_epi32(_mm512_set1_epi32(x[b].sum), 7));  // 128
    const __m512 total = _mm512_cvtepi32_ps(sum);
    if constexpr (Dot::kBlockElems == 32) {
      y = _mm512_fmadd_ps(total, _mm512_mul_ps(d, dx), y);
    } else if constexpr (Dot::kMin) {
      const __m512 min = _mm512_mul_ps(_mm512_cvtepi32_ps(sum_fours(sums.min[b])), high_halves(scales));
      y = _mm512_fmadd_ps(_mm512_fmsub_ps(total, d, min), dx, y);
    } else {
      y = _mm512_fmadd_ps(_mm512_mul_ps(total, d), dx, y);
    }
  }
  return y;
}

template <class Dot>
void dot_rows(const GemmArgs& args) {
  using X = typename Dot::X;
  DotSums& sums = *static_cast<DotSums*>(args.scratch);
  const int64_t num_blocks = args.k / Dot::kBlockElems;
  for (int64_t n = args.n_begin; n < args.n_end; n += kGroupRows) {
    const int columns = static_cast<int>(min_of(kGroupRows, args.n_end - n));
    const auto mask = static_cast<__mmask16>((1u << columns) - 1);
    float* y = args.y + n - args.n_begin;
    __m512 sum = args.bias != nullptr ? _mm512_maskz_loadu_ps(mask, args.bias + n) : _mm512_setzero_ps();
    for (int64_t first = 0; first < num_blocks; first += kDotBlocks) {
      const int count = static_cast<int>(min_of(kDotBlocks, num_blocks - first));
      const X* x = reinterpret_cast<const X*>(x_row(args, 0)) + first;
      for (int r = 0; r < columns; ++r) {
        const auto* block = reinterpret_cast<const uint8_t*>(w_row(args, n + r).data) + first * Dot::kBytes;
        for (int b = 0; b < count; ++b, block += Dot::kBytes) {
          for (int i = 0; i < Dot::kBytes; i += 64) _mm_prefetch(block + kAheadBytes + i, _MM_HINT_T0);
          const BlockSums made = Dot::sums(block, x[b]);
          sums.scales[b][r] = Dot::scales(block);
          _mm_store_si128(reinterpret_cast<__m128i*>(sums.total[b][r]), made.total);
          if constexpr (Dot::kMin) _mm_store_si128(reinterpret_cast<__m128i*>(sums.min[b][r]), made.min);
        }
      }
      sum = finish_dots<Dot>(sums, x, count, sum);
    }
    _mm512_mask_storeu_ps(y, mask, sum);
  }
}

}  // namespace
}  // namespace moxie::cpu
