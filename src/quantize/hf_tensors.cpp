#include "quantize/hf_tensors.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <unordered_set>

#include "ops/exec.h"
#include "model/parameter_slots.h"

namespace moxie {
namespace {

/// A matrix, or a vector as a matrix of one row: a row of it as f32.
struct Rows {
  View view;
  int64_t head_rows = 0;  // rows of a head whose pairs are interleaved and shall not be; 0: they stand as they should

  int64_t num_rows() const { return view.num_rows(); }
  int64_t columns() const { return view.shape.back(); }

  void read(int64_t row, float* out) const {
    const int64_t from = head_rows == 0 ? row : row - row % head_rows + interleaved(row % head_rows, head_rows);
    decode_row(*find_kernel_set("ref"), view, from, out);
  }

  // Where element i of [2, n / 2] stands in [n / 2, 2].
  static int64_t interleaved(int64_t i, int64_t n) { return i % (n / 2) * 2 + i / (n / 2); }
};

class Lister {
 public:
  Lister(const ModelSpec& family, const ModelSpec& bound, ModelWeights& weights)
      : family_(family), slots_(parameter_slots(family, false, weights)) {
    MOXIE_CHECK(bound.rope.interleaved || !family.rope.interleaved);  // no file turns pairs the other way round
    if (bound.rope.interleaved == family.rope.interleaved) return;
    for (const LayerWeights& layer : weights.layers) {
      const AttentionWeights& a = layer.attention;
      interleaved_.insert({&a.q, &a.k, &a.q_bias, &a.k_bias});
    }
  }

  std::vector<HfTensor> list() {
    const bool stacks = family_.names.expert_gate.empty();
    for (size_t i = 0; i < slots_.size(); ++i) {
      const Parameter& parameter = slots_[i].parameter;
      if (!stacks || parameter.expert < 0) {
        add_one(slots_[i]);
        continue;
      }
      const size_t begin = i;
      while (i + 1 < slots_.size() && slots_[i + 1].parameter.expert >= 0 &&
             slots_[i + 1].parameter.layer == parameter.layer) {
        ++i;
      }
      add_stacks(begin, parameter.layer);
    }
    return std::move(tensors_);
  }

 private:
  Rows rows_of(const ParameterSlot& slot) const {
    const void* place = slot.matrix != nullptr ? static_cast<const void*>(slot.matrix) : slot.vector;
    const int64_t head_rows = interleaved_.contains(place) ? family_.attention.head_dim : 0;
    if (slot.matrix != nullptr) return {*slot.matrix, head_rows};
    const View vector = dense_view(*slot.vector, FormatId::f32, slot.parameter.shape);
    if (head_rows == 0) return {vector};
    return {dense_view(*slot.vector, FormatId::f32, {vector.shape[0], 1}), head_rows};  // its elements are rows
  }

  void add_one(const ParameterSlot& slot) {
    const Parameter& parameter = slot.parameter;
    const Rows rows = rows_of(slot);
    HfTensor& tensor = tensors_.emplace_back();
    tensor.name = parameter.name;
    tensor.shape = parameter.shape;
    tensor.stays_f32 = parameter.kind == ParameterKind::selection_bias;
    tensor.layer = parameter.layer;
    tensor.expert = parameter.expert;
    tensor.num_experts = parameter.expert >= 0 ? 1 : 0;
    const bool in_rows = rows.columns() == parameter.shape.back();
    tensor.read_row = [rows, in_rows](int64_t row, float* out) {
      if (in_rows) return rows.read(row, out);
      for (int64_t i = 0; i < rows.num_rows(); ++i) rows.read(i, out + i);
    };
  }

  HfTensor& add_stack(std::string name, int64_t layer, Shape shape) {
    HfTensor& tensor = tensors_.emplace_back();
    tensor.name = std::move(name);
    tensor.shape = shape;
    tensor.layer = layer;
    tensor.expert = 0;
    tensor.num_experts = shape[0];
    return tensor;
  }

