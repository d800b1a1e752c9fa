// The avx512bf16 kernel set: avx512vnni, and bf16 weights by the bf16 dot product.
#include "kernels/cpu/dot_bf16.h"
#include "kernels/cpu/integer_product.h"
#include "kernels/cpu/isa_avx512.h"
#include "kernels/cpu/kernel_set.h"
#include "kernels/cpu/matmul_bf16.h"
#include "kernels/cpu/sets.h"

namespace moxie::cpu {

constinit const KernelSet kAvx512Bf16Set = make_kernel_set<Avx512, Bf16Dot, Bf16PairProduct, VnniProduct>(
    "avx512bf16", "AVX-512 with bf16 and int8 dot products: bf16 weights by bf16, block formats by int8 activations");

}  // namespace moxie::cpu
