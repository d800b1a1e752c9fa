#include "model/kv_cache.h"

#include <sys/mman.h>

#include "base/error.h"

namespace moxie {

KvCache::KvCache(const ModelSpec& spec, int64_t num_pages, FormatId format)
    : format_(format), num_layers_(spec.num_layers), kept_(spec.attention.kv_shape()), num_pages_(num_pages) {
  MOXIE_CHECK(is_kv_format(format));
  k_bytes_ = key_part_bytes(format, kept_.k_dim);
  v_bytes_ = kept_.latent ? 0 : value_part_bytes(format, kept_.v_dim);
  layer_bytes_ = kept_.num_heads * (k_bytes_ + v_bytes_);
  // Pages come from flags and configs: their number may be anything.
  void* memory = MAP_FAILED;
  if (num_pages <= INT32_MAX &&
      !__builtin_mul_overflow(static_cast<size_t>(num_pages), static_cast<size_t>(page_bytes()), &bytes_)) {
    memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  if (memory == MAP_FAILED) {
    throw make_error(ErrorCode::does_not_fit,
                     "KV cache of {} pages of {} bytes cannot be reserved; use a smaller context", num_pages,
                     page_bytes());
  }
  ::madvise(memory, bytes_, MADV_HUGEPAGE);  // a wish: decode walks all of it, and no error if refused
  data_ = static_cast<char*>(memory);
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
