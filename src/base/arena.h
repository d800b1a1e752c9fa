// Scratch memory of one step: bump allocation, freed all at once or back to a mark. Not for anything that outlives it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace moxie {

/// 64-byte aligned, uninitialised memory. When a step needed more than one block, reset() joins them into one, so that
/// after the largest step has run once nothing is allocated any more. One thread.
class Arena {
 public:
  template <typename T>
  T* alloc(int64_t count) {
    return static_cast<T*>(alloc_bytes(static_cast<size_t>(count) * sizeof(T)));
  }
  void* alloc_bytes(size_t bytes);

  /// Frees everything.
  void reset();

  size_t capacity() const { return capacity_; }

  /// Frees, when it leaves scope, what was allocated since it began.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), block_(arena.block_), used_(arena.used_) {}
    ~Scope() {
      arena_.block_ = block_;
      arena_.used_ = used_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    size_t block_;
    size_t used_;
  };

 private:
  struct Free {
    void operator()(void* memory) const;
  };
  struct Block {
    std::unique_ptr<void, Free> memory;
    size_t size;
  };
  void add_block(size_t bytes);

  std::vector<Block> blocks_;
  size_t block_ = 0;  // the block in use
  size_t used_ = 0;   // bytes of it in use
  size_t capacity_ = 0;
};

}  // namespace moxie
