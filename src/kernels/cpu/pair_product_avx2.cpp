// Rows of x as groups of pairs, and the doors to the product with block formats by AVX2. What it does: pair_gemm.h.
#include <cstring>

#include "kernels/cpu/integer_product.h"
#include "kernels/cpu/pair_gemm.h"

namespace moxie::cpu {
namespace {

/// A block of x: scale, integers (nearest, ties to even), and the sums of its halves, d times as much.
struct Encoded {
  float d;
  float sums[2];
  __m256i q;
};

/// Numbers that are not finite make d NaN.
[[gnu::always_inline]] inline Encoded encode_32(const float* x) {
  __m256 v[4], largest = _mm256_setzero_ps(), bad = largest;
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_loadu_ps(x + 8 * i);
    const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v[i]);
    largest = _mm256_max_ps(largest, magnitude);
    bad = _mm256_or_ps(bad, _mm256_cmp_ps(magnitude, _mm256_set1_ps(__builtin_inff()), _CMP_NLT_UQ));
  }
  const bool finite = _mm256_movemask_ps(bad) == 0;
  const float max = Avx2::max_lane(largest), scale = max > 0 && finite ? 127.0f / max : 0.0f;
  // below 2^-119 the inverse nears overflow: such blocks are zero
  const __m256 inverse = _mm256_set1_ps(scale <= 0x1p126f ? scale : 0.0f);
  const __m256i all = _mm256_set1_epi32(finite ? -1 : 0);  // d says the rest: sums of any integers could overflow
  __m256i eight[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    eight[i] = _mm256_and_si256(all, _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse)));
  }
  const __m256i words = _mm256_packs_epi32(eight[0], eight[1]), more = _mm256_packs_epi32(eight[2], eight[3]);
  Encoded out;
  out.q = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(words, more), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  out.d = finite ? max / 127.0f : __builtin_nanf("");
  // sums of 8 bytes each, 128 more in each byte
  const __m256i sums =
      _mm256_sad_epu8(_mm256_xor_si256(out.q, _mm256_set1_epi8(static_cast<char>(0x80))), _mm256_setzero_si256());
  const auto half = [&](__m128i two) {
    const auto sum = static_cast<int32_t>(_mm_cvtsi128_si32(two) + _mm_extract_epi32(two, 2)) - 16 * 128;
    return out.d * static_cast<float>(sum);
  };
  out.sums[0] = half(_mm256_castsi256_si128(sums));
  out.sums[1] = half(_mm256_extracti128_si256(sums, 1));
  return out;
}

void encode_group(const float* x, X8Group* out) {
  __m256i sub[8], q[8];
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) {
    const Encoded block = encode_32(x + 32 * b);
    const int o = b % 2, p = b / 2;
    sub[b] = block.q;
    out->d[o][p] = block.d;
    out->sums[o][p] = block.sums[0];
    out->sums[o][4 + p] = block.sums[1];
  }
  to_lanes(sub, q);
  for (int i = 0; i < 8; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(out->q[i / 4][i % 4]), q[i]);
}

}  // namespace

FormatId PairProduct::activation_format(FormatId weight) noexcept {
  return weight == FormatId::nvfp4 ? FormatId::f32 : FormatId::x8_pairs;
}

void PairProduct::encode_row(FormatId, const float* x, int64_t k, void* out) noexcept {
  auto* group = static_cast<X8Group*>(out);
  const float* end = x + k;
  for (; end - x >= 256; x += 256) encode_group(x, group++);
  auto* rest = reinterpret_cast<X8Rest*>(group);
  for (; x < end; x += 32, ++rest) {
    const Encoded block = encode_32(x);
    rest->d = block.d;
    std::memcpy(rest->sums, block.sums, sizeof(rest->sums));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(rest->q), block.q);
  }
}

int64_t PairProduct::scratch_bytes(int64_t num_rows, int64_t k) noexcept {
  return pair_scratch_bytes(num_rows, k);
}

void PairProduct::gemm(const GemmArgs& args) noexcept {
  static_assert(kTileRows == kPairTileRows);
  pair_gemm(args);
}

}  // namespace moxie::cpu
