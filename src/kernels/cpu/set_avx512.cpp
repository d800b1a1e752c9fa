// The avx512 kernel set.
#include "kernels/cpu/isa_avx512.h"
#include "kernels/cpu/kernel_set.h"
#include "kernels/cpu/sets.h"

namespace moxie::cpu {

constinit const KernelSet kAvx512Set = make_kernel_set<Avx512>("avx512", "AVX-512: 16 lanes of f32");

}  // namespace moxie::cpu
