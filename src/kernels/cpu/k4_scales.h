// The 6-bit scales and mins of q4_k and q5_k (format/block.h), as kernels read them along k.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace moxie::cpu {
namespace {

/// From the first 16 bytes of a block, d, dmin, a, b, c of four bytes each but the first two: bytes 0 .. 7 the scales,
/// 8 .. 15 the mins. Scales 0 .. 3 and mins 0 .. 3 are the low 6 bits of a and b; scales and mins 4 .. 7 the low and
/// high nibbles of c below the high bits of a and b.
inline __m128i k4_scales(const uint8_t* block) {
  const __m128i head = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block));
  const __m128i low = _mm_srlv_epi32(_mm_shuffle_epi32(head, 0xed), _mm_setr_epi32(0, 0, 0, 4));
  const __m128i high =
      _mm_and_si128(_mm_srli_epi32(_mm_shuffle_epi32(head, 0x84), 2), _mm_setr_epi32(0, 0x30303030, 0, 0x30303030));
  return _mm_or_si128(_mm_and_si128(low, _mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f)), high);
}

}  // namespace
}  // namespace moxie::cpu
