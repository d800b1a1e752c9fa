// The int8 form of rows of x by AVX2, and the door to the product with block formats. What it does: pair_gemm.h.
#include "kernels/cpu/integer_product.h"
#include "kernels/cpu/pair_gemm.h"

namespace moxie::cpu {
namespace {

/// 32 integers (nearest, ties to even) of x * inverse; out[0], out[1]: the sums of the first and the second 16.
inline void encode_32(const float* x, __m256 inverse, __m256i finite, int8_t* q, int32_t (&out)[2]) {
  const auto eight = [&](int i) {
    return _mm256_and_si256(finite, _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inverse)));
  };
  const __m256i words = _mm256_packs_epi32(eight(0), eight(1)), more = _mm256_packs_epi32(eight(2), eight(3));
  const __m256i bytes =
      _mm256_permutevar8x32_epi32(_mm256_packs_epi16(words, more), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), bytes);
  // sums of 8 bytes each, 128 more in each
  const __m256i sums =
      _mm256_sad_epu8(_mm256_xor_si256(bytes, _mm256_set1_epi8(static_cast<char>(0x80))), _mm256_setzero_si256());
  alignas(32) int64_t four[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(four), sums);
  out[0] = static_cast<int32_t>(four[0] + four[1]) - 16 * 128;
  out[1] = static_cast<int32_t>(four[2] + four[3]) - 16 * 128;
}

/// A block of x: scale, integers and their sums. Numbers that are not finite make d NaN.
template <class Block, int kElems>
void encode_x8(const float* x, Block* out) {
  __m256 largest = _mm256_setzero_ps(), bad = _mm256_setzero_ps();
  for (int i = 0; i < kElems; i += 8) {
    const __m256 v = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_loadu_ps(x + i));
    largest = _mm256_max_ps(largest, v);
    bad = _mm256_or_ps(bad, _mm256_cmp_ps(v, _mm256_set1_ps(__builtin_inff()), _CMP_NLT_UQ));
  }
  const bool finite = _mm256_movemask_ps(bad) == 0;
  const float max = Avx2::max_lane(largest);
  const float scale = max > 0 && finite ? 127.0f / max : 0.0f;
  out->d = finite ? max / 127.0f : __builtin_nanf("");
  // below 2^-120 the inverse would overflow: such blocks are zero
  const __m256 inverse = _mm256_set1_ps(scale <= 0x1p126f ? scale : 0.0f);
  const __m256i all = _mm256_set1_epi32(finite ? -1 : 0);  // d says the rest: sums of any integers could overflow
  for (int i = 0; i < kElems; i += 32) {
    int32_t sums[2];
    encode_32(x + i, inverse, all, out->q + i, sums);
    if constexpr (kElems == 32) {
      out->sum = sums[0] + sums[1];
    } else {
      out->sums[i / 16] = static_cast<int16_t>(sums[0]);
      out->sums[i / 16 + 1] = static_cast<int16_t>(sums[1]);
      out->double_sums[i / 32] = static_cast<int16_t>(sums[0] + sums[1]);
    }
  }
}

}  // namespace

void PairProduct::encode_row(FormatId to, const float* x, int64_t k, void* out) noexcept {
  if (to == FormatId::x8_b256) {
    for (int64_t i = 0; i < k / 256; ++i) encode_x8<X8Block256, 256>(x + 256 * i, static_cast<X8Block256*>(out) + i);
  } else {
    for (int64_t i = 0; i < k / 32; ++i) encode_x8<X8Block32, 32>(x + 32 * i, static_cast<X8Block32*>(out) + i);
  }
}

void PairProduct::gemm(const GemmArgs& args) noexcept {
  static_assert(kTileRows == kPairTileRows);
  pair_gemm(args);
}

}  // namespace moxie::cpu
