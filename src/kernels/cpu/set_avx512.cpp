// The avx512 kernel sets: with and without an int8 dot product.
#include "kernels/cpu/integer_product.h"
#include "kernels/cpu/isa_avx512.h"
#include "kernels/cpu/kernel_set.h"
#include "kernels/cpu/sets.h"

namespace moxie::cpu {

constinit const KernelSet kAvx512Set = make_kernel_set<Avx512, void, void, PairProduct>(
    "avx512", "AVX-512: 16 lanes of f32; block formats by int8 activations");

constinit const KernelSet kAvx512VnniSet = make_kernel_set<Avx512, void, void, VnniProduct>(
    "avx512vnni", "AVX-512 with an int8 dot product: block formats by int8 activations");

}  // namespace moxie::cpu
