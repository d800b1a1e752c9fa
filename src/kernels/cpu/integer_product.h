// Block formats by integers (AVX-512 VNNI), as a kernel set takes them: which form x is given, how it is made, and the
// product. Compiled once, for the sets that have it.
#pragma once

#include "kernels/kernels.h"

namespace moxie::cpu {

struct IntegerProduct {
  static constexpr int kTileRows = 6;
  static FormatId activation_format(FormatId weight) noexcept;
  static void encode_row(FormatId to, const float* x, int64_t k, void* out) noexcept;
  static void gemm(const GemmArgs& args) noexcept;
};

}  // namespace moxie::cpu
