// Flat hash tables of the tokenizer: bytes to a 64-bit hash, and a pair of token ids to its merge. Not a general map.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace moxie::text {

inline uint64_t mix(uint64_t x) noexcept {
  x *= 0x9e3779b97f4a7c15u;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93u;
  return x ^ x >> 32;
}

inline uint64_t hash_bytes(std::string_view bytes) noexcept {
  const char* p = bytes.data();
  size_t left = bytes.size();
  uint64_t hash = left;
  for (; left >= 8; p += 8, left -= 8) {
    uint64_t word = 0;
    std::memcpy(&word, p, 8);
    hash = mix(hash ^ word);
  }
  uint64_t tail = 0;
  for (size_t i = 0; i < left; ++i) tail |= static_cast<uint64_t>(static_cast<unsigned char>(p[i])) << (8 * i);
  return mix(hash ^ tail);
}

/// What becomes of two neighbouring tokens: their union's id, and its rank (lower merges first).
struct Merge {
  uint32_t rank = UINT32_MAX;  // UINT32_MAX: they do not merge
  int32_t id = -1;
};

/// (left id, right id) -> Merge. Open addressing, at most half full; find() touches one cache line as a rule.
class PairTable {
 public:
  void reserve(size_t pairs) {
    size_t slots = 16;
    while (slots < pairs * 2) slots *= 2;
    if (slots > slots_.size()) rehash(slots);
  }

  /// False, and nothing changes, if the pair is already there.
  bool insert(int32_t left, int32_t right, Merge merge) {
    if ((size_ + 1) * 2 > slots_.size()) rehash(slots_.empty() ? 16 : slots_.size() * 2);
    Slot& slot = slots_[probe(key(left, right))];
    if (slot.key != kEmpty) return false;
    slot = {key(left, right), merge};
    ++size_;
    return true;
  }

  Merge find(int32_t left, int32_t right) const noexcept {
    if (slots_.empty()) return {};
    return slots_[probe(key(left, right))].merge;
  }

  size_t size() const { return size_; }

  /// Calls body(left, right, merge) for every pair, in no order.
  template <typename Body>
  void for_each(Body body) const {
    for (const Slot& slot : slots_) {
      if (slot.key != kEmpty) body(static_cast<int32_t>(slot.key >> 32), static_cast<int32_t>(slot.key), slot.merge);
    }
  }

 private:
  static constexpr uint64_t kEmpty = UINT64_MAX;  // ids are never negative
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };

  static uint64_t key(int32_t left, int32_t right) noexcept {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t probe(uint64_t wanted) const noexcept {
    const size_t mask = slots_.size() - 1;
    size_t i = mix(wanted) & mask;
    while (slots_[i].key != wanted && slots_[i].key != kEmpty) i = (i + 1) & mask;
    return i;
  }
  void rehash(size_t slots) {
    std::vector<Slot> old(slots);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.key != kEmpty) slots_[probe(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;
  size_t size_ = 0;
};

}  // namespace moxie::text
