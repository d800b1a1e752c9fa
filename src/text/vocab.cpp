#include "text/vocab.h"

#include "base/error.h"
#include "text/hash.h"

namespace moxie::text {

bool Vocab::add(std::string_view bytes, int32_t id) {
  if (has(id)) return false;
  if ((count_ + 1) * 2 > slots_.size()) rehash(slots_.empty() ? 1024 : slots_.size() * 2);
  const size_t slot = probe(bytes);
  if (slots_[slot] >= 0) return false;
  append(bytes, id);
  slots_[slot] = id;
  ++count_;
  return true;
}

bool Vocab::add_hidden(std::string_view bytes, int32_t id) {
  if (has(id)) return false;
  append(bytes, id);
  return true;
}

void Vocab::append(std::string_view bytes, int32_t id) {
  MOXIE_CHECK(id >= 0 && bytes.size() <= UINT32_MAX);
  const auto index = static_cast<size_t>(id);
  if (index >= entries_.size()) entries_.resize(index + 1);
  entries_[index] = {blob_.size(), static_cast<uint32_t>(bytes.size()), true};
  blob_ += bytes;
}

int32_t Vocab::find(std::string_view bytes) const noexcept {
  return slots_.empty() ? -1 : slots_[probe(bytes)];
}

std::string_view Vocab::bytes(int32_t id) const noexcept {
  if (!has(id)) return {};
  const Entry& entry = entries_[static_cast<size_t>(id)];
  return std::string_view(blob_).substr(entry.begin, entry.length);
}

size_t Vocab::probe(std::string_view wanted) const noexcept {
  const size_t mask = slots_.size() - 1;
  size_t i = hash_bytes(wanted) & mask;
  while (slots_[i] >= 0 && bytes(slots_[i]) != wanted) i = (i + 1) & mask;
  return i;
}

void Vocab::rehash(size_t slots) {
  std::vector<int32_t> old(slots, -1);
  old.swap(slots_);
  for (const int32_t id : old) {
    if (id >= 0) slots_[probe(bytes(id))] = id;
  }
}

}  // namespace moxie::text
