#include "model/expert_weights.h"

namespace moxie {
namespace {

// Where gate and up stand among the 2F rows (or columns) of a stacked tensor.
struct Halves {
  int64_t up_begin, step;
};

Halves halves(const TensorNames& names, int64_t f) {
  return names.stacked_interleaved ? Halves{1, 2} : Halves{f, 1};
}

// Rows begin, begin + step, ... of an out-major matrix, in place.
View strided_rows(const View& matrix, int64_t begin, int64_t step, int64_t count) {
  if (matrix.empty()) return {};
  View rows = matrix;
  rows.shape = {count, matrix.shape[1]};
  rows.data = static_cast<const char*>(matrix.data) + begin * matrix.row_bytes;
  rows.row_bytes = step * matrix.row_bytes;
  if (matrix.scales != nullptr) rows.scales = static_cast<const char*>(matrix.scales) + begin * matrix.scale_row_bytes;
  rows.scale_row_bytes = step * matrix.scale_row_bytes;
  return rows;
}

// Whether a part of an MXFP4 tensor is there as bytes of that shape; a fault is remembered.
bool has_bytes(Binder& binder, const std::string& name, const View& found, const Shape& shape) {
  if (found.format == FormatId::u8 && found.shape == shape) return true;
  binder.misshaped(name, "u8 " + shape.str(), fmt::format("{} {}", format_name(found.format), found.shape.str()));
  return false;
}

// gpt-oss's MXFP4: NAME_blocks u8 [E, N, K/32, 16] and NAME_scales u8 [E, N, K/32] as one mxfp4 view [E, N, K].
View bind_mxfp4(Binder& binder, const std::string& name, int64_t e, int64_t n, int64_t k) {
  const View* blocks = binder.raw(name + "_blocks");
  const View* scales = binder.raw(name + "_scales");
  if (blocks == nullptr || scales == nullptr) return {};
  if (k % 32 != 0) {
    binder.misshaped(name + "_blocks", "rows of whole blocks of 32", fmt::format("rows of {}", k));
    return {};
  }
  const bool blocks_fit = has_bytes(binder, name + "_blocks", *blocks, {e, n, k / 32, 16});
  const bool scales_fit = has_bytes(binder, name + "_scales", *scales, {e, n, k / 32});
  if (!blocks_fit || !scales_fit) return {};
  View view = dense_view(blocks->data, FormatId::mxfp4, {e, n, k});
  view.scales = scales->data;
  view.scale_row_bytes = k / 32;
  return view;
}

// A stacked tensor [E, N, K]. `transposed` is set when the file has [E, K, N] instead; a square one is read as the
// family writes it.
View bind_stacked(Binder& binder, const std::string& name, int64_t e, int64_t n, int64_t k, bool family_in_major,
                  bool* transposed) {
  *transposed = false;
  if (binder.has(name + "_blocks")) return bind_mxfp4(binder, name, e, n, k);
  const View* found = binder.raw(name);
  if (found == nullptr) return {};
  const Shape out_major{e, n, k}, in_major{e, k, n};
  *transposed = found->shape == in_major && (family_in_major || !(found->shape == out_major));
  return binder.tensor(name, *transposed ? in_major : out_major);
}

void bind_stacked_experts(Binder& binder, const TensorNames& names, const MoeSpec& ffn, int64_t hidden_size,
                          const std::string& prefix, std::vector<Expert>& experts) {
  const int64_t e = ffn.num_experts, f = ffn.moe_intermediate_size;
  bool gate_up_transposed = false, down_transposed = false;
  const View gate_up = bind_stacked(binder, prefix + names.stacked_gate_up, e, 2 * f, hidden_size,
                                    names.stacked_interleaved, &gate_up_transposed);
  const View down =
      bind_stacked(binder, prefix + names.stacked_down, e, hidden_size, f, names.stacked_interleaved, &down_transposed);
  const float* gate_up_bias = nullptr;
  const float* down_bias = nullptr;
  if (ffn.expert_bias) {
    gate_up_bias = binder.vector(prefix + names.stacked_gate_up + "_bias", e * 2 * f);
    down_bias = binder.vector(prefix + names.stacked_down + "_bias", e * hidden_size);
  }
  if (gate_up.empty() || down.empty()) return;
  const Halves half = halves(names, f);
  for (int64_t i = 0; i < e; ++i) {
    Expert& expert = experts[static_cast<size_t>(i)];
    if (gate_up_transposed) {
      expert.gate = binder.transposed(gate_up[i], 0, half.step, f);
      expert.up = binder.transposed(gate_up[i], half.up_begin, half.step, f);
    } else {
      expert.gate = strided_rows(gate_up[i], 0, half.step, f);
      expert.up = strided_rows(gate_up[i], half.up_begin, half.step, f);
    }
    expert.down = down_transposed ? binder.transposed(down[i], 0, 1, hidden_size) : down[i];
    if (gate_up_bias != nullptr && down_bias != nullptr) {
      expert.gate_bias = binder.strided(gate_up_bias + i * 2 * f, 0, half.step, f);
      expert.up_bias = binder.strided(gate_up_bias + i * 2 * f, half.up_begin, half.step, f);
      expert.down_bias = down_bias + i * hidden_size;
    }
  }
}

// One expert from its three matrices, with their biases where the block has them.
Expert bind_expert(Binder& binder, const std::string& gate, const std::string& up, const std::string& down, int64_t f,
                   int64_t hidden_size, bool bias) {
  Expert expert;
  expert.gate = binder.matrix(gate, f, hidden_size);
  expert.up = binder.matrix(up, f, hidden_size);
  expert.down = binder.matrix(down, hidden_size, f);
  if (!bias) return expert;
  expert.gate_bias = binder.vector(bias_name(gate), f);
  expert.up_bias = binder.vector(bias_name(up), f);
  expert.down_bias = binder.vector(bias_name(down), hidden_size);
  return expert;
}

}  // namespace

std::string numbered(const std::string& pattern, int64_t number) {
  return fmt::format(fmt::runtime(pattern), number);
}

std::string bias_name(std::string weight) {
  constexpr std::string_view ending = "weight";
  MOXIE_CHECK(weight.ends_with(ending));
  return weight.replace(weight.size() - ending.size(), ending.size(), "bias");
}

GluArgs glu_args(const MoeSpec& ffn) {
  GluArgs args{.alpha = static_cast<float>(ffn.activation_alpha), .limit = static_cast<float>(ffn.activation_limit)};
  switch (ffn.activation) {
    case Activation::swiglu:
      args.kind = GluKind::swiglu;
      break;
    case Activation::clamped_swiglu:
      args.kind = GluKind::clamped_swiglu;
      break;
    case Activation::geglu:
      args.kind = GluKind::geglu;
      break;
  }
  return args;
}

MoeWeights bind_ffn(Binder& binder, const ModelSpec& spec, const MoeSpec& ffn, const std::string& prefix) {
  const TensorNames& names = spec.names;
  const int64_t h = spec.hidden_size, f = ffn.moe_intermediate_size;
  MoeWeights weights;
  weights.bank.activation = glu_args(ffn);
  if (ffn.is_dense()) {
    weights.bank.experts.resize(1);
    const std::string at = prefix + "mlp.";
    weights.bank.experts[0] =
        bind_expert(binder, at + names.dense_gate, at + names.dense_up, at + names.dense_down, f, h, ffn.expert_bias);
    return weights;
  }
  // transformers 5 writes the block as "mlp." whatever the family called it
  const std::string at = prefix + (binder.has(prefix + names.ffn + names.router) ? names.ffn : std::string("mlp."));
  const std::string router = binder.has(at + names.router) ? at + names.router : prefix + names.ffn + names.router;
  weights.router = binder.matrix(router, ffn.num_experts, h);
  // A config may claim any number of experts: no router proves it, and no such number of tensors. Already reported.
  if (weights.router.empty() && ffn.num_experts > binder.num_tensors()) return weights;
  weights.bank.experts.resize(static_cast<size_t>(ffn.num_experts));
  if (ffn.router_bias) {
    weights.router_bias = binder.vector(bias_name(router), ffn.num_experts);
  }
  if (ffn.select_bias) weights.expert_bias = binder.vector(at + names.expert_bias, ffn.num_experts);
  if (names.expert_gate.empty() || binder.has(at + names.stacked_gate_up)) {
    bind_stacked_experts(binder, names, ffn, h, at, weights.bank.experts);
  } else {
    for (int64_t e = 0; e < ffn.num_experts; ++e) {
      weights.bank.experts[static_cast<size_t>(e)] =
          bind_expert(binder, at + numbered(names.expert_gate, e), at + numbered(names.expert_up, e),
                      at + numbered(names.expert_down, e), f, h, ffn.expert_bias);
    }
  }
  if (ffn.shared != SharedExpert::none) {
    const std::string shared = at + names.shared;
    weights.shared = bind_expert(binder, shared + names.dense_gate, shared + names.dense_up, shared + names.dense_down,
                                 ffn.shared_intermediate_size, h, false);
    if (ffn.shared == SharedExpert::sigmoid_gated) weights.shared_gate = binder.matrix(at + names.shared_gate, 1, h);
  }
  return weights;
}

}  // namespace moxie
