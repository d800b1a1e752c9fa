// The vocabulary: token bytes <-> id. Knows nothing of merges, special tokens or how a token is written in a file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moxie::text {

class Vocab {
 public:
  /// Gives `id` its bytes. Returns false, and changes nothing, if the id or the bytes are taken. Ids may leave holes.
  bool add(std::string_view bytes, int32_t id);
  /// The same for a token that no text may reach: find() does not know it.
  bool add_hidden(std::string_view bytes, int32_t id);

  /// The id with exactly these bytes, or -1.
  int32_t find(std::string_view bytes) const noexcept;

  bool has(int32_t id) const noexcept { return id >= 0 && id < size() && entries_[static_cast<size_t>(id)].present; }
  /// Empty for an id that is not there. Valid until the next add().
  std::string_view bytes(int32_t id) const noexcept;

  /// Highest id + 1.
  int32_t size() const noexcept { return static_cast<int32_t>(entries_.size()); }

 private:
  struct Entry {
    size_t begin = 0;
    uint32_t length = 0;
    bool present = false;
  };
  void append(std::string_view bytes, int32_t id);
  size_t probe(std::string_view bytes) const noexcept;
  void rehash(size_t slots);

  std::string blob_;
  std::vector<Entry> entries_;  // by id
  std::vector<int32_t> slots_;  // open addressing over ids, at most half full; -1 = empty
  size_t count_ = 0;            // of tokens in slots_
};

}  // namespace moxie::text
