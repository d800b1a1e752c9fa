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

constinit const Probes kAvx512Bf16Probes = make_probes<Avx512, 24>(kVnniProbe, bf16_probe, 24 * 32 * 2);

}  // namespace moxie::cpu
