// The int8 form of rows of x, and the doors to the product with block formats. What it does: block_gemm.h.
#include "kernels/cpu/block_gemm.h"
#include "kernels/cpu/integer_product.h"

namespace moxie::cpu {
namespace {

/// A block of x: scale, integers (nearest, ties to even) and their sums. Numbers that are not finite make d NaN.
template <class Block, int kElems>
void encode_x8(const float* x, Block* out) {
  __m512 largest = _mm512_setzero_ps();
  __mmask16 bad = 0;
#pragma GCC unroll 16
  for (int i = 0; i < kElems; i += 16) {
    const __m512 v = _mm512_abs_ps(_mm512_loadu_ps(x + i));
    largest = _mm512_max_ps(largest, v);
    bad |= _mm512_cmp_ps_mask(v, _mm512_set1_ps(__builtin_inff()), _CMP_NLT_UQ);
  }
  const float max = _mm512_reduce_max_ps(largest);
  const float scale = max > 0 && bad == 0 ? 127.0f / max : 0.0f;
  out->d = bad != 0 ? __builtin_nanf("") : max / 127.0f;
  // below 2^-119 the inverse nears overflow: such blocks are zero
  const __m512 inverse = _mm512_set1_ps(scale <= 0x1p126f ? scale : 0.0f);
  const __mmask16 finite = bad == 0 ? 0xffff : 0;  // d says the rest: sums of any integers could overflow
  int32_t sums[kElems / 16];
#pragma GCC unroll 16
  for (int i = 0; i < kElems; i += 16) {
    const V q = _mm512_maskz_cvtps_epi32(finite, _mm512_mul_ps(_mm512_loadu_ps(x + i), inverse));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out->q + i), _mm512_cvtepi32_epi8(q));
    sums[i / 16] = _mm512_reduce_add_epi32(q);
  }
  if constexpr (kElems == 32) {
    out->sum = sums[0] + sums[1];
  } else {
    for (int i = 0; i < kElems / 16; ++i) out->sums[i] = static_cast<int16_t>(sums[i]);
    for (int i = 0; i < kElems / 32; ++i) out->double_sums[i] = static_cast<int16_t>(sums[2 * i] + sums[2 * i + 1]);
  }
}

}  // namespace

FormatId VnniProduct::activation_format(FormatId weight) noexcept {
  if (weight == FormatId::nvfp4) return FormatId::f32;  // its scales are numbers of their own for every 16 elements
  return format_info(weight).block_elems == 256 ? FormatId::x8_b256 : FormatId::x8_b32;
}

void VnniProduct::encode_row(FormatId to, const float* x, int64_t k, void* out) noexcept {
  if (to == FormatId::x8_b256) {
    for (int64_t i = 0; i < k / 256; ++i) encode_x8<X8Block256, 256>(x + 256 * i, static_cast<X8Block256*>(out) + i);
  } else {
    for (int64_t i = 0; i < k / 32; ++i) encode_x8<X8Block32, 32>(x + 32 * i, static_cast<X8Block32*>(out) + i);
  }
}

int64_t VnniProduct::scratch_bytes(int64_t, int64_t) noexcept {
  constexpr int64_t kPanel = sizeof(BlockPanel) + kPanelRows * kMostPanelBytes, kDots = sizeof(DotSums);
  return kPanel > kDots ? kPanel : kDots;
}

void VnniProduct::gemm(const GemmArgs& args) noexcept {
  static_assert(kTileRows == kBlockTileRows);
  integer_gemm(args);
}

}  // namespace moxie::cpu
