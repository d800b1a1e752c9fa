// The KV cache: keys and values of every layer in pages of kKeyBlock positions. Hands out pages; knows no sequences.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernels.h"
#include "spec/model_spec.h"

namespace moxie {

/// Room for a number of pages, f32. A page holds kKeyBlock positions of all layers; within a layer, each KV head's rows
/// lie together. Multi-head latent attention (MLA) keeps the latent and the rotary key once for all heads; its values
/// are the first kv_lora_rank elements of that row. Memory is reserved at once and taken page by page as it is touched.
class KvCache {
 public:
  /// Throws Error{does_not_fit} if the address space cannot be had.
  KvCache(const ModelSpec& spec, int64_t num_pages);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  /// Floats of one position of one layer.
  static int64_t floats_per_token(const AttentionSpec& attention);

  int64_t num_pages() const { return num_pages_; }
  int64_t free_pages() const { return num_pages_ - num_taken_ + static_cast<int64_t>(given_back_.size()); }

  /// A free page, or -1 if there is none.
  int32_t take_page();
  void give_page(int32_t page) { given_back_.push_back(page); }

  /// First row of a KV head's keys, or values, in a page; rows are k_row_floats() or v_row_floats() apart.
  float* keys(int64_t layer, int32_t page, int64_t head) const {
    return data_ + (page * num_layers_ + layer) * layer_floats_ + head * kKeyBlock * k_row_floats_;
  }
  float* values(int64_t layer, int32_t page, int64_t head) const {
    if (latent_) return keys(layer, page, head);
    return data_ + (page * num_layers_ + layer) * layer_floats_ + values_begin_ + head * kKeyBlock * v_row_floats_;
  }
  int64_t k_row_floats() const { return k_row_floats_; }
  int64_t v_row_floats() const { return v_row_floats_; }
  int64_t num_heads() const { return num_heads_; }

 private:
  bool latent_;
  int64_t num_layers_, num_heads_, k_row_floats_, v_row_floats_;
  int64_t values_begin_, layer_floats_, num_pages_;
  size_t bytes_ = 0;
  float* data_ = nullptr;
  int64_t num_taken_ = 0;  // pages [num_taken_, num_pages_) were never handed out
  std::vector<int32_t> given_back_;
};

}  // namespace moxie
