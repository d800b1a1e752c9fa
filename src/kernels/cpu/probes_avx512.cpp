// The avx512 probes.
#include "kernels/cpu/isa_avx512.h"
#include "kernels/cpu/probe_loops.h"

namespace moxie::cpu {

constinit const Probes kAvx512Probes = {.f32_flops_a_turn = 24 * 16 * 2,
                                        .bf16_flops_a_turn = 0,
                                        .int8_ops_a_turn = 0,
                                        .f32 = f32_probe<Avx512, 24>,
                                        .bf16 = nullptr,
                                        .int8 = nullptr,
                                        .read = read_probe<Avx512>};

}  // namespace moxie::cpu
