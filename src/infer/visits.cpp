#include "infer/visits.h"

#include <algorithm>

namespace moxie {
namespace {

constexpr int64_t kFloatBytes = sizeof(float);

int64_t bias_bytes(const Expert& expert) {
  const int64_t width = expert.gate.shape[0], hidden = expert.down.shape[0];
  return kFloatBytes * ((expert.gate_bias != nullptr ? width : 0) + (expert.up_bias != nullptr ? width : 0) +
                        (expert.down_bias != nullptr ? hidden : 0));
}

int64_t matrix_bytes(const Expert& expert) {
  return expert.gate.num_bytes() + expert.up.num_bytes() + expert.down.num_bytes();
}

int64_t attention_bytes(const AttentionWeights& weights) {
  int64_t sum = 0;
  for (const View* view :
       {&weights.q, &weights.k, &weights.v, &weights.o, &weights.q_a, &weights.kv_a, &weights.kv_b}) {
    if (!view->empty()) sum += view->num_bytes();
  }
  return sum;
}

}  // namespace

WeightBytes::WeightBytes(const Model& model) {
  const ModelWeights& weights = model.weights();
  embedding_row = weights.embedding.num_bytes() / std::max<int64_t>(weights.embedding.num_rows(), 1);
  head = weights.lm_head.num_bytes();
  for (const std::vector<float>& vector : weights.vectors) {
    every_step += kFloatBytes * static_cast<int64_t>(vector.size());
  }
  for (size_t layer = 0; layer < weights.layers.size(); ++layer) {
    const MoeWeights& ffn = weights.layers[layer].ffn;
    every_step += attention_bytes(weights.layers[layer].attention);
    std::vector<int64_t>& own = experts.emplace_back();
    if (model.spec().layers[layer].ffn.is_dense()) {
      every_step += matrix_bytes(ffn.bank.experts[0]);
      continue;
    }
    every_step += ffn.router.num_bytes();
    if (!ffn.shared.gate.empty()) every_step += matrix_bytes(ffn.shared);
    if (!ffn.shared_gate.empty()) every_step += ffn.shared_gate.num_bytes();
    for (const Expert& expert : ffn.bank.experts) {
      own.push_back(matrix_bytes(expert) + bias_bytes(expert));
      every_step -= bias_bytes(expert);  // it is among the vectors
    }
  }
}

ExpertVisits::ExpertVisits(const Model& model, const KernelSet& kernels)
    : model_(model), kernels_(kernels), bytes_(model) {
  size_t most = 0;
  for (const std::vector<int64_t>& layer : bytes_.experts) most = std::max(most, layer.size());
  rows_.resize(most);
}

void ExpertVisits::record(int64_t layer, const Routing& routing) {
  const std::vector<int64_t>& bytes = bytes_.experts[static_cast<size_t>(layer)];
  const std::vector<Expert>& experts = model_.weights().layers[static_cast<size_t>(layer)].ffn.bank.experts;
  std::fill(rows_.begin(), rows_.end(), 0);
  for (int64_t i = 0; i < routing.num_tokens * routing.top_k; ++i) {
    if (routing.topk_ids[i] >= 0) ++rows_[static_cast<size_t>(routing.topk_ids[i])];
  }
  ++num_layer_steps_;
  for (size_t e = 0; e < bytes.size(); ++e) {
    if (rows_[e] == 0) continue;
    const int64_t tile = kernels_.tile_rows(experts[e].gate.format);
    ++num_visits_;
    num_rows_ += rows_[e];
    num_tile_rows_ += (rows_[e] + tile - 1) / tile * tile;
    expert_bytes_ += bytes[e];
  }
}

}  // namespace moxie
