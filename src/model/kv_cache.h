// The KV cache: keys and values of every layer in pages of kKeyBlock positions. Hands out pages; knows no sequences.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kv_page.h"
#include "spec/model_spec.h"

namespace moxie {

/// Room for a number of pages, in one format. A page holds kKeyBlock positions of all layers; within a layer, the parts
/// of each KV head (kernels/kv_page.h). Multi-head latent attention (MLA) keeps the latent and the rotary key once for
/// all heads, as keys; its values are the first kv_lora_rank elements of them. Memory is reserved at once and taken
/// page by page as it is touched.
class KvCache {
 public:
  /// `format`: is_kv_format. Throws Error{does_not_fit} if the address space cannot be had.
  KvCache(const ModelSpec& spec, int64_t num_pages, FormatId format);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  FormatId format() const { return format_; }
  int64_t page_bytes() const { return num_layers_ * layer_bytes_; }
  int64_t num_pages() const { return num_pages_; }
  int64_t free_pages() const { return num_pages_ - num_taken_ + static_cast<int64_t>(given_back_.size()); }

  /// A free page, or -1 if there is none.
  int32_t take_page();
  void give_page(int32_t page) { given_back_.push_back(page); }

  /// A KV head's part of keys, or of values, in a page. Values lie before keys, so that 64 bytes behind them are there.
  char* keys(int64_t layer, int32_t page, int64_t head) const {
    return data_ + (page * num_layers_ + layer) * layer_bytes_ + kept_.num_heads * v_bytes_ + head * k_bytes_;
  }
  char* values(int64_t layer, int32_t page, int64_t head) const {
    return data_ + (page * num_layers_ + layer) * layer_bytes_ + head * v_bytes_;
  }
  /// Whether there are no parts of values: they are the start of the keys.
  bool latent() const { return kept_.latent; }
  int64_t num_heads() const { return kept_.num_heads; }
  int64_t k_dim() const { return kept_.k_dim; }
  int64_t v_dim() const { return kept_.v_dim; }

 private:
  FormatId format_;
  int64_t num_layers_;
  KvShape kept_;
  int64_t k_bytes_, v_bytes_, layer_bytes_, num_pages_;
  size_t bytes_ = 0;
  char* data_ = nullptr;
  int64_t num_taken_ = 0;  // pages [num_taken_, num_pages_) were never handed out
  std::vector<int32_t> given_back_;
};

}  // namespace moxie
