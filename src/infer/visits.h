// Which experts steps really visited, and what that costs: bytes of their weights, and how well their rows fill the
// tiles of a product. Counts; measures no time.
#pragma once

#include <cstdint>
#include <vector>

#include "model/model.h"

namespace moxie {

/// Bytes that a model's weights take in memory; each expert is its own.
struct WeightBytes {
  explicit WeightBytes(const Model& model);

  int64_t every_step = 0;                     // read whole: all but routed experts, the embedding and the head
  int64_t head = 0;                           // by steps with logits
  int64_t embedding_row = 0;                  // what one token reads of it
  std::vector<std::vector<int64_t>> experts;  // [layer][expert]; dense layers have none
};

/// Counts over the steps of an engine whose routing sink it is.
class ExpertVisits final : public RoutingSink {
 public:
  /// The model and the kernel set must outlive it.
  ExpertVisits(const Model& model, const KernelSet& kernels);
  void record(int64_t layer, const Routing& routing) override;

  /// Experts that at least one token of a step chose, summed over layers and steps; a step reads each once.
  int64_t num_visits() const { return num_visits_; }
  int64_t num_layer_steps() const { return num_layer_steps_; }
  int64_t expert_bytes() const { return expert_bytes_; }
  double visits_per_layer() const { return ratio(num_visits_, num_layer_steps_); }
  double rows_per_visit() const { return ratio(num_rows_, num_visits_); }
  /// Rows over the rows that their register tiles have room for; 0 where nothing was routed.
  double tile_occupancy() const { return ratio(num_rows_, num_tile_rows_); }

  const WeightBytes& bytes() const { return bytes_; }

 private:
  static double ratio(int64_t a, int64_t b) { return b == 0 ? 0 : static_cast<double>(a) / static_cast<double>(b); }

  const Model& model_;
  const KernelSet& kernels_;
  WeightBytes bytes_;
  std::vector<int64_t> rows_;  // of each expert in the layer at hand
  int64_t num_visits_ = 0, num_layer_steps_ = 0, num_rows_ = 0, num_tile_rows_ = 0, expert_bytes_ = 0;
};

}  // namespace moxie
