// The product of a kernel set: which way each format of w and x goes, and the scratch of all ways.
#pragma once

#include <cstdint>

#include "format/block.h"
#include "format/packed.h"
#include "kernels/activation.h"
#include "kernels/cpu/block_decode.h"
#include "kernels/cpu/gemm_rows.h"

namespace moxie::cpu {
namespace {

/// Floats of block-format rows that are decoded at once, where they are not multiplied as integers: half of L2, or less
/// where they are read once.
inline constexpr int64_t kFewDecodedFloats = int64_t{1} << 14;
inline int64_t decoded_floats(int64_t num_rows, int64_t k) {
  const int64_t floats = num_rows <= kDirectRows ? kFewDecodedFloats : 8 * kFewDecodedFloats;
  return k > floats ? k : floats;
}

template <class Isa, class Integer>
int64_t gemm_scratch_bytes(int64_t num_rows, int64_t k) noexcept {
  int64_t bytes = (decoded_floats(num_rows, k) + 15) / 16 * 64;
  if (num_rows > kDirectRows) {
    bytes +=
        kXBytes<Isa> + kWBytes<Isa> + (min_of(num_rows, kBlockRows) + 2 * Isa::kTileRows) * kBlockCols * Isa::kBytes;
  }
  if constexpr (!__is_same(Integer, void)) {
    const int64_t least = Integer::scratch_bytes(num_rows, k);
    bytes = bytes > least ? bytes : least;
  }
  return (bytes + 63) / 64 * 64;
}

/// Block formats as f32: some rows of w at a time are decoded, then multiplied.
template <class Isa>
void gemm_decoded(const GemmArgs& args) {
  const int64_t most = decoded_floats(args.num_rows, args.k), columns = most / args.k;
  float* decoded = static_cast<float*>(args.scratch);
  GemmArgs part = args;
  part.w = {.data = decoded, .row_bytes = args.k * static_cast<int64_t>(sizeof(float)), .format = FormatId::f32};
  part.scratch = decoded + (most + 15) / 16 * 16;
  part.n_begin = 0;
  for (int64_t n = args.n_begin; n < args.n_end; n += columns) {
    part.n_end = min_of(columns, args.n_end - n);
    for (int64_t c = 0; c < part.n_end; ++c) {
      if (args.w.packed) {
        const int64_t first = (n + c) / kPackedRows * kPackedRows;
        decode_packed_row<Isa>(args.w.format, w_row(args, first).data, n + c - first, args.k, decoded + c * args.k);
      } else {
        decode_plain_row<Isa>(args.w.format, w_row(args, n + c).data, args.k, decoded + c * args.k);
      }
    }
    part.bias = args.bias == nullptr ? nullptr : args.bias + n;
    part.y = args.y + n - args.n_begin;
    gemm_by_rows<F32Dot<Isa, FormatId::f32>>(part);
  }
}

/// Bf16: how bf16 rows of x are multiplied with bf16 weights; Integer: integer rows with block formats; void where the
/// set has no way to.
template <class Isa, class Bf16, class Integer>
void gemm(const GemmArgs& args) noexcept {
  if constexpr (!__is_same(Integer, void)) {
    if (is_integer_form(args.x_format)) return Integer::gemm(args);
  }
  if constexpr (!__is_same(Bf16, void)) {
    if (args.x_format == FormatId::bf16) return gemm_by_rows<Bf16>(args);  // then the weights are bf16 too
  }
  switch (args.w.format) {
    case FormatId::f32:
      return gemm_by_rows<F32Dot<Isa, FormatId::f32>>(args);
    case FormatId::bf16:
      return gemm_by_rows<F32Dot<Isa, FormatId::bf16>>(args);
    case FormatId::f16:
      return gemm_by_rows<F32Dot<Isa, FormatId::f16>>(args);
    case FormatId::mxfp4:
      return gemm_by_rows<F32Dot<Isa, FormatId::mxfp4>>(args);
    case FormatId::f8_e4m3:
      return gemm_by_rows<F32Dot<Isa, FormatId::f8_e4m3>>(args);
    default:
      return gemm_decoded<Isa>(args);
  }
}

}  // namespace
}  // namespace moxie::cpu
