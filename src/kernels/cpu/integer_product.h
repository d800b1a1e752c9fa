// Block formats by integers, as a kernel set takes them: which form x is given, how it is made, and the product. Each is
// compiled once, for the sets that have its instructions.
#pragma once

#include "kernels/kernels.h"

namespace moxie::cpu {

/// By AVX-512 VNNI.
struct VnniProduct {
  static constexpr int kTileRows = 6;
  static void encode_row(FormatId to, const float* x, int64_t k, void* out) noexcept;
  static void gemm(const GemmArgs& args) noexcept;
};

/// By AVX2.
struct PairProduct {
  static constexpr int kTileRows = 4;
  static void encode_row(FormatId to, const float* x, int64_t k, void* out) noexcept;
  static void gemm(const GemmArgs& args) noexcept;
};

/// The form of x for weights of a block format.
inline FormatId integer_form(FormatId weight) noexcept {
  if (weight == FormatId::nvfp4) return FormatId::f32;  // its scales are numbers of their own for every 16 elements
  return format_info(weight).block_elems == 256 ? FormatId::x8_b256 : FormatId::x8_b32;
}

}  // namespace moxie::cpu
