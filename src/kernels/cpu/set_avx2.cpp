// The avx2 kernel set.
#include "kernels/cpu/isa_avx2.h"
#include "kernels/cpu/kernel_set.h"
#include "kernels/cpu/sets.h"

namespace moxie::cpu {

constinit const KernelSet kAvx2Set = make_kernel_set<Avx2>("avx2", "AVX2, FMA and F16C: 8 lanes of f32");

}  // namespace moxie::cpu
