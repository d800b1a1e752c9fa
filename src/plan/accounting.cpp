#include "plan/accounting.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/kv_page.h"

namespace moxie {
namespace {

int64_t attention_parameters(const ModelSpec& spec) {
  const AttentionSpec& a = spec.attention;
  const int64_t hidden = spec.hidden_size;
  const int64_t q_rows = a.num_heads * a.head_dim;
  int64_t count = a.num_heads * a.v_head_dim * hidden + (a.o_bias ? hidden : 0) + (a.sinks ? a.num_heads : 0);
  if (a.kind == AttentionKind::mla) {
    count += a.q_lora_rank > 0 ? (hidden + 1 + q_rows) * a.q_lora_rank : hidden * q_rows;
    count += hidden * (a.kv_lora_rank + a.qk_rope_head_dim) + a.kv_lora_rank;
    return count + a.kv_lora_rank * a.num_heads * (a.qk_nope_head_dim + a.v_head_dim);
  }
  const int64_t k_rows = a.num_kv_heads * a.head_dim;
  const int64_t v_rows = a.num_kv_heads * a.v_head_dim;
  count += (hidden + (a.qkv_bias ? 1 : 0)) * (q_rows + k_rows + v_rows);
  if (a.qk_norm == QkNorm::per_head) count += 2 * a.head_dim;
  if (a.qk_norm == QkNorm::full) count += q_rows + k_rows;
  return count;
}

int64_t router_parameters(const ModelSpec& spec, const MoeSpec& ffn) {
  return ffn.num_experts * (spec.hidden_size + (ffn.router_bias ? 1 : 0) + (ffn.select_bias ? 1 : 0));
}

int64_t shared_parameters(const ModelSpec& spec, const MoeSpec& ffn) {
  if (ffn.shared == SharedExpert::none) return 0;
  const int64_t gate = ffn.shared == SharedExpert::sigmoid_gated ? spec.hidden_size : 0;
  return 3 * spec.hidden_size * ffn.shared_intermediate_size + gate;
}

int64_t expert_biases(const ModelSpec& spec, const MoeSpec& ffn) {
  return ffn.expert_bias ? 2 * ffn.moe_intermediate_size + spec.hidden_size : 0;
}

// `experts(ffn)` says how many experts of a routed block count.
template <typename Experts>
PartCounts count(const ModelSpec& spec, Experts experts) {
  PartCounts parts;
  const int64_t norm = spec.hidden_size * (spec.norm == Norm::layer ? 2 : 1);
  parts[Part::embedding] = spec.vocab_size * spec.hidden_size;
  parts[Part::norms] = norm * (2 * spec.num_layers + 1);
  parts[Part::attention] = attention_parameters(spec) * spec.num_layers;
  if (!spec.tie_word_embeddings) parts[Part::head] = spec.vocab_size * spec.hidden_size;
  if (spec.lm_head_bias) parts[Part::head] += spec.vocab_size;
  for (const LayerSpec& layer : spec.layers) {
    const MoeSpec& ffn = layer.ffn;
    if (ffn.is_dense()) {
      parts[Part::dense_ffn] += expert_parameters(spec, ffn);
    } else {
      parts[Part::router] += router_parameters(spec, ffn);
      parts[Part::routed_experts] += experts(ffn) * expert_parameters(spec, ffn);
      parts[Part::shared_experts] += shared_parameters(spec, ffn);
    }
  }
  return parts;
}

FormatId format_of_dtype(std::string_view dtype) {
  if (dtype == "float32") return FormatId::f32;
  if (dtype == "float16") return FormatId::f16;
  return FormatId::bf16;
}

}  // namespace

std::string_view part_name(Part part) {
  constexpr std::string_view names[] = {"embedding",      "attention", "router", "routed_experts",
                                        "shared_experts", "dense_ffn", "norms",  "head"};
  return names[static_cast<size_t>(part)];
}

int64_t PartCounts::total() const {
  return std::accumulate(of.begin(), of.end(), int64_t{0});
}

PartCounts count_parameters(const ModelSpec& spec) {
  return count(spec, [](const MoeSpec& ffn) { return ffn.num_experts; });
}

PartCounts count_active_parameters(const ModelSpec& spec) {
  return count(spec, [](const MoeSpec& ffn) { return ffn.top_k; });
}

ActiveParameters active_parameters(const ModelSpec& spec) {
  const PartCounts parts = count_active_parameters(spec);
  ActiveParameters active;
  active.full = parts.total();
  active.without_embeddings = active.full - parts[Part::embedding] - parts[Part::head];
  // A tied embedding is the head: it stays, since it is multiplied.
  active.without_input_embedding = active.full - (spec.tie_word_embeddings ? 0 : parts[Part::embedding]);
  return active;
}

int64_t expert_parameters(const ModelSpec& spec, const MoeSpec& ffn) {
  return 3 * spec.hidden_size * ffn.moe_intermediate_size + expert_biases(spec, ffn);
}

PartFormats all_in(FormatId format) {
  PartFormats formats;
  formats.of.fill(format);
  return formats;
}

PartFormats stored_formats(const ModelSpec& spec) {
  PartFormats formats = all_in(format_of_dtype(spec.weight_format));
  if (spec.quant_method == "mxfp4") formats[Part::routed_experts] = FormatId::mxfp4;
  if (spec.quant_method == "fp8") {
    for (Part part : {Part::attention, Part::routed_experts, Part::shared_experts, Part::dense_ffn}) {
      formats[part] = FormatId::f8_e4m3;
    }
  }
  return formats;
}

int64_t format_bytes(FormatId format, int64_t elems) {
  const FormatInfo& info = format_info(format);
  const int64_t blocks = (elems + info.block_elems - 1) / info.block_elems;
  const int64_t scale_bytes = format == FormatId::mxfp4 ? 1 : 0;  // they lie in an array of their own
  return blocks * (info.block_bytes + scale_bytes);
}

int64_t expert_bytes(const ModelSpec& spec, const MoeSpec& ffn, const PartFormats& formats) {
  const FormatId format = formats[ffn.is_dense() ? Part::dense_ffn : Part::routed_experts];
  return format_bytes(format, 3 * spec.hidden_size * ffn.moe_intermediate_size) +
         format_bytes(formats[Part::norms], expert_biases(spec, ffn));
}

PartCounts part_bytes(const ModelSpec& spec, const PartFormats& formats) {
  PartCounts bytes = count_parameters(spec);
  for (int i = 0; i < kNumParts; ++i) {
    const auto part = static_cast<Part>(i);
    bytes[part] = format_bytes(formats[part], bytes[part]);
  }
  bytes[Part::routed_experts] = bytes[Part::dense_ffn] = 0;
  for (const LayerSpec& layer : spec.layers) {
    const Part part = layer.ffn.is_dense() ? Part::dense_ffn : Part::routed_experts;
    bytes[part] += layer.ffn.num_experts * expert_bytes(spec, layer.ffn, formats);
  }
  return bytes;
}

int64_t kv_bytes_per_layer(const AttentionSpec& attention, FormatId kv_format) {
  const KvShape kept = attention.kv_shape();
  const int64_t value_bytes = kept.latent ? 0 : value_part_bytes(kv_format, kept.v_dim);
  return kept.num_heads * (key_part_bytes(kv_format, kept.k_dim) + value_bytes) / kKeyBlock;
}

int64_t kv_bytes_per_token(const ModelSpec& spec, FormatId kv_format) {
  return spec.num_layers * kv_bytes_per_layer(spec.attention, kv_format);
}

double kv_cache_bytes(const ModelSpec& spec, int64_t tokens, FormatId kv_format) {
  double kept = 0;
  for (const LayerSpec& layer : spec.layers) {
    kept += static_cast<double>(layer.window > 0 ? std::min(layer.window, tokens) : tokens);
  }
  return kept * static_cast<double>(kv_bytes_per_layer(spec.attention, kv_format));
}

ForwardFlops forward_flops(const ModelSpec& spec, int64_t context) {
  const AttentionSpec& a = spec.attention;
  double seen = 0;
  for (const LayerSpec& layer : spec.layers) {
    seen += static_cast<double>(layer.window > 0 ? std::min(layer.window, context) : context);
  }
  ForwardFlops flops;
  flops.matmul = 2 * static_cast<double>(active_parameters(spec).without_input_embedding);
  flops.attention = 2 * seen * static_cast<double>(a.num_heads * (a.head_dim + a.v_head_dim));
  return flops;
}

TrainingBytes training_bytes(const ModelSpec& spec) {
  const auto parameters = static_cast<double>(count_parameters(spec).total());
  return {.mixed = 16 * parameters, .mixed_f32_grads = 18 * parameters, .f32 = 16 * parameters};
}

double expected_distinct_experts(const MoeSpec& ffn, int64_t batch) {
  const auto experts = static_cast<double>(ffn.num_experts);
  return experts * (1 - std::pow(1 - static_cast<double>(ffn.top_k) / experts, static_cast<double>(batch)));
}

DecodeStep decode_step(const ModelSpec& spec, const PartFormats& formats, int64_t batch, int64_t context,
                       FormatId kv_format) {
  const PartCounts bytes = part_bytes(spec, formats);
  const int64_t rows = std::min(batch, spec.vocab_size);
  double read = static_cast<double>(bytes.total() - bytes[Part::routed_experts]);
  // A tied embedding is read whole as the head; otherwise only the rows of this step's tokens are.
  if (!spec.tie_word_embeddings) {
    read -=
        static_cast<double>(bytes[Part::embedding] - format_bytes(formats[Part::embedding], rows * spec.hidden_size));
  }
  for (const LayerSpec& layer : spec.layers) {
    if (layer.ffn.is_dense()) continue;
    read += expected_distinct_experts(layer.ffn, batch) * static_cast<double>(expert_bytes(spec, layer.ffn, formats));
  }
  DecodeStep step;
  step.weight_bytes = read;
  step.kv_bytes = static_cast<double>(batch) * kv_cache_bytes(spec, context, kv_format);
  step.batch = batch;
  return step;
}

}  // namespace moxie
