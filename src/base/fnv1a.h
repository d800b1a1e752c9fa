// FNV-1a: a number of 64 bits for a name, the same on every machine. Not against an enemy.
#pragma once

#include <cstdint>
#include <string_view>

namespace moxie {

/// http://www.isthe.com/chongo/tech/comp/fnv. As the stream of a tensor's random numbers: they depend on the seed and
/// its name alone.
constexpr uint64_t fnv1a(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace moxie
