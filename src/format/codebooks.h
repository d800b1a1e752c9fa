// Codebooks of the block formats: the numbers that indices stand for; no block layout.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace moxie {

/// iq4_nl and iq4_xs: the 16 levels of a nibble.
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/// e2m1 times two, so that it is an integer.
inline constexpr int8_t kE2m1Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// Eight magnitudes an entry, element 0 in the low byte: 8, 25 or 43.
extern const std::array<uint64_t, 256> kIq2XxsGrid;
extern const std::array<uint64_t, 512> kIq2XsGrid;
extern const std::array<uint64_t, 1024> kIq2SGrid;

/// Four magnitudes an entry, element 0 in the low byte: 4, 12, 20, 28, 36, 44, 52 or 62.
extern const std::array<uint32_t, 256> kIq3XxsGrid;

/// Likewise: 1, 3 .. 15.
extern const std::array<uint32_t, 512> kIq3SGrid;

/// Eight sign bits from seven: the eighth makes their number even.
constexpr uint8_t even_signs(uint32_t seven) noexcept {
  return static_cast<uint8_t>(seven | (static_cast<uint32_t>(std::popcount(seven)) & 1u) << 7);
}

}  // namespace moxie
