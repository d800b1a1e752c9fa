#include "model/weights.h"

#include <cstring>

#include "model/binder.h"
#include "model/expert_weights.h"
#include "ops/exec.h"

namespace moxie {
namespace {

NormWeights bind_norm(Binder& binder, const ModelSpec& spec, const std::string& name) {
  NormWeights norm{.weight = binder.vector(name + ".weight", spec.hidden_size)};
  if (spec.norm == Norm::layer) norm.bias = binder.vector(name + ".bias", spec.hidden_size);
  return norm;
}

void bind_gqa(Binder& binder, const AttentionSpec& spec, int64_t hidden_size, const std::string& at,
              AttentionWeights& weights) {
  const int64_t q_rows = spec.num_heads * spec.head_dim;
  const int64_t k_rows = spec.num_kv_heads * spec.head_dim;
  const int64_t v_rows = spec.num_kv_heads * spec.v_head_dim;
  weights.q = binder.matrix(at + "q_proj.weight", q_rows, hidden_size);
  weights.k = binder.matrix(at + "k_proj.weight", k_rows, hidden_size);
  weights.v = binder.matrix(at + "v_proj.weight", v_rows, hidden_size);
  if (spec.qkv_bias) {
    weights.q_bias = binder.vector(at + "q_proj.bias", q_rows);
    weights.k_bias = binder.vector(at + "k_proj.bias", k_rows);
    weights.v_bias = binder.vector(at + "v_proj.bias", v_rows);
  }
  if (spec.qk_norm != QkNorm::none) {
    const bool per_head = spec.qk_norm == QkNorm::per_head;
    weights.q_norm = binder.vector(at + "q_norm.weight", per_head ? spec.head_dim : q_rows);
    weights.k_norm = binder.vector(at + "k_norm.weight", per_head ? spec.head_dim : k_rows);
  }
  if (spec.sinks) weights.sinks = binder.vector(at + "sinks", spec.num_heads);
}

void bind_mla(Binder& binder, const AttentionSpec& spec, int64_t hidden_size, const std::string& at,
              AttentionWeights& weights) {
  const int64_t q_rows = spec.num_heads * spec.head_dim;
  if (spec.q_lora_rank > 0) {
    weights.q_a = binder.matrix(at + "q_a_proj.weight", spec.q_lora_rank, hidden_size);
    weights.q_a_norm = binder.vector(at + "q_a_layernorm.weight", spec.q_lora_rank);
    weights.q = binder.matrix(at + "q_b_proj.weight", q_rows, spec.q_lora_rank);
  } else {
    weights.q = binder.matrix(at + "q_proj.weight", q_rows, hidden_size);
  }
  weights.kv_a =
      binder.matrix(at + "kv_a_proj_with_mqa.weight", spec.kv_lora_rank + spec.qk_rope_head_dim, hidden_size);
  weights.kv_a_norm = binder.vector(at + "kv_a_layernorm.weight", spec.kv_lora_rank);
  weights.kv_b = binder.plain_matrix(at + "kv_b_proj.weight",
                                     spec.num_heads * (spec.qk_nope_head_dim + spec.v_head_dim), spec.kv_lora_rank);
}

LayerWeights bind_layer(Binder& binder, const ModelSpec& spec, int64_t layer) {
  const std::string prefix = fmt::format(fmt::runtime(spec.names.layer), layer);
  const AttentionSpec& attention = spec.attention;
  LayerWeights weights;
  weights.attention_norm = bind_norm(binder, spec, prefix + "input_layernorm");
  weights.ffn_norm = bind_norm(binder, spec, prefix + "post_attention_layernorm");
  const std::string at = prefix + "self_attn.";
  if (attention.kind == AttentionKind::mla) {
    bind_mla(binder, attention, spec.hidden_size, at, weights.attention);
  } else {
    bind_gqa(binder, attention, spec.hidden_size, at, weights.attention);
  }
  weights.attention.o =
      binder.matrix(at + "o_proj.weight", spec.hidden_size, attention.num_heads * attention.v_head_dim);
  if (attention.o_bias) weights.attention.o_bias = binder.vector(at + "o_proj.bias", spec.hidden_size);
  weights.ffn = bind_ffn(binder, spec, spec.layers[static_cast<size_t>(layer)].ffn, prefix);
  return weights;
}

// Scales count, wherever they lie.
bool same_values(const View& a, const View& b) {
  if (a.format != b.format || !(a.shape == b.shape)) return false;
  const KernelSet& kernels = choose_kernel_set();
  const auto columns = static_cast<size_t>(a.shape.back());
  std::vector<float> of_a(columns), of_b(columns);
  for (int64_t row = 0; row < a.num_rows(); ++row) {
    decode_row(kernels, a, row, of_a.data());
    decode_row(kernels, b, row, of_b.data());
    if (std::memcmp(of_a.data(), of_b.data(), columns * sizeof(float)) != 0) return false;
  }
  return true;
}

void bind_head(Binder& binder, const ModelSpec& spec, const std::string& source, ModelWeights& weights) {
  const std::string name = "lm_head.weight";
  if (!spec.tie_word_embeddings) {
    weights.lm_head = binder.matrix(name, spec.vocab_size, spec.hidden_size);
  } else {
    weights.lm_head = weights.embedding;
    if (binder.has(name)) {  // some writers store the tied matrix twice
      const View head = binder.matrix(name, spec.vocab_size, spec.hidden_size);
      const View& tied = weights.embedding;
      if (!head.empty() && !tied.empty() && !same_values(head, tied)) {
        throw invalid({.where = source + ": " + name,
                       .expected = "the embedding's values, for tie_word_embeddings is true in config.json",
                       .got = "other values",
                       .hint = "Set tie_word_embeddings to false if the head is a matrix of its own."});
      }
    }
  }
  if (spec.lm_head_bias) weights.lm_head_bias = binder.vector("lm_head.bias", spec.vocab_size);
}

}  // namespace

ModelWeights bind_weights(const ModelSpec& spec, const Checkpoint& checkpoint) {
  if (!spec.quant_method.empty() && spec.quant_method != "mxfp4" && spec.quant_method != "fp8") {
    throw invalid({.where = "config.json: quantization_config.quant_method",
                   .expected = "none, \"mxfp4\" or \"fp8\"",
                   .got = fmt::format("\"{}\"", spec.quant_method),
                   .hint = "Use the checkpoint's bf16 form."});
  }
  ModelWeights weights;
  Binder binder(checkpoint, weights, spec.quant_method == "fp8");
  const std::string source = checkpoint.entries().empty() ? "checkpoint" : checkpoint.entries()[0].file;
  weights.embedding = binder.matrix("model.embed_tokens.weight", spec.vocab_size, spec.hidden_size);
  for (int64_t layer = 0; layer < spec.num_layers; ++layer) weights.layers.push_back(bind_layer(binder, spec, layer));
  weights.final_norm = bind_norm(binder, spec, "model.norm");
  bind_head(binder, spec, source, weights);
  binder.finish(source, spec.num_layers, spec.num_mtp_layers);
  return weights;
}

}  // namespace moxie
