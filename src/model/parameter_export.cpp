// A block of parameters as the tensors of a checkpoint: one by one, or stacked where the family stacks its experts.
#include <cstring>

#include "model/parameter_slots.h"

namespace moxie {
namespace {

// The runs of one layer's experts in the block; an index into the list each.
struct ExpertTensors {
  std::vector<const Parameter*> gate_up, down, gate_up_bias, down_bias;
};

ExpertTensors sort_out(std::span<const Parameter> experts, int64_t num_experts, bool biases) {
  const auto e = static_cast<size_t>(num_experts);
  MOXIE_CHECK(experts.size() == (biases ? 6 * e : 3 * e));
  ExpertTensors tensors;
  for (size_t i = 0; i < experts.size(); ++i) {
    auto& run = i < 2 * e   ? tensors.gate_up
                : i < 3 * e ? tensors.down
                : i < 5 * e ? tensors.gate_up_bias
                            : tensors.down_bias;
    run.push_back(&experts[i]);
  }
  return tensors;
}

// Parameters of one size, side by side, as one tensor: a view where the block has no gaps between them.
View joined(const float* block, const std::vector<const Parameter*>& run, const Shape& shape,
            std::vector<Tensor>& owners) {
  const int64_t size = run[0]->shape.num_elems();
  const int64_t step = run.size() > 1 ? run[1]->offset - run[0]->offset : size;
  if (step == size) return dense_view(block + run[0]->offset, FormatId::f32, shape);
  auto [tensor, data] = Tensor::zeros_f32(shape);
  for (size_t i = 0; i < run.size(); ++i) {
    std::memcpy(data + static_cast<int64_t>(i) * size, block + run[i]->offset,
                static_cast<size_t>(size) * sizeof(float));
  }
  owners.push_back(tensor);
  return tensor.view;
}

// Matrices [rows, columns], `interleaved` at a time, as one in-major tensor [count / interleaved, columns, rows *
// interleaved] in which the columns of those that belong together take turns.
View in_major(const float* block, const std::vector<const Parameter*>& run, int64_t interleaved, int64_t rows,
              int64_t columns, std::vector<Tensor>& owners) {
  const int64_t count = static_cast<int64_t>(run.size()) / interleaved, width = rows * interleaved;
  auto [tensor, data] = Tensor::zeros_f32({count, columns, width});
  for (size_t i = 0; i < run.size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    float* to = data + index / interleaved * columns * width + index % interleaved;
    const float* from = block + run[i]->offset;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) to[c * width + r * interleaved] = from[r * columns + c];
    }
  }
  owners.push_back(tensor);
  return tensor.view;
}

void export_stacked(const float* block, const ModelSpec& spec, int64_t layer, std::span<const Parameter> experts,
                    std::vector<Tensor>& owners, std::vector<NamedView>& out) {
  const MoeSpec& ffn = spec.layers[static_cast<size_t>(layer)].ffn;
  const int64_t e = ffn.num_experts, f = ffn.moe_intermediate_size, h = spec.hidden_size;
  const ExpertTensors tensors = sort_out(experts, e, ffn.expert_bias);
  const std::string at = routed_ffn_prefix(spec, layer);
  const std::string gate_up = at + spec.names.stacked_gate_up, down = at + spec.names.stacked_down;
  if (!spec.names.stacked_interleaved) {
    out.push_back({gate_up, joined(block, tensors.gate_up, {e, 2 * f, h}, owners)});
    out.push_back({down, joined(block, tensors.down, {e, h, f}, owners)});
  } else {
    out.push_back({gate_up, in_major(block, tensors.gate_up, 2, f, h, owners)});
    out.push_back({down, in_major(block, tensors.down, 1, h, f, owners)});
  }
  if (!ffn.expert_bias) return;
  // a vector is a matrix of one column
  View biases = spec.names.stacked_interleaved ? in_major(block, tensors.gate_up_bias, 2, f, 1, owners)
                                               : joined(block, tensors.gate_up_bias, {e, 2 * f}, owners);
  biases = dense_view(biases.data, FormatId::f32, {e, 2 * f});
  out.push_back({gate_up + "_bias", biases});
  out.push_back({down + "_bias", joined(block, tensors.down_bias, {e, h}, owners)});
}

}  // namespace

std::vector<NamedView> Parameters::export_tensors(const float* block, std::vector<Tensor>& owners) const {
  const bool stacks = spec_.names.expert_gate.empty();
  std::vector<NamedView> out;
  for (size_t i = 0; i < list_.size(); ++i) {
    const Parameter& parameter = list_[i];
    if (parameter.training_only) continue;
    if (!stacks || parameter.expert < 0) {
      out.push_back({parameter.name, dense_view(block + parameter.offset, FormatId::f32, parameter.shape)});
      continue;
    }
    size_t end = i;
    while (end < list_.size() && list_[end].expert >= 0 && list_[end].layer == parameter.layer) ++end;
    export_stacked(block, spec_, parameter.layer, std::span(list_).subspan(i, end - i), owners, out);
    i = end - 1;
  }
  return out;
}

}  // namespace moxie
