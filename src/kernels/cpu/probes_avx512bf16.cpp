// The avx512bf16 probes.
#include "kernels/cpu/dot_bf16.h"
#include "kernels/cpu/isa_avx512.h"
#include "kernels/cpu/probe_loops.h"

namespace moxie::cpu {
namespace {

float bf16_probe(int64_t turns) noexcept {
  auto a = Avx512::zero(), b = Avx512::zero();
  asm volatile("" : "+v"(a), "+v"(b));
  return run_chains<Avx512, 24>(turns, [&](__m512 sum) { return Bf16Dot::dot(sum, a, b); });
}

}  // namespace

constinit const Probes kAvx512Bf16Probes = {.f32_flops_a_turn = 24 * 16 * 2,
                                            .bf16_flops_a_turn = 24 * 32 * 2,
                                            .int8_ops_a_turn = kInt8OpsATurn,
                                            .f32 = f32_probe<Avx512, 24>,
                                            .bf16 = bf16_probe,
                                            .int8 = int8_probe,
                                            .read = read_probe<Avx512>};

}  // namespace moxie::cpu
