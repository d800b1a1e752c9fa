#include "model/kv_cache.h"

#include <sys/mman.h>

#include "base/error.h"

namespace moxie {

int64_t KvCache::floats_per_token(const AttentionSpec& attention) {
  if (attention.kind == AttentionKind::mla) return attention.kv_lora_rank + attention.qk_rope_head_dim;
  return attention.num_kv_heads * (attention.head_dim + attention.v_head_dim);
}

KvCache::KvCache(const ModelSpec& spec, int64_t num_pages)
    : latent_(spec.attention.kind == AttentionKind::mla), num_layers_(spec.num_layers), num_pages_(num_pages) {
  const AttentionSpec& attention = spec.attention;
  num_heads_ = latent_ ? 1 : attention.num_kv_heads;
  k_row_floats_ = latent_ ? floats_per_token(attention) : attention.head_dim;
  v_row_floats_ = latent_ ? k_row_floats_ : attention.v_head_dim;
  values_begin_ = num_heads_ * kKeyBlock * k_row_floats_;
  layer_floats_ = kKeyBlock * floats_per_token(attention);
  // Pages come from flags and configs: their number may be anything.
  const auto page_bytes = static_cast<size_t>(num_layers_ * layer_floats_) * sizeof(float);
  void* memory = MAP_FAILED;
  if (num_pages <= INT32_MAX && !__builtin_mul_overflow(static_cast<size_t>(num_pages), page_bytes, &bytes_)) {
    memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  if (memory == MAP_FAILED) {
    throw make_error(ErrorCode::does_not_fit,
                     "KV cache of {} pages of {} bytes cannot be reserved; use a smaller context", num_pages,
                     page_bytes);
  }
  data_ = static_cast<float*>(memory);
}

KvCache::~KvCache() {
  ::munmap(data_, bytes_);
}

int32_t KvCache::take_page() {
  if (given_back_.empty()) return num_taken_ < num_pages_ ? static_cast<int32_t>(num_taken_++) : -1;
  const int32_t page = given_back_.back();
  given_back_.pop_back();
  return page;
}

}  // namespace moxie
