// The KV cache: pages are handed out once, and no two rows of it share memory.
#include "model/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"

namespace moxie {
namespace {

ModelSpec grouped(int64_t layers, int64_t heads, int64_t head_dim, int64_t v_head_dim) {
  ModelSpec spec{.num_layers = layers};
  spec.attention = {.kind = AttentionKind::gqa,
                    .num_heads = heads * 4,
                    .num_kv_heads = heads,
                    .head_dim = head_dim,
                    .v_head_dim = v_head_dim};
  return spec;
}

ModelSpec latent(int64_t layers, int64_t rank, int64_t rope) {
  ModelSpec spec{.num_layers = layers};
  spec.attention = {.kind = AttentionKind::mla, .num_heads = 8, .kv_lora_rank = rank, .qk_rope_head_dim = rope};
  return spec;
}

TEST(KvCache, holds_two_rows_a_head_or_one_latent) {
  EXPECT_EQ(KvCache::floats_per_token(grouped(32, 8, 128, 128).attention), 2 * 8 * 128);  // Mixtral 8x7B
  EXPECT_EQ(KvCache::floats_per_token(latent(61, 512, 64).attention), 576);               // DeepSeek-V3
}

TEST(KvCache, gives_each_page_once_and_takes_it_back) {
  KvCache cache(grouped(2, 1, 16, 16), 5);
  EXPECT_EQ(cache.num_pages(), 5);
  std::set<int32_t> taken;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(cache.free_pages(), 5 - i);
    taken.insert(cache.take_page());
  }
  EXPECT_EQ(taken, (std::set<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(cache.take_page(), -1);
  cache.give_page(3);
  EXPECT_EQ(cache.free_pages(), 1);
  EXPECT_EQ(cache.take_page(), 3);
  EXPECT_EQ(cache.take_page(), -1);
}

// Writes a number of its own into every row of every page, layer and head, then reads them all back.
void expect_rows_apart(const ModelSpec& spec, int64_t num_pages, bool separate_values) {
  KvCache cache(spec, num_pages);
  std::vector<std::pair<float*, int64_t>> rows;
  for (int32_t page = 0; page < num_pages; ++page) {
    for (int64_t layer = 0; layer < spec.num_layers; ++layer) {
      for (int64_t head = 0; head < cache.num_heads(); ++head) {
        for (int64_t i = 0; i < kKeyBlock; ++i) {
          rows.emplace_back(cache.keys(layer, page, head) + i * cache.k_row_floats(), cache.k_row_floats());
          if (!separate_values) continue;
          rows.emplace_back(cache.values(layer, page, head) + i * cache.v_row_floats(), cache.v_row_floats());
        }
      }
    }
  }
  int64_t floats = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::fill_n(rows[r].first, rows[r].second, static_cast<float>(r));
    floats += rows[r].second;
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    for (int64_t i = 0; i < rows[r].second; ++i) ASSERT_EQ(rows[r].first[i], static_cast<float>(r));
  }
  EXPECT_EQ(floats, num_pages * kKeyBlock * spec.num_layers * KvCache::floats_per_token(spec.attention));
}

TEST(KvCache, no_two_rows_overlap) {
  expect_rows_apart(grouped(3, 2, 24, 24), 4, true);
  expect_rows_apart(grouped(1, 3, 24, 16), 3, true);
  expect_rows_apart(latent(3, 32, 8), 4, false);
}

TEST(KvCache, values_of_a_latent_are_the_start_of_its_keys) {
  KvCache cache(latent(2, 32, 8), 2);
  EXPECT_EQ(cache.num_heads(), 1);
  EXPECT_EQ(cache.k_row_floats(), 40);
  EXPECT_EQ(cache.v_row_floats(), 40);
  EXPECT_EQ(cache.values(1, 1, 0), cache.keys(1, 1, 0));
}

// Sizes come from flags and configs: what cannot be had is an error, whether or not its size fits into 64 bits.
TEST(KvCache, what_cannot_be_had_is_an_error) {
  for (const int64_t pages : {int64_t{1} << 30, int64_t{1} << 33, int64_t{1} << 45, int64_t{1} << 62}) {
    try {
      KvCache cache(grouped(61, 128, 128, 128), pages);
      ADD_FAILURE() << pages << " pages of half a GiB";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::does_not_fit) << error.text();
    }
  }
}

}  // namespace
}  // namespace moxie
