// The loops behind ceilings.h, one table an instruction set.
#pragma once

#include <cstdint>

namespace moxie::cpu {

struct Probes {
  double f32_flops_a_turn, bf16_flops_a_turn, int8_ops_a_turn;  // 0: the CPU has no such dot product
  float (*f32)(int64_t turns) noexcept;                         // independent multiply-adds from registers
  float (*bf16)(int64_t turns) noexcept;
  float (*int8)(int64_t turns) noexcept;                       // dot products of four bytes, summed in int32
  uint64_t (*read)(const void* data, int64_t bytes) noexcept;  // loads every whole 512 bytes
};

extern const Probes kAvx2Probes, kAvx512Probes, kAvx512VnniProbes, kAvx512Bf16Probes;

/// The int8 loop of AVX-512 VNNI, and its operations a turn.
float int8_probe(int64_t turns) noexcept;
inline constexpr double kInt8OpsATurn = 24 * 64 * 2;

}  // namespace moxie::cpu
