// The kernel sets of x86-64 CPUs, by name; select.cpp asks the CPU which of them can run.
#pragma once

#include "kernels/kernels.h"

namespace moxie::cpu {

extern const KernelSet kAvx2Set;        // AVX2, FMA, F16C
extern const KernelSet kAvx512Set;      // AVX-512 F, BW, VL, DQ
extern const KernelSet kAvx512VnniSet;  // the same and AVX512_VNNI: block formats by integers
extern const KernelSet kAvx512Bf16Set;  // the same and AVX512_BF16: bf16 weights by a bf16 dot product

}  // namespace moxie::cpu
