#include "model/gguf_tensors.h"

#include <fmt/format.h>

namespace moxie {
namespace {

/// Rows of heads whose rotary part changes between halves (i, i + dim / 2) and interleaved pairs (2i, 2i + 1).
struct RotaryOrder {
  int64_t head_dim, begin, dim;  // `dim` rows from `begin` of each head rotate
  bool to_interleaved;

  /// The row that row `i` of the new order comes from.
  int64_t operator()(int64_t i) const {
    const int64_t at = i % head_dim - begin, half = dim / 2;
    if (at < 0 || at >= dim) return i;
    const int64_t from = to_interleaved ? at % 2 * half + at / 2 : at % half * 2 + at / half;
    return i - at + from;
  }
};

class Lister {
 public:
  Lister(const ModelSpec& spec, const GgufExport& made, const ModelWeights* weights)
      : spec_(spec), made_(made), weights_(weights), reorders_(made.interleaved != spec.rope.interleaved) {}

  std::vector<GgufRows> list() {
    static const ModelWeights no_model;
    static const LayerWeights no_layer;
    const ModelWeights& model = weights_ != nullptr ? *weights_ : no_model;
    matrix("token_embd.weight", spec_.vocab_size, spec_.hidden_size, model.embedding);
    factors("rope_freqs.weight", made_.rope_freqs);
    factors("rope_factors_long.weight", made_.rope_long);
    factors("rope_factors_short.weight", made_.rope_short);
    for (size_t i = 0; i < spec_.layers.size(); ++i) {
      at_ = fmt::format("blk.{}.", i);
      add_layer(spec_.layers[i].ffn, weights_ != nullptr ? model.layers[i] : no_layer);
    }
    at_.clear();
    norm("output_norm", model.final_norm);
    if (!spec_.tie_word_embeddings) matrix("output.weight", spec_.vocab_size, spec_.hidden_size, model.lm_head);
    if (spec_.lm_head_bias) vector("output.bias", spec_.vocab_size, model.lm_head_bias);
    return std::move(tensors_);
  }

 private:
  void put(std::string_view name, Shape shape, RowSource rows) {
    tensors_.push_back({at_ + std::string(name), shape, std::move(rows)});
  }

  void matrix(std::string_view name, int64_t rows, int64_t columns, const View& view,
              std::function<int64_t(int64_t)> order = {}) {
    put(name, {rows, columns}, view.empty() ? RowSource() : RowSource({view}, std::move(order)));
  }

  void vector(std::string_view name, int64_t size, const float* values) {
    put(name, {size}, values == nullptr ? RowSource() : RowSource(dense_view(values, FormatId::f32, {size})));
  }

  // A bias goes with the rows of its matrix.
  void vector(std::string_view name, int64_t size, const float* values, const std::function<int64_t(int64_t)>& order) {
    if (!order || values == nullptr) return vector(name, size, values);
    std::vector<float> ordered;
    for (int64_t i = 0; i < size; ++i) ordered.push_back(values[order(i)]);
    put(name, {size}, RowSource::of_values(std::move(ordered)));
  }

  void factors(std::string_view name, const std::vector<float>& values) {
    if (values.empty()) return;
    put(name, {static_cast<int64_t>(values.size())}, RowSource::of_values(values));
  }

  void norm(std::string_view name, const NormWeights& weights) {
    vector(fmt::format("{}.weight", name), spec_.hidden_size, weights.weight);
    if (spec_.norm == Norm::layer) vector(fmt::format("{}.bias", name), spec_.hidden_size, weights.bias);
  }

  std::function<int64_t(int64_t)> order(int64_t head_dim, int64_t begin) const {
    if (!reorders_) return {};
    return RotaryOrder{head_dim, begin, spec_.rope.dim, made_.interleaved};
  }

  void add_layer(const MoeSpec& ffn, const LayerWeights& layer) {
    const AttentionSpec& attention = spec_.attention;
    norm("attn_norm", layer.attention_norm);
    if (attention.kind == AttentionKind::mla) {
      add_mla(attention, layer.attention);
    } else {
      add_gqa(attention, layer.attention);
    }
    matrix("attn_output.weight", spec_.hidden_size, attention.num_heads * attention.v_head_dim, layer.attention.o);
    if (attention.o_bias) vector("attn_output.bias", spec_.hidden_size, layer.attention.o_bias);
    norm(made_.ffn_norm, layer.ffn_norm);
    if (ffn.is_dense()) {
      add_dense("", ffn.moe_intermediate_size, ffn.expert_bias,
                layer.ffn.bank.experts.empty() ? Expert{} : layer.ffn.bank.experts[0]);
    } else {
      add_routed(ffn, layer.ffn);
    }
  }

  void add_gqa(const AttentionSpec& a, const AttentionWeights& weights) {
    const int64_t q = a.num_heads * a.head_dim, k = a.num_kv_heads * a.head_dim, v = a.num_kv_heads * a.v_head_dim;
    const auto rotary = order(a.head_dim, 0);
    matrix("attn_q.weight", q, spec_.hidden_size, weights.q, rotary);
    matrix("attn_k.weight", k, spec_.hidden_size, weights.k, rotary);
    matrix("attn_v.weight", v, spec_.hidden_size, weights.v);
    if (a.qkv_bias) {
      vector("attn_q.bias", q, weights.q_bias, rotary);
      vector("attn_k.bias", k, weights.k_bias, rotary);
      vector("attn_v.bias", v, weights.v_bias);
    }
    if (a.qk_norm != QkNorm::none) {
      const bool per_head = a.qk_norm == QkNorm::per_head;
      vector("attn_q_norm.weight", per_head ? a.head_dim : q, weights.q_norm, rotary);
      vector("attn_k_norm.weight", per_head ? a.head_dim : k, weights.k_norm, rotary);
    }
    if (a.sinks) vector("attn_sinks.weight", a.num_heads, weights.sinks);
  }

