#include "quantize/hf_tensors.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <unordered_set>

#include "model/parameter_slots.h"
#include "model/row_source.h"

namespace moxie {
namespace {

// A matrix whose rotary rows stand as pairs, head by head: [n / 2, 2] where the family has [2, n / 2].
RowSource without_pairs(const View& matrix, int64_t head_rows) {
  return RowSource({matrix}, [head_rows](int64_t row) {
    const int64_t i = row % head_rows;
    return row - i + i % (head_rows / 2) * 2 + i / (head_rows / 2);
  });
}

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
  RowSource rows_of(const ParameterSlot& slot) const {
    const void* place = slot.matrix != nullptr ? static_cast<const void*>(slot.matrix) : slot.vector;
    const int64_t head_rows = interleaved_.contains(place) ? family_.attention.head_dim : 0;
    const Shape& shape = slot.parameter.shape;
    if (head_rows == 0) {
      return RowSource(slot.matrix != nullptr ? *slot.matrix : dense_view(*slot.vector, FormatId::f32, shape));
    }
    const View column = slot.matrix != nullptr ? *slot.matrix : dense_view(*slot.vector, FormatId::f32, {shape[0], 1});
    return without_pairs(column, head_rows);  // elements of a vector as rows
  }

  void add_one(const ParameterSlot& slot) {
    const Parameter& parameter = slot.parameter;
    const RowSource rows = rows_of(slot);
    HfTensor& tensor = tensors_.emplace_back();
    tensor.name = parameter.name;
    tensor.shape = parameter.shape;
    tensor.stays_f32 = parameter.kind == ParameterKind::selection_bias;
    tensor.layer = parameter.layer;
    tensor.expert = parameter.expert;
    tensor.num_experts = parameter.expert >= 0 ? 1 : 0;
    const bool by_element = rows.columns() != parameter.shape.back();
    const int64_t each = by_element ? parameter.shape.back() : 1;
    tensor.read_rows = [rows, each](int64_t begin, int64_t end, float* out) {
      rows.decode(begin * each, end * each, out);
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
    std::vector<View> all;
    for (int64_t i = 0; i < e * parts; ++i) all.push_back(*slots_[begin + static_cast<size_t>(i)].matrix);
    const RowSource rows(std::move(all));
    if (!family_.names.stacked_interleaved) {
      add_stack(std::move(name), layer, {e, parts * n, k}).read_rows = [rows](int64_t first, int64_t last, float* out) {
        rows.decode(first, last, out);
      };
      return;
    }
    struct OneExpert {
      int64_t expert = -1;
      std::vector<float> read, turned;  // [parts, n, k], [k, n * parts]
    };
    auto held = std::make_shared<OneExpert>();
    add_stack(std::move(name), layer, {e, k, n * parts}).read_rows = [rows, held, parts, n, k](
                                                                         int64_t first, int64_t last, float* out) {
      const int64_t width = n * parts;
      for (int64_t row = first; row < last; ++row, out += width) {
        const int64_t expert = row / k;
        if (held->expert != expert) {
          held->expert = expert;
          held->read.resize(static_cast<size_t>(width * k));
          held->turned.resize(static_cast<size_t>(width * k));
          rows.decode(expert * width, (expert + 1) * width, held->read.data());
          for (int64_t i = 0; i < width * k; ++i) {
            const int64_t column = i / k % n * parts + i / k / n;
            held->turned[static_cast<size_t>(i % k * width + column)] = held->read[static_cast<size_t>(i)];
          }
        }
        std::memcpy(out, &held->turned[static_cast<size_t>(row % k * width)],
                    static_cast<size_t>(width) * sizeof(float));
      }
    };
  }

  // `parts` vectors [n] an expert: [E, parts * n], one after the other or taking turns.
  void add_biases(std::string name, int64_t layer, size_t begin, int64_t parts, int64_t n) {
    const int64_t e = family_.layers[static_cast<size_t>(layer)].ffn.num_experts;
    std::vector<const float*> all;
    for (int64_t i = 0; i < e * parts; ++i) all.push_back(*slots_[begin + static_cast<size_t>(i)].vector);
    const bool turns = family_.names.stacked_interleaved;
    add_stack(std::move(name), layer, {e, parts * n}).read_rows = [all = std::move(all), turns, parts, n](
                                                                      int64_t first, int64_t last, float* out) {
      for (int64_t i = first * parts; i < last * parts; ++i) {
        const int64_t which = i % parts;
        float* to = out + (i / parts - first) * parts * n;
        for (int64_t j = 0; j < n; ++j) to[turns ? j * parts + which : which * n + j] = all[static_cast<size_t>(i)][j];
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
