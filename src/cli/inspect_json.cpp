// The JSON of inspect. Its keys are stable: docs/inspect.md tells them, and a change of meaning raises schema_version.
#include "cli/inspection.h"
#include "cli/model_flags.h"
#include "cli/train_plan.h"
#include "spec/names.h"

namespace moxie::cli {
namespace {

// A whole number as one while it is exact.
json::Value whole(double value) {
  return value < 9e15 ? json::Value(static_cast<int64_t>(value + 0.5)) : json::Value(value);
}

json::Value by_part(const PartCounts& counts) {
  json::Value out;
  for (int i = 0; i < kNumParts; ++i) {
    const auto part = static_cast<Part>(i);
    out.set(std::string(part_name(part)), counts[part]);
  }
  return out;
}

json::Value runs_to_json(const Inspection& in) {
  json::Value runs{json::Array{}};
  for (const LayerRun& run : in.runs) {
    const MoeSpec& ffn = run.ffn;
    json::Value out;
    out.set("first_layer", run.first).set("last_layer", run.last).set("routed", ffn.routed);
    out.set("num_experts", ffn.num_experts).set("top_k", ffn.top_k);
    out.set("moe_intermediate_size", ffn.moe_intermediate_size).set("activation", name_of(ffn.activation));
    out.set("expert_parameters", expert_parameters(in.spec, ffn));
    out.set("expert_bytes", expert_bytes(in.spec, ffn, in.formats));
    if (ffn.routed) {
      out.set("score", name_of(ffn.score)).set("score_before_topk", ffn.score_before_topk);
      out.set("select_bias", ffn.select_bias).set("norm_topk_prob", ffn.norm_topk_prob);
      out.set("routed_scaling_factor", ffn.routed_scaling_factor).set("groups", name_of(ffn.groups));
      out.set("num_expert_groups", ffn.num_expert_groups).set("topk_groups", ffn.topk_groups);
      out.set("shared", name_of(ffn.shared)).set("shared_intermediate_size", ffn.shared_intermediate_size);
      out.set("expected_distinct_experts", expected_distinct_experts(ffn, in.decode.batch));
    }
    runs.push(std::move(out));
  }
  return runs;
}

json::Value attention_to_json(const ModelSpec& spec) {
  const AttentionSpec& a = spec.attention;
  json::Value out, windows{json::Array{}};
  out.set("kind", name_of(a.kind)).set("num_heads", a.num_heads).set("num_kv_heads", a.num_kv_heads);
  out.set("head_dim", a.head_dim).set("v_head_dim", a.v_head_dim).set("scale", a.scale);
  out.set("qk_norm", name_of(a.qk_norm)).set("sinks", a.sinks);
  if (a.kind == AttentionKind::mla) out.set("q_lora_rank", a.q_lora_rank).set("kv_lora_rank", a.kv_lora_rank);
  for (const LayerSpec& layer : spec.layers) windows.push(layer.window);
  return out.set("windows", std::move(windows));
}

json::Value files_to_json(const std::optional<WeightFiles>& files) {
  if (!files) return {};
  json::Value out, formats;
  for (const auto& [format, bytes] : files->bytes_by_format) formats.set(format, bytes);
  out.set("bytes", files->bytes).set("tensors", files->tensors).set("bytes_by_format", std::move(formats));
  return out.set("packed_bytes", files->packed_bytes);
}

json::Value costs_to_json(const Inspection& in) {
  const ForwardFlops flops = forward_flops(in.spec, in.context);
  const TrainingBytes training = training_bytes(in.spec);
  json::Value kv, forward, train, decode, out;
  const int64_t kv_bytes = kv_bytes_per_token(in.spec, in.kv_format);
  kv.set("format", kv_name(in.kv_format)).set("bytes_per_token", kv_bytes);
  kv.set("bytes_per_token_bf16", kv_bytes_per_token(in.spec, FormatId::bf16));
  kv.set("bytes_at_context", kv_bytes * in.context);
  forward.set("matmul_flops_per_token", whole(flops.matmul)).set("attention_flops_per_token", whole(flops.attention));
  train.set("mixed", whole(training.mixed)).set("mixed_f32_gradients", whole(training.mixed_f32_grads));
  train.set("f32", whole(training.f32));
  decode.set("batch", in.decode.batch).set("weight_bytes_per_step", whole(in.decode.weight_bytes));
  decode.set("kv_bytes_per_step", whole(in.decode.kv_bytes)).set("bytes_per_token", whole(in.decode.bytes_per_token()));
  decode.set("bandwidth_bytes_per_second", whole(in.bandwidth)).set("bandwidth_source", in.bandwidth_source);
  decode.set("max_tokens_per_second", in.decode.max_tokens_per_second(in.bandwidth));
  out.set("context", in.context).set("kv_cache", std::move(kv)).set("forward", std::move(forward));
  return out.set("training_bytes", std::move(train)).set("decode", std::move(decode));
}

}  // namespace

json::Value to_json(const Inspection& in) {
  const ModelSpec& spec = in.spec;
  const ActiveParameters conventions = active_parameters(spec);
  json::Value out, parameters, active, formats, bytes, rope, notices{json::Array{}};
  active.set("full", conventions.full).set("without_input_embedding", conventions.without_input_embedding);
  active.set("without_embeddings", conventions.without_embeddings);
  parameters.set("total", in.parameters.total()).set("active", std::move(active));
  parameters.set("by_part", by_part(in.parameters)).set("active_by_part", by_part(in.active));
  for (int i = 0; i < kNumParts; ++i) {
    const auto part = static_cast<Part>(i);
    formats.set(std::string(part_name(part)), format_name(in.formats[part]));
  }
  bytes.set("total", in.bytes.total()).set("by_part", by_part(in.bytes)).set("formats", std::move(formats));
  rope.set("scaling", name_of(spec.rope.scaling)).set("theta", spec.rope.theta).set("dim", spec.rope.dim);
  rope.set("factor", spec.rope.factor).set("interleaved", spec.rope.interleaved);
  for (const std::string& notice : spec.notices) notices.push(notice);
  out.set("schema_version", 1).set("model", in.model).set("family", spec.family);
  out.set("num_layers", spec.num_layers).set("hidden_size", spec.hidden_size).set("vocab_size", spec.vocab_size);
  out.set("max_position", spec.max_position).set("tie_word_embeddings", spec.tie_word_embeddings);
  out.set("parameters", std::move(parameters)).set("bytes", std::move(bytes)).set("ffn", runs_to_json(in));
  out.set("attention", attention_to_json(spec)).set("rope", std::move(rope)).set("costs", costs_to_json(in));
  if (in.training) out.set("training", train_plan_json(*in.training, train_peak_flops(*in.training)));
  return out.set("files", files_to_json(in.files)).set("notices", std::move(notices));
}

}  // namespace moxie::cli
