#include "base/arena.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"

namespace moxie {
namespace {
constexpr size_t kAlignment = 64;
constexpr size_t kSmallestBlock = 1 << 20;
}  // namespace

void Arena::Free::operator()(void* memory) const {
  std::free(memory);
}

void Arena::add_block(size_t bytes) {
  const size_t size = (std::max(bytes, kSmallestBlock) + kAlignment - 1) / kAlignment * kAlignment;
  std::unique_ptr<void, Free> memory(std::aligned_alloc(kAlignment, size));
  if (memory == nullptr) throw make_error(ErrorCode::does_not_fit, "no memory for {} bytes of step scratch", size);
  blocks_.push_back({std::move(memory), size});
  capacity_ += size;
}

void* Arena::alloc_bytes(size_t bytes) {
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  while (block_ < blocks_.size() && used_ + rounded > blocks_[block_].size) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) add_block(std::max(rounded, capacity_));  // doubles, so few blocks are ever made
  void* memory = static_cast<char*>(blocks_[block_].memory.get()) + used_;
  used_ += rounded;
  return memory;
}

void Arena::reset() {
  block_ = 0;
  used_ = 0;
  if (blocks_.size() > 1) {
    const size_t total = capacity_;
    blocks_.clear();
    capacity_ = 0;
    add_block(total);
  }
}

}  // namespace moxie
