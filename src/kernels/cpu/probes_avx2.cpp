// The avx2 probes.
#include "kernels/cpu/isa_avx2.h"
#include "kernels/cpu/probe_loops.h"

namespace moxie::cpu {

constinit const Probes kAvx2Probes = {.f32_flops_a_turn = 12 * 8 * 2,
                                      .bf16_flops_a_turn = 0,
                                      .int8_ops_a_turn = 0,
                                      .f32 = f32_probe<Avx2, 12>,
                                      .bf16 = nullptr,
                                      .int8 = nullptr,
                                      .read = read_probe<Avx2>};

}  // namespace moxie::cpu
