// The table of kernels of one instruction set, made of the bodies.
#pragma once

#include "format/block.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_in_major.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/training.h"
#include "kernels/kernels.h"
#include "kernels/ref/ref.h"

namespace moxie::cpu {
namespace {

/// Bf16 and Bf16Product: how bf16 is multiplied, along rows and across lanes (training, attention); Integer: how block
/// formats are multiplied without going through f32. void where the set has no way to.
template <class Isa, class Bf16 = void, class Bf16Product = void, class Integer = void>
constexpr KernelSet make_kernel_set(std::string_view name, std::string_view summary) {
  return {
      .name = name,
      .summary = summary,
      .activation_format =
          [](FormatId weight) noexcept {
            if constexpr (!__is_same(Integer, void)) {
              if (is_block_format(weight)) return Integer::activation_format(weight);
            }
            return weight == FormatId::bf16 && !__is_same(Bf16, void) ? FormatId::bf16 : FormatId::f32;
          },
      .encode_row = encode_row<Isa, Integer>,
      .decode_row = decode_row<Isa>,
      .gemm_scratch_bytes = gemm_scratch_bytes<Isa, Integer>,
      .gemm = gemm<Isa, Bf16, Integer>,
      .tile_rows =
          [](FormatId weight) noexcept {
            if constexpr (!__is_same(Integer, void)) {
              if (is_block_format(weight) && Integer::activation_format(weight) != FormatId::f32) {
                return int64_t{Integer::kTileRows};
              }
            }
            return int64_t{Isa::kTileRows};
          },
      .gemm_in_major = gemm_in_major<Isa>,
      .attention_scratch_bytes = attention_scratch_bytes,
      .attention = attention<Isa, Bf16Product>,
      .rms_norm = rms_norm<Isa>,
      .layer_norm = layer_norm<Isa>,
      .rope = rope<Isa>,
      .glu = glu<Isa>,
      .add_scaled = add_scaled<Isa>,
      .scale = scale<Isa>,
      .softmax = softmax<Isa>,
      .matmul_scratch_bytes = matmul_scratch_bytes<Isa>,
      .matmul = matmul<Isa, Bf16Product>,
      .rms_norm_backward = rms_norm_backward<Isa>,
      .layer_norm_backward = layer_norm_backward<Isa>,
      .glu_backward = glu_backward<Isa>,
      .softmax_backward = softmax_backward<Isa>,
      .cross_entropy = cross_entropy<Isa>,
      .dot = dot<Isa>,
      .adamw = adamw<Isa>,
  };
}

}  // namespace
}  // namespace moxie::cpu
