// The loops behind ceilings.h, one table an instruction set.
#pragma once

#include <cstdint>

namespace moxie::cpu {

struct Probes {
  double f32_flops_a_turn, bf16_flops_a_turn, int8_ops_a_turn;  // 0: the CPU has no such product
  float (*f32)(int64_t turns) noexcept;                         // independent multiply-adds from registers
  float (*bf16)(int64_t turns) noexcept;
  float (*int8)(int64_t turns) noexcept;                       // products of bytes, summed in int32
  uint64_t (*read)(const void* data, int64_t bytes) noexcept;  // loads every whole 512 bytes
};

extern const Probes kAvx2Probes, kAvx512Probes, kAvx512VnniProbes, kAvx512Bf16Probes;

/// An integer loop, compiled once for the sets that multiply by it.
struct Int8Probe {
  float (*loop)(int64_t turns) noexcept;
  double ops_a_turn;
};
float vnni_loop(int64_t turns) noexcept;
float pair_loop(int64_t turns) noexcept;
inline constexpr Int8Probe kVnniProbe = {vnni_loop, 24 * 64 * 2}, kPairProbe = {pair_loop, 8 * 32 * 2};

}  // namespace moxie::cpu
