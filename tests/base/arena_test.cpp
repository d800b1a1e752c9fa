// The arena: alignment, scopes, and no new memory once the largest step has run.
#include "base/arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace moxie {
namespace {

TEST(Arena, gives_memory_aligned_to_64_bytes) {
  Arena arena;
  for (const size_t bytes : {size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{3} << 20, size_t{7}}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.alloc_bytes(bytes)) % 64, 0u) << bytes;
  }
}

// Random sizes, past several blocks: each piece keeps the bytes written to it.
TEST(Arena, pieces_do_not_overlap) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    Arena arena;
    std::vector<std::pair<unsigned char*, size_t>> pieces;
    for (int i = 0; i < 60; ++i) {
      const size_t bytes = random() % 3 == 0 ? random() % 800000 : random() % 500;
      auto* piece = static_cast<unsigned char*>(arena.alloc_bytes(bytes));
      std::memset(piece, i, bytes);
      pieces.emplace_back(piece, bytes);
    }
    for (size_t i = 0; i < pieces.size(); ++i) {
      const auto [piece, bytes] = pieces[i];
      for (size_t b = 0; b < bytes; ++b) ASSERT_EQ(piece[b], i) << "seed " << seed;
    }
  }
}

TEST(Arena, a_scope_gives_back_what_was_taken_inside_it_and_nothing_else) {
  Arena arena;
  int* kept = arena.alloc<int>(4);
  kept[0] = 42;
  void* inside = nullptr;
  {
    Arena::Scope scope(arena);
    inside = arena.alloc_bytes(100);
    {
      Arena::Scope inner(arena);
      EXPECT_NE(arena.alloc_bytes(5 << 20), nullptr);  // opens a second block
    }
    const auto* next = static_cast<char*>(arena.alloc_bytes(10));
    EXPECT_EQ(next, static_cast<char*>(inside) + 128);  // back in the first block
  }
  EXPECT_EQ(arena.alloc_bytes(1), inside);
  EXPECT_EQ(kept[0], 42);
}

TEST(Arena, takes_no_memory_once_the_largest_step_has_run) {
  const auto step = [](Arena& arena) {
    for (int i = 1; i <= 40; ++i) {
      Arena::Scope scope(arena);
      arena.alloc_bytes(static_cast<size_t>(i) * 70001);
      arena.alloc_bytes(static_cast<size_t>(41 - i) * 50021);
    }
    for (int i = 0; i < 30; ++i) arena.alloc<float>(100003);
  };
  Arena arena;
  step(arena);
  arena.reset();
  const size_t capacity = arena.capacity();
  const void* first = nullptr;
  for (int i = 0; i < 5; ++i) {
    const void* here = arena.alloc_bytes(1);
    if (i == 0) first = here;
    EXPECT_EQ(here, first);  // the block itself was not exchanged either
    step(arena);
    arena.reset();
    EXPECT_EQ(arena.capacity(), capacity);
  }
}

TEST(Arena, nothing_may_be_taken_of_an_empty_arena) {
  Arena arena;
  arena.reset();
  EXPECT_EQ(arena.capacity(), 0u);
  EXPECT_NE(arena.alloc_bytes(0), nullptr);
}

}  // namespace
}  // namespace moxie
