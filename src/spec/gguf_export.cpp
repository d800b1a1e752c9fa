#include "spec/gguf_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "spec/families/parts.h"
#include "spec/gguf_config.h"
#include "spec/names.h"
#include "spec/rope.h"

namespace moxie {
namespace {

constexpr uint32_t kSoftmax = 1, kSigmoid = 2;  // expert_gating_func

/// Keys of one architecture in the making.
class Keys {
 public:
  explicit Keys(GgufExport& out) : out_(out) {}

  void count(std::string_view key, int64_t value) { add(key, static_cast<uint32_t>(value)); }
  void number(std::string_view key, double value) { add(key, static_cast<float>(value)); }
  void flag(std::string_view key, bool value) { add(key, value); }
  void text(std::string_view key, std::string value) { add(key, std::move(value)); }
  void note(std::string text) { out_.notes.push_back(std::move(text)); }

 private:
  void add(std::string_view key, decltype(GgufKey::value) value) {
    out_.keys.push_back({fmt::format("{}.{}", out_.architecture, key), std::move(value)});
  }
  GgufExport& out_;
};

const MoeSpec* find_ffn(const ModelSpec& spec, bool routed) {
  const auto at = std::find_if(spec.layers.begin(), spec.layers.end(),
                               [&](const LayerSpec& layer) { return layer.ffn.routed == routed; });
  return at == spec.layers.end() ? nullptr : &at->ffn;
}

// ---- what several architectures share ----

void put_yarn(const ModelSpec& spec, Keys& keys) {
  const RopeSpec& rope = spec.rope;
  keys.number("rope.scaling.factor", rope.factor);
  keys.count("rope.scaling.original_context_length", std::llround(rope.original_max_position));
  keys.number("rope.scaling.yarn_beta_fast", rope.beta_fast);
  keys.number("rope.scaling.yarn_beta_slow", rope.beta_slow);
  // DeepSeek sharpens the softmax by the square of mscale(mscale_all_dim); converters write 0.1 of the latter.
  const double growth = std::sqrt(spec.attention.scale * std::sqrt(static_cast<double>(spec.attention.head_dim)));
  const double unit = parts::yarn_mscale(rope.factor, 1) - 1;
  const bool sharpened = spec.attention.kind == AttentionKind::mla && growth > 1 + 1e-9 && unit > 0;
  if (sharpened) keys.number("rope.scaling.yarn_log_multiplier", 0.1 * (growth - 1) / unit);
  const double inferred = sharpened ? 1 : 1 + unit;
  if (std::fabs(rope.attention_factor - inferred) > 1e-9) {
    keys.number("rope.scaling.yarn_attn_factor", rope.attention_factor);
  }
}

void put_rope(const ModelSpec& spec, Keys& keys, GgufExport& out) {
  const RopeSpec& rope = spec.rope;
  keys.number("rope.freq_base", rope.theta);
  keys.count("rope.dimension_count", rope.dim);
  const std::vector<double> slowdowns = rope_slowdowns(rope);
  out.rope_freqs.assign(slowdowns.begin(), slowdowns.end());
  switch (rope.scaling) {
    case RopeScaling::none:
    case RopeScaling::llama3:
      break;
    case RopeScaling::linear:
      keys.text("rope.scaling.type", "linear");
      keys.number("rope.scaling.factor", rope.factor);
      break;
    case RopeScaling::yarn:
      keys.text("rope.scaling.type", "yarn");
      put_yarn(spec, keys);
      break;
    case RopeScaling::longrope:
      keys.count("rope.scaling.original_context_length", std::llround(rope.original_max_position));
      keys.number("rope.scaling.attn_factor", rope.attention_factor);
      out.rope_long.assign(rope.long_factors.begin(), rope.long_factors.end());
      out.rope_short.assign(rope.short_factors.begin(), rope.short_factors.end());
      break;
  }
}

// The width of dense layers; where there are none, that of the experts a token visits.
int64_t feed_forward_length(const ModelSpec& spec) {
  const MoeSpec* dense = find_ffn(spec, false);
  const MoeSpec& routed = spec.layers.front().ffn;
  return dense != nullptr ? dense->moe_intermediate_size : routed.top_k * routed.moe_intermediate_size;
}

void put_model(const ModelSpec& spec, int64_t ffn_width, Keys& keys, GgufExport& out) {
  keys.count("block_count", spec.num_layers);
  keys.count("context_length", spec.max_position);
  keys.count("embedding_length", spec.hidden_size);
  keys.count("feed_forward_length", ffn_width);
  keys.count("attention.head_count", spec.attention.num_heads);
  keys.number("attention.layer_norm_rms_epsilon", spec.norm_eps);
  keys.count("vocab_size", spec.vocab_size);
  put_rope(spec, keys, out);
}

void put_gqa(const ModelSpec& spec, int64_t ffn_width, Keys& keys, GgufExport& out) {
  put_model(spec, ffn_width, keys, out);
  keys.count("attention.head_count_kv", spec.attention.num_kv_heads);
  keys.count("attention.key_length", spec.attention.head_dim);
  keys.count("attention.value_length", spec.attention.v_head_dim);
}

int64_t widest_window(const ModelSpec& spec) {
  int64_t widest = 0;
  for (const LayerSpec& layer : spec.layers) widest = std::max(widest, layer.window);
  return widest;
}

void put_experts(const MoeSpec& ffn, Keys& keys) {
  keys.count("expert_count", ffn.num_experts);
  keys.count("expert_used_count", ffn.top_k);
}

// Whether the k weights are divided by their sum is fixed in an architecture; a model that differs gets the key.
void put_norm_topk(const MoeSpec& ffn, bool usual, Keys& keys) {
  if (ffn.norm_topk_prob == usual) return;
  keys.flag("expert_weights_norm", ffn.norm_topk_prob);
  keys.note(
      fmt::format("norm_topk_prob is {}: llama.cpp takes it for {} in this architecture", ffn.norm_topk_prob, usual));
}

// The router that DeepSeek and GLM share.
void put_shared_router(const ModelSpec& spec, const MoeSpec& ffn, Keys& keys) {
  put_experts(ffn, keys);
  keys.count("expert_feed_forward_length", ffn.moe_intermediate_size);
  keys.count("expert_shared_count", ffn.shared_intermediate_size / ffn.moe_intermediate_size);
  const auto is_routed = [](const LayerSpec& layer) { return layer.ffn.routed; };
  keys.count("leading_dense_block_count",
             std::find_if(spec.layers.begin(), spec.layers.end(), is_routed) - spec.layers.begin());
  keys.number("expert_weights_scale", ffn.routed_scaling_factor);
  keys.count("expert_gating_func", ffn.score == Score::sigmoid ? kSigmoid : kSoftmax);
  if (ffn.num_expert_groups > 1) {
    keys.count("expert_group_count", ffn.num_expert_groups);
    keys.count("expert_group_used_count", ffn.topk_groups);
  }
  if (ffn.norm_topk_prob || ffn.score == Score::sigmoid) keys.flag("expert_weights_norm", ffn.norm_topk_prob);
}

// ---- the architectures ----

using Put = void (*)(const ModelSpec& spec, Keys& keys, GgufExport& out);

void put_llama(const ModelSpec& spec, Keys& keys, GgufExport& out) {
  const MoeSpec& ffn = spec.layers.front().ffn;
  put_gqa(spec, ffn.moe_intermediate_size, keys, out);
  if (ffn.routed) put_experts(ffn, keys);
  if (const int64_t window = widest_window(spec); window > 0) {
    keys.count("attention.sliding_window", window);
    keys.note("attention windows: llama.cpp does not read them in this architecture");
  }
}

void put_dense(const ModelSpec& spec, Keys& keys, GgufExport& out) {
  put_gqa(spec, feed_forward_length(spec), keys, out);
}

void put_qwen_moe(const ModelSpec& spec, Keys& keys, GgufExport& out) {
  put_gqa(spec, feed_forward_length(spec), keys, out);
  const MoeSpec* ffn = find_ffn(spec, true);
  if (ffn == nullptr) return;  // the comparison says that nothing is routed
  put_experts(*ffn, keys);
  keys.count("expert_feed_forward_length", ffn->moe_intermediate_size);
  const bool shared = ffn->shared != SharedExpert::none;
  if (shared) keys.count("expert_shared_feed_forward_length", ffn->shared_intermediate_size);
  put_norm_topk(*ffn, out.architecture == "qwen3moe", keys);
}

void put_olmoe(const ModelSpec& spec, Keys& keys, GgufExport& out) {
  const MoeSpec& ffn = spec.layers.front().ffn;
  put_gqa(spec, ffn.moe_intermediate_size, keys, out);
  put_experts(ffn, keys);
  if (spec.attention.clip_qkv) keys.number("attention.clamp_kqv", *spec.attention.clip_qkv);
  put_norm_topk(ffn, false, keys);
}

void put_phimoe(const ModelSpec& spec, Keys& keys, GgufExport& out) {
  const MoeSpec& ffn = spec.layers.front().ffn;
  put_gqa(spec, ffn.moe_intermediate_size, keys, out);
  put_experts(ffn, keys);
  keys.count("attention.sliding_window", widest_window(spec));  // its readers ask for it; 0: none
}

void put_granitemoe(const ModelSpec& spec, Keys& keys, GgufExport& out) {
  const MoeSpec& ffn = spec.layers.front().ffn;
  put_gqa(spec, ffn.moe_intermediate_size, keys, out);
  put_experts(ffn, keys);
  keys.number("attention.scale", spec.attention.scale);
  keys.number("embedding_scale", spec.embedding_multiplier);
  keys.number("residual_scale", spec.residual_multiplier);
  keys.number("logit_scale", spec.logits_scaling);
}

// The latent is held as one key and value head that all heads share.
void put_deepseek2(const ModelSpec& spec, Keys& keys, GgufExport& out) {
  const AttentionSpec& attention = spec.attention;
  put_model(spec, feed_forward_length(spec), keys, out);
  keys.count("attention.head_count_kv", 1);
  keys.count("attention.key_length", attention.kv_lora_rank + attention.qk_rope_head_dim);
  keys.count("attention.value_length", attention.kv_lora_rank);
  keys.count("attention.key_length_mla", attention.head_dim);
  keys.count("attention.value_length_mla", attention.v_head_dim);
  keys.count("attention.kv_lora_rank", attention.kv_lora_rank);
  if (attention.q_lora_rank > 0) keys.count("attention.q_lora_rank", attention.q_lora_rank);
  if (const MoeSpec* ffn = find_ffn(spec, true); ffn != nullptr) put_shared_router(spec, *ffn, keys);
}

void put_glm4moe(const ModelSpec& spec, Keys& keys, GgufExport& out) {
  put_gqa(spec, feed_forward_length(spec), keys, out);
  if (const MoeSpec* ffn = find_ffn(spec, true); ffn != nullptr) put_shared_router(spec, *ffn, keys);
}

void put_gpt_oss(const ModelSpec& spec, Keys& keys, GgufExport& out) {
  const MoeSpec& ffn = spec.layers.front().ffn;
  put_gqa(spec, ffn.moe_intermediate_size, keys, out);
  put_experts(ffn, keys);
  keys.count("expert_feed_forward_length", ffn.moe_intermediate_size);
  keys.count("attention.sliding_window", widest_window(spec));
}

struct Row {
  std::string_view family, architecture;
  Put put;
  bool interleaved;
  std::string_view ffn_norm;
};

constexpr Row kRows[] = {
    {"deepseek_v2", "deepseek2", put_deepseek2, true, "ffn_norm"},
    {"deepseek_v3", "deepseek2", put_deepseek2, true, "ffn_norm"},
    {"glm4_moe", "glm4moe", put_glm4moe, false, "post_attention_norm"},
    {"gpt_oss", "gpt-oss", put_gpt_oss, false, "post_attention_norm"},
    {"granitemoe", "granitemoe", put_granitemoe, true, "ffn_norm"},
    {"kimi_k2", "deepseek2", put_deepseek2, true, "ffn_norm"},
    {"llama", "llama", put_llama, true, "ffn_norm"},
    {"mistral", "llama", put_llama, true, "ffn_norm"},
    {"mixtral", "llama", put_llama, true, "ffn_norm"},
    {"olmoe", "olmoe", put_olmoe, false, "ffn_norm"},
    {"phimoe", "phimoe", put_phimoe, false, "ffn_norm"},
    {"qwen2", "qwen2", put_dense, false, "ffn_norm"},
    {"qwen2_moe", "qwen2moe", put_qwen_moe, false, "ffn_norm"},
    {"qwen3", "qwen3", put_dense, false, "ffn_norm"},
    {"qwen3_moe", "qwen3moe", put_qwen_moe, false, "ffn_norm"},
};

// ---- read back ----

json::Value as_metadata(const std::vector<GgufKey>& keys) {
  json::Value metadata{json::Object{}};
  for (const GgufKey& key : keys) {
    std::visit(
        [&](const auto& value) {
          using T = std::decay_t<decltype(value)>;
          if constexpr (std::is_same_v<T, uint32_t>) {
            metadata.set(key.name, static_cast<int64_t>(value));
          } else if constexpr (std::is_same_v<T, float>) {
            metadata.set(key.name, static_cast<double>(value));
          } else {
            metadata.set(key.name, value);
          }
        },
        key.value);
  }
  return metadata;
}

GgufTensorFacts facts_of(const ModelSpec& spec, const GgufExport& made) {
  GgufTensorFacts facts{.embedding_rows = spec.vocab_size,
                        .has_output = !spec.tie_word_embeddings,
                        .has_output_bias = spec.lm_head_bias,
                        .has_attention_bias = spec.attention.qkv_bias,
                        .has_ffn_bias = spec.layers.front().ffn.is_dense() && spec.layers.front().ffn.expert_bias,
                        .has_qk_norm = spec.attention.qk_norm != QkNorm::none};
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    if (!spec.layers[i].ffn.routed) facts.layers_without_router.push_back(static_cast<int64_t>(i));
  }
  facts.rope_factors.assign(made.rope_freqs.begin(), made.rope_freqs.end());
  facts.rope_long.assign(made.rope_long.begin(), made.rope_long.end());
  facts.rope_short.assign(made.rope_short.begin(), made.rope_short.end());
  return facts;
}

bool near(double a, double b) {
  return std::fabs(a - b) <= 1e-5 * std::max(std::fabs(a), std::fabs(b));
}

bool same_rope(const ModelSpec& a, const ModelSpec& b) {
  for (const int64_t length : {int64_t{1}, a.max_position}) {
    if (!near(rope_attention_factor(a.rope, length), rope_attention_factor(b.rope, length))) return false;
    const std::vector<float> of_a = rope_inverse_frequencies(a.rope, length);
    const std::vector<float> of_b = rope_inverse_frequencies(b.rope, length);
    if (!std::equal(of_a.begin(), of_a.end(), of_b.begin(), of_b.end(), near)) return false;
  }
  return true;
}

// GGUF has no key for these; the architecture implies them.
bool same_ffn(const MoeSpec& want, MoeSpec got) {
  if (near(got.routed_scaling_factor, want.routed_scaling_factor))
    got.routed_scaling_factor = want.routed_scaling_factor;
  if (got.groups == GroupScore::none && want.groups == GroupScore::none) {  // then their numbers mean nothing
    got.num_expert_groups = want.num_expert_groups;
    got.topk_groups = want.topk_groups;
  }
  return got == want;
}

bool same_attention(const AttentionSpec& want, AttentionSpec got) {
  if (near(got.scale, want.scale)) got.scale = want.scale;
  if (got.clip_qkv && want.clip_qkv && near(*got.clip_qkv, *want.clip_qkv)) got.clip_qkv = want.clip_qkv;
  return got == want;
}

// What of `want` the file would say otherwise, or nothing.
std::string difference(const ModelSpec& want, const ModelSpec& got) {
  const std::tuple<const char*, double, double> numbers[] = {
      {"rms_norm_eps", want.norm_eps, got.norm_eps},
      {"embedding_multiplier", want.embedding_multiplier, got.embedding_multiplier},
      {"residual_multiplier", want.residual_multiplier, got.residual_multiplier},
      {"logits_scaling", want.logits_scaling, got.logits_scaling},
      {"max_position_embeddings", static_cast<double>(want.max_position), static_cast<double>(got.max_position)},
      {"a bias of the head", static_cast<double>(want.lm_head_bias), static_cast<double>(got.lm_head_bias)},
      {"LayerNorm for RMSNorm", static_cast<double>(want.norm), static_cast<double>(got.norm)},
  };
  for (const auto& [name, a, b] : numbers) {
    if (!near(a, b)) return fmt::format("{} {} (it would be read as {})", name, a, b);
  }
  if (!same_attention(want.attention, got.attention))
    return "this form of attention (head sizes, biases, scale, norms)";
  if (!same_rope(want, got)) return fmt::format("rotary scaling \"{}\" with these numbers", name_of(want.rope.scaling));
  for (size_t i = 0; i < want.layers.size(); ++i) {
    if (want.layers[i].window != got.layers[i].window) {
      return fmt::format("an attention window of {} in layer {} (it would be read as {})", want.layers[i].window, i,
                         got.layers[i].window);
    }
    if (!same_ffn(want.layers[i].ffn, got.layers[i].ffn)) {
      return fmt::format("the router or experts of layer {} (scores, normalisation, shared experts, dense layers)", i);
    }
  }
  return "";
}

}  // namespace

GgufExport gguf_export(const ModelSpec& spec, const std::string& source) {
  const Row* row =
      std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& each) { return each.family == spec.family; });
  if (row == std::end(kRows)) {
    throw invalid({.where = source + ": model_type",
                   .expected = "a family with an architecture in GGUF",
                   .got = fmt::format("\"{}\"", spec.family)});
  }
  GgufExport out{.architecture = std::string(row->architecture),
                 .interleaved = row->interleaved,
                 .ffn_norm = std::string(row->ffn_norm)};
  out.keys.push_back({"general.architecture", out.architecture});
  Keys keys(out);
  row->put(spec, keys, out);
  if (spec.num_mtp_layers > 0) {
    out.notes.push_back(fmt::format("{} layers for multi-token prediction are left out", spec.num_mtp_layers));
  }
  const ModelSpec got = gguf_spec(as_metadata(out.keys), facts_of(spec, out), source);
  if (const std::string what = difference(spec, got); !what.empty()) {
    throw invalid({.where = source,
                   .expected = fmt::format("what GGUF's architecture {} can say", out.architecture),
                   .got = what});
  }
  return out;
}

}  // namespace moxie
