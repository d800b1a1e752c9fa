// How one step of k is multiplied: what a row of x and a row of w look like, and how their steps become operands.
// A step is kStep consecutive k; element i of a step goes to lane i (bf16 dot: pairs, element i to lane i / 2).
// Steps cut short by the end of a row are filled with zeros, and nothing beyond the end is read.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "format/fp8.h"

namespace moxie::cpu {
namespace {

struct WeightRow {
  const char* data;
  const char* scales;
};

/// f32 rows of x; rows of w widened to f32; a fused multiply-add a lane.
template <class IsaT, FormatId kFormat>
struct F32Dot {
  using Isa = IsaT;
  using F = typename Isa::F;
  using Operand = F;
  static constexpr int64_t kStep = Isa::kLanes;

  static Operand load_x(const char* row, int64_t k) { return Isa::load(row + 4 * k); }
  static Operand load_x_part(const char* row, int64_t k, int64_t n) { return Isa::load_part(row + 4 * k, n); }
  static Operand load_w(const WeightRow& row, int64_t k) {
    if constexpr (kFormat == FormatId::f32) return Isa::load(row.data + 4 * k);
    if constexpr (kFormat == FormatId::bf16) return Isa::load_bf16(row.data + 2 * k);
    if constexpr (kFormat == FormatId::f16) return Isa::load_f16(row.data + 2 * k);
    if constexpr (kFormat == FormatId::mxfp4) {
      return Isa::mul(Isa::load_e2m1(row.data + k / 2), Isa::set1(e8m0(row.scales[k / 32])));
    }
    if constexpr (kFormat == FormatId::f8_e4m3) return Isa::mul(Isa::load_e4m3(row.data + k), fp8_scale(row, k));
  }
  static Operand load_w_part(const WeightRow& row, int64_t k, int64_t n) {
    if constexpr (kFormat == FormatId::f32) return Isa::load_part(row.data + 4 * k, n);
    if constexpr (kFormat == FormatId::bf16) return Isa::load_bf16_part(row.data + 2 * k, n);
    if constexpr (kFormat == FormatId::f16) return Isa::load_f16_part(row.data + 2 * k, n);
    if constexpr (kFormat == FormatId::mxfp4) return load_w(row, k);  // never short: rows are whole blocks of 32
    if constexpr (kFormat == FormatId::f8_e4m3) {
      return Isa::mul(Isa::load_e4m3_part(row.data + k, n), fp8_scale(row, k));
    }
  }
  /// Bytes of k weights in a row.
  static constexpr int64_t weight_bytes(int64_t k) {
    return kFormat == FormatId::f32       ? 4 * k
           : kFormat == FormatId::mxfp4   ? k / 2
           : kFormat == FormatId::f8_e4m3 ? k
                                          : 2 * k;
  }
  static F dot(F sum, Operand x, Operand w) { return Isa::fma(x, w, sum); }

 private:
  static F fp8_scale(const WeightRow& row, int64_t k) {
    float scale;
    std::memcpy(&scale, row.scales + k / kFp8Block * 4, 4);
    return Isa::set1(scale);
  }
  static float e8m0(char byte) {
    const uint32_t exponent = static_cast<unsigned char>(byte);
    uint32_t bits = exponent << 23;
    if (__builtin_expect(exponent == 0 || exponent == 255, 0)) bits = exponent == 0 ? 0x00400000u : 0x7fc00000u;
    return __builtin_bit_cast(float, bits);
  }
};

}  // namespace
}  // namespace moxie::cpu
