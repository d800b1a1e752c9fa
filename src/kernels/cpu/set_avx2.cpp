// The avx2 kernel set.
#include "kernels/cpu/integer_product.h"
#include "kernels/cpu/isa_avx2.h"
#include "kernels/cpu/kernel_set.h"
#include "kernels/cpu/sets.h"

namespace moxie::cpu {

constinit const KernelSet kAvx2Set = make_kernel_set<Avx2, void, void, PairProduct>(
    "avx2", "AVX2, FMA and F16C: 8 lanes of f32; block formats by int8 activations");

}  // namespace moxie::cpu
