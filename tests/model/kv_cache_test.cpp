// The KV cache: pages are handed out once, and no two rows of it share memory.
#include "model/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <span>

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
  const auto bytes_per_token = [](const ModelSpec& spec, FormatId format) {
    return KvCache(spec, 1, format).page_bytes() / kKeyBlock;
  };
  const ModelSpec mixtral = grouped(32, 8, 128, 128), deepseek_v3 = latent(61, 512, 64);
  EXPECT_EQ(bytes_per_token(mixtral, FormatId::f32), 32 * 2 * 8 * 128 * 4);
  EXPECT_EQ(bytes_per_token(mixtral, FormatId::f16), 32 * 2 * 8 * 128 * 2);
  EXPECT_EQ(bytes_per_token(mixtral, FormatId::q8_0), 32 * 2 * 8 * 128 * 34 / 32);
  EXPECT_EQ(bytes_per_token(deepseek_v3, FormatId::bf16), 61 * 576 * 2);
}

TEST(KvCache, gives_each_page_once_and_takes_it_back) {
  KvCache cache(grouped(2, 1, 16, 16), 5, FormatId::f32);
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

// Fills every part of every page, layer and head with bytes of its own, then reads them all back.
void expect_parts_apart(const ModelSpec& spec, int64_t num_pages, FormatId format) {
  KvCache cache(spec, num_pages, format);
  std::vector<std::span<char>> parts;
  for (int32_t page = 0; page < num_pages; ++page) {
    for (int64_t layer = 0; layer < spec.num_layers; ++layer) {
      for (int64_t head = 0; head < cache.num_heads(); ++head) {
        parts.emplace_back(cache.keys(layer, page, head), key_part_bytes(format, cache.k_dim()));
        if (!cache.latent()) {
          parts.emplace_back(cache.values(layer, page, head), value_part_bytes(format, cache.v_dim()));
        }
      }
    }
  }
  size_t bytes = 0;
  for (size_t p = 0; p < parts.size(); ++p) {
    std::fill(parts[p].begin(), parts[p].end(), static_cast<char>(p));
    bytes += parts[p].size();
  }
  for (size_t p = 0; p < parts.size(); ++p) {
    for (const char byte : parts[p]) ASSERT_EQ(byte, static_cast<char>(p));
  }
  EXPECT_EQ(static_cast<int64_t>(bytes), num_pages * cache.page_bytes());
}

TEST(KvCache, no_two_parts_overlap) {
  for (const FormatId format : {FormatId::f32, FormatId::bf16, FormatId::q8_0}) {
    expect_parts_apart(grouped(3, 2, 24, 24), 4, format);
    expect_parts_apart(grouped(1, 3, 25, 16), 3, format);
    expect_parts_apart(latent(3, 32, 8), 4, format);
  }
}

TEST(KvCache, keeps_a_latent_once_for_keys_and_values) {
  KvCache cache(latent(2, 32, 8), 2, FormatId::f32);
  EXPECT_TRUE(cache.latent());
  EXPECT_EQ(cache.num_heads(), 1);
  EXPECT_EQ(cache.k_dim(), 40);
  EXPECT_EQ(cache.v_dim(), 32);
}

// Sizes come from flags and configs: what cannot be had is an error, whether or not its size fits into 64 bits.
TEST(KvCache, what_cannot_be_had_is_an_error) {
  for (const int64_t pages : {int64_t{1} << 30, int64_t{1} << 33, int64_t{1} << 45, int64_t{1} << 62}) {
    try {
      KvCache cache(grouped(61, 128, 128, 128), pages, FormatId::f32);
      ADD_FAILURE() << pages << " pages of half a GiB";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::does_not_fit) << error.text();
    }
  }
}

}  // namespace
}  // namespace moxie
