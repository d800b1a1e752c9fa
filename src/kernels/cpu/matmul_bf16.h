// bf16 units of the training product, by the dot product of AVX512_BF16: a step is two k, rounded from f32 as the
// operands are copied. The instruction takes subnormal inputs as zero and flushes subnormal results.
#pragma once

#include "kernels/cpu/isa_avx512.h"

namespace moxie::cpu {
namespace {

struct Bf16PairProduct {
  using Isa = Avx512;
  using F = __m512;
  static constexpr int64_t kStep = 2;

  /// Unit j: (low[j], high[j]).
  static F pair_rows(F low, F high) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low)));
  }
  /// Unit j: elements 2j and 2j + 1 of first and then second.
  static F pair_within(F first, F second) { return _mm512_castsi512_ps((__m512i)_mm512_cvtne2ps_pbh(second, first)); }
  static F dot(F sum, float a, F b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_castps_si512(_mm512_set1_ps(a)), (__m512bh)_mm512_castps_si512(b));
  }
};

}  // namespace
}  // namespace moxie::cpu
