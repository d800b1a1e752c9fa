// Block formats by integers, as a kernel set takes them: which form x is given, how it is made, and the product. Each
// is compiled once, for the sets that have its instructions.
#pragma once

#include "kernels/kernels.h"

namespace moxie::cpu {

/// By AVX-512 VNNI (block_gemm.h).
struct VnniProduct {
  static constexpr int kTileRows = 6;
  static FormatId activation_format(FormatId weight) noexcept;
  static void encode_row(FormatId to, const float* x, int64_t k, void* out) noexcept;
  static int64_t scratch_bytes(int64_t num_rows, int64_t k) noexcept;
  static void gemm(const GemmArgs& args) noexcept;
};

/// By AVX2 (pair_gemm.h).
struct PairProduct {
  static constexpr int kTileRows = 6;
  static FormatId activation_format(FormatId weight) noexcept;
  static void encode_row(FormatId to, const float* x, int64_t k, void* out) noexcept;
  static int64_t scratch_bytes(int64_t num_rows, int64_t k) noexcept;
  static void gemm(const GemmArgs& args) noexcept;
};

}  // namespace moxie::cpu
