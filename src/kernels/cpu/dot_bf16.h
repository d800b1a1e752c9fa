// The bf16 dot product of AVX512_BF16: bf16 rows of x and w, 32 k a step, two products a lane summed in f32.
// The instruction takes subnormal inputs as zero and flushes subnormal results.
#pragma once

#include "kernels/cpu/dot.h"
#include "kernels/cpu/isa_avx512.h"

namespace moxie::cpu {
namespace {

struct Bf16Dot {
  using Isa = Avx512;
  using F = __m512;
  using Operand = __m512;  // 32 bf16, typed as the register it is
  static constexpr int64_t kStep = 32;

  static Operand load_x(const char* row, int64_t k) { return Isa::load(row + 2 * k); }
  static Operand load_x_part(const char* row, int64_t k, int64_t n) {
    const __mmask32 mask = static_cast<__mmask32>((1u << n) - 1);
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, row + 2 * k));
  }
  static Operand load_w(const WeightRow& row, int64_t k) { return load_x(row.data, k); }
  static Operand load_w_part(const WeightRow& row, int64_t k, int64_t n) { return load_x_part(row.data, k, n); }
  static constexpr int64_t weight_bytes(int64_t k) { return 2 * k; }
  static F dot(F sum, Operand x, Operand w) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_castps_si512(x), (__m512bh)_mm512_castps_si512(w));
  }
};

}  // namespace
}  // namespace moxie::cpu