  void add_mla(const AttentionSpec& a, const AttentionWeights& weights) {
    const int64_t q = a.num_heads * a.head_dim, nope = a.qk_nope_head_dim, latent = a.kv_lora_rank;
    const auto rotary = order(a.head_dim, nope);
    if (a.q_lora_rank > 0) {
      matrix("attn_q_a.weight", a.q_lora_rank, spec_.hidden_size, weights.q_a);
      vector("attn_q_a_norm.weight", a.q_lora_rank, weights.q_a_norm);
      matrix("attn_q_b.weight", q, a.q_lora_rank, weights.q, rotary);
    } else {
      matrix("attn_q.weight", q, spec_.hidden_size, weights.q, rotary);
    }
    const int64_t rows = latent + a.qk_rope_head_dim;
    matrix("attn_kv_a_mqa.weight", rows, spec_.hidden_size, weights.kv_a, order(rows, latent));
    vector("attn_kv_a_norm.weight", latent, weights.kv_a_norm);
    // kv_b [heads * (nope + v), latent] in two: the keys' part transposed within each head, then the values'.
    const int64_t head = nope + a.v_head_dim, v = a.v_head_dim;
    const View& kv_b = weights.kv_b;
    put("attn_k_b.weight", {a.num_heads, latent, nope},
        kv_b.empty() ? RowSource() : RowSource::transposed_heads(kv_b, head, nope));
    const auto of_values = [head, nope, v](int64_t i) { return i / v * head + nope + i % v; };
    put("attn_v_b.weight", {a.num_heads, v, latent}, kv_b.empty() ? RowSource() : RowSource({kv_b}, of_values));
  }

  void add_dense(std::string_view suffix, int64_t width, bool bias, const Expert& expert) {
    const auto name = [&](std::string_view which, std::string_view ending) {
      return fmt::format("ffn_{}{}.{}", which, suffix, ending);
    };
    matrix(name("gate", "weight"), width, spec_.hidden_size, expert.gate);
    matrix(name("up", "weight"), width, spec_.hidden_size, expert.up);
    matrix(name("down", "weight"), spec_.hidden_size, width, expert.down);
    if (!bias) return;
    vector(name("gate", "bias"), width, expert.gate_bias);
    vector(name("up", "bias"), width, expert.up_bias);
    vector(name("down", "bias"), spec_.hidden_size, expert.down_bias);
  }

  void add_routed(const MoeSpec& ffn, const MoeWeights& weights) {
    const int64_t e = ffn.num_experts, f = ffn.moe_intermediate_size, h = spec_.hidden_size;
    matrix("ffn_gate_inp.weight", e, h, weights.router);
    if (ffn.router_bias) vector("ffn_gate_inp.bias", e, weights.router_bias);
    if (ffn.select_bias) vector("exp_probs_b.bias", e, weights.expert_bias);
    const std::vector<Expert>& experts = weights.bank.experts;
    stack("ffn_gate_exps.weight", {e, f, h}, experts, &Expert::gate);
    stack("ffn_up_exps.weight", {e, f, h}, experts, &Expert::up);
    stack("ffn_down_exps.weight", {e, h, f}, experts, &Expert::down);
    if (ffn.expert_bias) {
      stack("ffn_gate_exps.bias", {e, f}, experts, &Expert::gate_bias);
      stack("ffn_up_exps.bias", {e, f}, experts, &Expert::up_bias);
      stack("ffn_down_exps.bias", {e, h}, experts, &Expert::down_bias);
    }
    if (ffn.shared == SharedExpert::none) return;
    if (ffn.shared == SharedExpert::sigmoid_gated) {
      put("ffn_gate_inp_shexp.weight", {h}, weights.shared_gate.empty() ? RowSource() : RowSource(weights.shared_gate));
    }
    add_dense("_shexp", ffn.shared_intermediate_size, false, weights.shared);
  }

  void stack(std::string_view name, Shape shape, const std::vector<Expert>& experts, View Expert::*which) {
    std::vector<View> parts;
    for (const Expert& expert : experts) parts.push_back(expert.*which);
    put(name, shape, RowSource(std::move(parts)));
  }

  void stack(std::string_view name, Shape shape, const std::vector<Expert>& experts, const float* Expert::*which) {
    std::vector<View> parts;
    for (const Expert& expert : experts) parts.push_back(dense_view(expert.*which, FormatId::f32, {shape.back()}));
    put(name, shape, RowSource(std::move(parts)));
  }

  const ModelSpec& spec_;
  const GgufExport& made_;
  const ModelWeights* weights_;
  bool reorders_;
  std::string at_;  // "blk.3."
  std::vector<GgufRows> tensors_;
};

}  // namespace

std::vector<GgufRows> gguf_tensors(const ModelSpec& spec, const GgufExport& made, const ModelWeights* weights) {
  return Lister(spec, made, weights).list();
}

}  // namespace moxie
