// The avx512bf16 kernel set: avx512, and bf16 weights by the bf16 dot product.
#include "kernels/cpu/dot_bf16.h"
#include "kernels/cpu/isa_avx512.h"
#include "kernels/cpu/kernel_set.h"
#include "kernels/cpu/matmul_bf16.h"
#include "kernels/cpu/sets.h"

namespace moxie::cpu {

constinit const KernelSet kAvx512Bf16Set = make_kernel_set<Avx512, Bf16Dot, Bf16PairProduct>(
    "avx512bf16", "AVX-512 with bf16 dot products: 16 lanes of f32, bf16 weights times bf16 activations");

}  // namespace moxie::cpu
