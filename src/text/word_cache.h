// Where the ids of a word were written earlier in the same encode call. Bounded: a new word takes an old one's place.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "text/hash.h"

namespace moxie::text {

class WordCache {
 public:
  static constexpr size_t kMaxWord = 16;  // longer words are rare, and not kept

  explicit WordCache(size_t text_bytes)
      : slots_(std::bit_ceil(std::clamp<size_t>(text_bytes / 16, 16, kMaxSlots))), mask_(slots_.size() - 1) {}

  struct Slot {
    uint64_t low = 0, high = 0;  // the word's bytes, overlapping
    uint32_t length = 0;         // 0: empty
    uint32_t count = 0;          // of its ids
    size_t value = 0;            // the id if there is one, else where the ids begin
  };

  /// The slot for a word of 1 to kMaxWord bytes: the word's own (`found`), or one that is now to be filled.
  Slot& slot(std::string_view word, bool& found) {
    uint64_t low = 0, high = 0;
    load(word, low, high);
    Slot& place = slots_[mix(low ^ mix(high + word.size())) & mask_];
    found = place.low == low && place.high == high && place.length == word.size();
    if (!found) place = {.low = low, .high = high, .length = static_cast<uint32_t>(word.size())};
    return place;
  }

 private:
  static constexpr size_t kMaxSlots = 1 << 15;

  // Two loads that cover the word; equal pairs of equal length are equal words.
  static void load(std::string_view word, uint64_t& low, uint64_t& high) {
    const char* p = word.data();
    const size_t n = word.size();
    if (n >= 8) {
      std::memcpy(&low, p, 8);
      std::memcpy(&high, p + n - 8, 8);
    } else if (n >= 4) {
      std::memcpy(&low, p, 4);
      std::memcpy(&high, p + n - 4, 4);
    } else {
      low = static_cast<unsigned char>(p[0]) | static_cast<uint64_t>(static_cast<unsigned char>(p[n / 2])) << 8 |
            static_cast<uint64_t>(static_cast<unsigned char>(p[n - 1])) << 16;
    }
  }

  std::vector<Slot> slots_;
  size_t mask_;
};

}  // namespace moxie::text