  // The slots of one layer's experts: gate and up of each, then the downs, then their biases likewise.
  void add_stacks(size_t begin, int64_t layer) {
    const MoeSpec& ffn = family_.layers[static_cast<size_t>(layer)].ffn;
    const TensorNames& names = family_.names;
    const int64_t e = ffn.num_experts, f = ffn.moe_intermediate_size, h = family_.hidden_size;
    const std::string at = routed_ffn_prefix(family_, layer);
    const auto n = static_cast<size_t>(e);
    add_matrices(at + names.stacked_gate_up, layer, begin, 2, f, h);
    add_matrices(at + names.stacked_down, layer, begin + 2 * n, 1, h, f);
    if (!ffn.expert_bias) return;
    add_biases(at + names.stacked_gate_up + "_bias", layer, begin + 3 * n, 2, f);
    add_biases(at + names.stacked_down + "_bias", layer, begin + 5 * n, 1, h);
  }

  // `parts` matrices [n, k] an expert, from slot `begin` on: [E, parts * n, k], or in-major [E, k, n * parts] with the
  // columns of the parts taking turns.
  void add_matrices(std::string name, int64_t layer, size_t begin, int64_t parts, int64_t n, int64_t k) {
    const int64_t e = family_.layers[static_cast<size_t>(layer)].ffn.num_experts;
    const auto part = [this, begin, parts](int64_t expert, int64_t which) {
      return rows_of(slots_[begin + static_cast<size_t>(expert * parts + which)]);
    };
    std::vector<Rows> all;
    for (int64_t i = 0; i < e * parts; ++i) all.push_back(part(i / parts, i % parts));
    if (!family_.names.stacked_interleaved) {
      add_stack(std::move(name), layer, {e, parts * n, k}).read_row =
          [all = std::move(all), n](int64_t row, float* out) { all[static_cast<size_t>(row / n)].read(row % n, out); };
      return;
    }
    struct OneExpert {
      int64_t expert = -1;
      std::vector<float> values, row;
    };
    auto held = std::make_shared<OneExpert>();
    add_stack(std::move(name), layer, {e, k, n * parts}).read_row = [all = std::move(all), held, parts, n, k](
                                                                        int64_t row, float* out) {
      const int64_t width = n * parts;
      if (held->expert != row / k) {
        held->expert = row / k;
        held->values.resize(static_cast<size_t>(k * width));
        held->row.resize(static_cast<size_t>(k));
        for (int64_t column = 0; column < width; ++column) {
          all[static_cast<size_t>(held->expert * parts + column % parts)].read(column / parts, held->row.data());
          for (int64_t i = 0; i < k; ++i) {
            held->values[static_cast<size_t>(i * width + column)] = held->row[static_cast<size_t>(i)];
          }
        }
      }
      std::memcpy(out, &held->values[static_cast<size_t>(row % k * width)], static_cast<size_t>(width) * sizeof(float));
    };
  }

  // `parts` vectors [n] an expert: [E, parts * n], one after the other or taking turns.
  void add_biases(std::string name, int64_t layer, size_t begin, int64_t parts, int64_t n) {
    const int64_t e = family_.layers[static_cast<size_t>(layer)].ffn.num_experts;
    std::vector<const float*> all;
    for (int64_t i = 0; i < e * parts; ++i) all.push_back(*slots_[begin + static_cast<size_t>(i)].vector);
    const bool turns = family_.names.stacked_interleaved;
    add_stack(std::move(name), layer, {e, parts * n}).read_row = [all = std::move(all), turns, parts, n](int64_t row,
                                                                                                         float* out) {
      for (int64_t which = 0; which < parts; ++which) {
        const float* from = all[static_cast<size_t>(row * parts + which)];
        for (int64_t i = 0; i < n; ++i) out[turns ? i * parts + which : which * n + i] = from[i];
      }
    };
  }

  const ModelSpec& family_;
  std::vector<ParameterSlot> slots_;
  std::unordered_set<const void*> interleaved_;  // places in the weights whose rows stand so
  std::vector<HfTensor> tensors_;
};

}  // namespace

std::vector<HfTensor> hf_tensors(const ModelSpec& family, const ModelSpec& bound, ModelWeights& weights) {
  return Lister(family, bound, weights).list();
}

}  // namespace moxie
