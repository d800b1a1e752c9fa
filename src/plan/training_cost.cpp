#include "plan/training_cost.h"

#include <algorithm>

#include "plan/accounting.h"

namespace moxie {
namespace {

constexpr double kFloat = 4;
// As the loop cuts its work: rows of logits at once (model/train_head.cpp), queries of a block of attention
// (ops/train_attention.cpp), and the packed panels of a product (kernels/cpu/matmul.h).
constexpr int64_t kLogitFloats = int64_t{16} << 20, kFewestRows = 64, kMostRows = 1024;
constexpr int64_t kQueryBlock = 64;
constexpr double kPanelBytes = (264 + 512) * 192 * kFloat;

// Floats of one token, or of one layer of one, by what they are for.
struct LayerFloats {
  double attention = 0, experts = 0, router = 0;  // kept from forward to backward
  double forward = 0, backward = 0;               // the largest need in between
};

double width(int64_t heads, int64_t dim) {
  return static_cast<double>(heads * dim);
}

void add_attention(const AttentionSpec& a, LayerFloats& floats) {
  const double q = width(a.num_heads, a.head_dim), out = width(a.num_heads, a.v_head_dim);
  if (a.kind == AttentionKind::mla) {
    const auto row = static_cast<double>(a.kv_lora_rank + a.qk_rope_head_dim);
    const auto q_latent = static_cast<double>(a.q_lora_rank);
    const double kv = width(a.num_heads, a.qk_nope_head_dim + a.v_head_dim);
    const auto normed = static_cast<double>(std::max(a.kv_lora_rank, a.q_lora_rank));
    floats.attention = 2 * q + 2 * out + row + q_latent;
    floats.forward = normed + kv;
    floats.backward = out + 2 * q + out + kv + row + 2 * normed + q_latent;
    return;
  }
  const double k = width(a.num_kv_heads, a.head_dim), v = width(a.num_kv_heads, a.v_head_dim);
  const bool raw = a.qk_norm != QkNorm::none || a.clip_qkv.has_value();
  floats.attention = q + k + v + out + (raw ? q + k : 0);
  floats.backward = out + q + k + v + (a.qk_norm != QkNorm::none ? q + k : 0) + (a.clip_qkv ? q : 0);
}

// Rows of the experts are counted a token: top_k of them, or one of a dense block.
void add_ffn(const ModelSpec& spec, const MoeSpec& ffn, const TrainShape& shape, LayerFloats& floats) {
  const auto hidden = static_cast<double>(spec.hidden_size), f = static_cast<double>(ffn.moe_intermediate_size);
  if (ffn.is_dense()) {
    floats.experts = 2 * f;
    floats.forward = std::max(floats.forward, f);
    floats.backward = std::max(floats.backward, f);
    return;
  }
  const auto k = static_cast<double>(ffn.top_k), e = static_cast<double>(ffn.num_experts);
  const bool has_shared = ffn.shared != SharedExpert::none;
  const double shared = has_shared ? static_cast<double>(ffn.shared_intermediate_size) : 0;
  floats.experts = 2 * (k * f + shared) + (ffn.shared == SharedExpert::sigmoid_gated ? 1 : 0);
  // ids, weights, margin; token of a row and row of a token
  floats.router = e + 4 * k + 1 + (shape.router_noise ? e : 0) + (shape.router_jitter ? hidden : 0);
  floats.forward = std::max(floats.forward, (k + (has_shared ? 1 : 0)) * hidden + k * f + shared);
  const double rows = k * (hidden + f + 2) + shared;
  const double through_router = 3 * k + (shape.router_jitter ? hidden : 0) + (shape.router_noise ? e : 0);
  floats.backward = e + std::max({floats.backward, rows, through_router});
}

LayerFloats layer_floats(const ModelSpec& spec, const LayerSpec& layer, const TrainShape& shape) {
  LayerFloats floats;
  add_attention(spec.attention, floats);
  add_ffn(spec, layer.ffn, shape, floats);
  // A branch that is thinned out or scaled needs its gradient apart from the sum's.
  if (shape.dropout || spec.residual_multiplier != 1) floats.backward += static_cast<double>(spec.hidden_size);
  return floats;
}

double num_parameters(const ModelSpec& spec, const TrainShape& shape) {
  auto count = static_cast<double>(count_parameters(spec).total());
  for (const LayerSpec& layer : spec.layers) {
    if (!shape.router_noise || layer.ffn.is_dense()) continue;
    count += static_cast<double>(spec.hidden_size * layer.ffn.num_experts);
  }
  return count;
}

}  // namespace

TrainFlops train_flops_per_token(const ModelSpec& spec, int64_t length) {
  const AttentionSpec& a = spec.attention;
  const auto positions = static_cast<double>(length);
  double seen = 0;  // positions that a token sees on average, summed over layers
  for (const LayerSpec& layer : spec.layers) {
    // 1 + 2 + ... + w, then w for every position after
    const auto w = static_cast<double>(layer.window > 0 ? std::min(layer.window, length) : length);
    seen += (w * (w + 1) / 2 + (positions - w) * w) / positions;
  }
  TrainFlops flops;
  flops.matmul = 6 * static_cast<double>(active_parameters(spec).without_input_embedding);
  flops.attention = 6 * seen * width(a.num_heads, a.head_dim + a.v_head_dim);
  return flops;
}

TrainMemory train_memory(const ModelSpec& spec, const TrainShape& shape) {
  const auto tokens = static_cast<double>(shape.batch * shape.length);
  const double token_bytes = tokens * kFloat;
  const auto hidden = static_cast<double>(spec.hidden_size);
  TrainMemory memory;
  memory.parameters = 16 * num_parameters(spec, shape);
  memory.residual = token_bytes * hidden * (4 + 2 * static_cast<double>(spec.num_layers));
  double kept_later = 0;  // of the layers after the one at work: room that its forward pass may use
  for (auto layer = spec.layers.rbegin(); layer != spec.layers.rend(); ++layer) {
    const LayerFloats floats = layer_floats(spec, *layer, shape);
    memory.attention += token_bytes * floats.attention;
    memory.experts += token_bytes * floats.experts;
    memory.router += token_bytes * floats.router;
    memory.temporary = std::max(memory.temporary, token_bytes * std::max(floats.backward, floats.forward - kept_later));
    kept_later += floats.attention + floats.experts + floats.router + 2 * hidden;
  }
  const int64_t most = std::clamp(kLogitFloats / spec.vocab_size, kFewestRows, kMostRows);
  const int64_t num_chunks = std::max<int64_t>(1, (shape.batch * shape.length + most - 1) / most);
  const int64_t rows = (shape.batch * shape.length + num_chunks - 1) / num_chunks;
  const double head = static_cast<double>(rows * spec.vocab_size) * kFloat + token_bytes;
  memory.temporary = std::max(memory.temporary, head);
  const double scores = 2 * static_cast<double>(kQueryBlock * (shape.length + 16)) * kFloat;
  memory.threads = shape.threads * (kPanelBytes + scores);
  return memory;
}

}  // namespace moxie
