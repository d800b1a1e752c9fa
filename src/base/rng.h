// Random numbers by counter: what number i of a stream is depends on seed, stream and i alone, so that work can be cut
// and resumed anywhere. Not for secrets.
#pragma once

#include <cmath>
#include <cstdint>

namespace moxie {

/// One stream of a seed. Streams keep uses apart (weights, data order, dropout of layer 3 ...).
class Rng {
 public:
  Rng(uint64_t seed, uint64_t stream) : key_(mix(mix(seed + kGolden) ^ (stream * kOdd + 1))) {}

  /// A stream below this one: of a step, of a layer.
  Rng at(uint64_t sub_stream) const { return Rng(key_, sub_stream); }

  /// Number i: 64 random bits (the finaliser of SplitMix64, Steele et al., OOPSLA 2014, over the counter).
  uint64_t bits(uint64_t i) const { return mix(key_ + (i + 1) * kGolden); }
  /// In [0, 1), 24 bits.
  float uniform(uint64_t i) const { return static_cast<float>(bits(i) >> 40) * 0x1p-24f; }
  /// In [0, n), n < 2^32; the bias is below n / 2^64.
  uint64_t below(uint64_t i, uint64_t n) const {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(bits(i)) * n) >> 64);
  }
  /// Standard normal (Box-Muller), from numbers 2i and 2i + 1.
  float normal(uint64_t i) const {
    const double radius = std::sqrt(-2 * std::log((static_cast<double>(bits(2 * i) >> 11) + 0.5) * 0x1p-53));
    return static_cast<float>(radius *
                              std::cos(6.283185307179586 * static_cast<double>(bits(2 * i + 1) >> 11) * 0x1p-53));
  }

 private:
  static constexpr uint64_t kGolden = 0x9e3779b97f4a7c15, kOdd = 0xd1342543de82ef95;
  static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }
  uint64_t key_;
};

}  // namespace moxie
