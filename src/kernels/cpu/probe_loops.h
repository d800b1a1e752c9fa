// The bodies of the probes over an instruction set.
#pragma once

#include <cstdint>

#include "kernels/cpu/probes.h"

namespace moxie::cpu {
namespace {

/// kChains independent chains of sum = step(sum), kept apart from each other and from the optimiser.
template <class Isa, int kChains, class Step>
float run_chains(int64_t turns, const Step& step) {
  typename Isa::F sum[kChains];
#pragma GCC unroll 32
  for (int i = 0; i < kChains; ++i) sum[i] = Isa::zero();
  for (int64_t t = 0; t < turns; ++t) {
#pragma GCC unroll 32
    for (int i = 0; i < kChains; ++i) {
      typename Isa::F next = step(sum[i]);
      asm volatile("" : "+v"(next));  // by name: an element of an array would be kept in memory
      sum[i] = next;
    }
  }
  float total = 0;
  for (int i = 0; i < kChains; ++i) total += _mm_cvtss_f32(Isa::sum4(sum[i], sum[i], sum[i], sum[i]));
  return total;
}

template <class Isa, int kChains>
float f32_probe(int64_t turns) noexcept {
  auto a = Isa::zero(), b = Isa::zero();
  asm volatile("" : "+v"(a), "+v"(b));
  return run_chains<Isa, kChains>(turns, [&](typename Isa::F sum) { return Isa::fma(a, b, sum); });
}

template <class Isa>
uint64_t read_probe(const void* data, int64_t bytes) noexcept {
  constexpr int kVectors = 512 / Isa::kBytes;
  const char* p = static_cast<const char*>(data);
  for (int64_t i = 0; i + 512 <= bytes; i += 512) {
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) {
      auto v = Isa::load(p + i + j * Isa::kBytes);
      asm volatile("" : "+v"(v));
    }
  }
  return static_cast<uint64_t>(bytes);
}

/// kF32Chains chains of f32; int8: the loop of the product that the set uses.
template <class Isa, int kF32Chains>
constexpr Probes make_probes(Int8Probe int8, float (*bf16)(int64_t) noexcept = nullptr, double bf16_flops_a_turn = 0) {
  return {.f32_flops_a_turn = kF32Chains * Isa::kLanes * 2,
          .bf16_flops_a_turn = bf16_flops_a_turn,
          .int8_ops_a_turn = int8.ops_a_turn,
          .f32 = f32_probe<Isa, kF32Chains>,
          .bf16 = bf16,
          .int8 = int8.loop,
          .read = read_probe<Isa>};
}

}  // namespace
}  // namespace moxie::cpu
