#include "train/upcycle_config.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"
#include "spec/config.h"

namespace moxie {
namespace {

struct Target {
  std::string_view dense, sparse, architecture;
  bool keeps_dense_layers;  // has decoder_sparse_step
  bool one_window_for_all;  // its reference implementation knows no windows layer by layer
  bool has_shared_expert;
};
constexpr Target kTargets[] = {
    {"llama", "mixtral", "MixtralForCausalLM", false, true, false},
    {"mistral", "mixtral", "MixtralForCausalLM", false, true, false},
    {"qwen2", "qwen2_moe", "Qwen2MoeForCausalLM", true, false, true},
    {"qwen3", "qwen3_moe", "Qwen3MoeForCausalLM", true, true, false},
};

// Every spelling of what an MoE config says, so that none is left over from the dense one.
constexpr std::string_view kMoeKeys[] = {"num_experts",          "num_local_experts",
                                         "n_routed_experts",     "experts_per_token",
                                         "num_experts_per_tok",  "moe_intermediate_size",
                                         "norm_topk_prob",       "decoder_sparse_step",
                                         "mlp_only_layers",      "shared_expert_intermediate_size",
                                         "router_aux_loss_coef", "output_router_logits"};

[[noreturn]] void refuse(const std::string& source, std::string expected, std::string got, std::string hint = "") {
  throw invalid({source, std::move(expected), std::move(got), std::move(hint)});
}

const Target& target_of(const ModelSpec& spec, const std::string& source) {
  const bool dense =
      std::all_of(spec.layers.begin(), spec.layers.end(), [](const LayerSpec& layer) { return layer.ffn.is_dense(); });
  if (!dense) refuse(source, "a dense model", fmt::format("{}, which has experts already", spec.family));
  for (const Target& target : kTargets) {
    if (target.dense == spec.family) return target;
  }
  refuse(source, "a dense model of the families llama, mistral, qwen2, qwen3", spec.family);
}

void check_options(const UpcycleConfig& options, const ModelSpec& spec, const Target& target) {
  const auto usage = [](std::string text) { throw Error(ErrorCode::usage, "upcycle: " + std::move(text)); };
  if (options.experts < 1) usage(fmt::format("expected at least 1 expert, got {}", options.experts));
  if (options.top_k < 1 || options.top_k > options.experts) {
    usage(fmt::format("a token cannot visit {} of {} experts", options.top_k, options.experts));
  }
  if (options.every < 1 || options.every > spec.num_layers) {
    usage(fmt::format("every {} layers: expected 1 to {}, the layers of the model", options.every, spec.num_layers));
  }
  if (options.every > 1 && !target.keeps_dense_layers) {
    usage(fmt::format("every {} layers: a {} becomes a {}, in which all layers are routed", options.every, target.dense,
                      target.sparse));
  }
}

void check_expressible(const ModelSpec& spec, const Target& target, const std::string& source) {
  if (!spec.quant_method.empty()) {
    refuse(source, "weights in f32, bf16 or f16", fmt::format("weights quantized by {}", printable(spec.quant_method)));
  }
  if (spec.layers.front().ffn.expert_bias) {
    refuse(source, fmt::format("no mlp_bias: experts of {} have no biases", target.sparse), "mlp_bias true");
  }
  const bool one_window = std::all_of(spec.layers.begin(), spec.layers.end(), [&](const LayerSpec& layer) {
    return layer.window == spec.layers.front().window;
  });
  if (target.one_window_for_all && !one_window) {
    refuse(source, fmt::format("one attention window for all layers, as {} has", target.sparse),
           "windows that differ between layers");
  }
}

// The new config must read as the old model around its feed-forward blocks: whatever key the new family reads in
// another way, or not at all, shows here.
void check_same_model(const ModelSpec& dense, const ModelSpec& sparse, const std::string& source) {
  const auto same = [&](std::string_view what, bool equal) {
    if (equal) return;
    refuse(source, fmt::format("a model that {} can express", sparse.family),
           fmt::format("one with {} that it cannot", what));
  };
  AttentionSpec attention = sparse.attention;
  attention.qkv_bias = dense.attention.qkv_bias;
  attention.o_bias = dense.attention.o_bias;
  same("attention biases",
       dense.attention.qkv_bias == sparse.attention.qkv_bias && dense.attention.o_bias == sparse.attention.o_bias);
  same("attention", attention == dense.attention);
  same("rotary positions", sparse.rope == dense.rope && sparse.max_position == dense.max_position);
  same("norms", sparse.norm == dense.norm && sparse.norm_eps == dense.norm_eps);
  same("sizes", sparse.hidden_size == dense.hidden_size && sparse.num_layers == dense.num_layers &&
                    sparse.vocab_size == dense.vocab_size);
  same("a head", sparse.tie_word_embeddings == dense.tie_word_embeddings && sparse.lm_head_bias == dense.lm_head_bias);
  same("multipliers", sparse.embedding_multiplier == dense.embedding_multiplier &&
                          sparse.residual_multiplier == dense.residual_multiplier &&
                          sparse.logits_scaling == dense.logits_scaling);
  for (size_t i = 0; i < dense.layers.size(); ++i) {
    same("attention windows", sparse.layers[i].window == dense.layers[i].window);
    same("an activation", sparse.layers[i].ffn.activation == dense.layers[i].ffn.activation);
    same("feed-forward blocks",
         sparse.layers[i].ffn.moe_intermediate_size == dense.layers[i].ffn.moe_intermediate_size);
  }
}

using Changes = std::vector<std::pair<std::string, json::Value>>;

// A shared expert that qwen2_moe must have: one expert's worth spread over all, in whole blocks of 32.
int64_t shared_width(int64_t intermediate_size, int64_t experts) {
  return (intermediate_size / experts / 32 + 1) * 32;
}

Changes changes_of(const ModelSpec& spec, const UpcycleConfig& options, const Target& target) {
  const int64_t width = spec.layers.front().ffn.moe_intermediate_size;
  Changes changes = {{"architectures", json::Array{json::Value(target.architecture)}},
                     {"model_type", target.sparse},
                     {"num_key_value_heads", spec.attention.num_kv_heads},
                     {"head_dim", spec.attention.head_dim},
                     {"max_position_embeddings", spec.max_position},
                     {"rms_norm_eps", spec.norm_eps},
                     {"rope_theta", spec.rope.theta},
                     {"tie_word_embeddings", spec.tie_word_embeddings}};
  const bool mixtral = target.sparse == "mixtral";
  if (mixtral) {
    const int64_t window = spec.layers.front().window;
    changes.emplace_back("sliding_window", window == 0 ? json::Value() : json::Value(window));
  } else {
    changes.emplace_back("moe_intermediate_size", width);
    changes.emplace_back("norm_topk_prob", true);
    changes.emplace_back("decoder_sparse_step", options.every);
    changes.emplace_back("mlp_only_layers", json::Array{});
  }
  changes.emplace_back(mixtral ? "num_local_experts" : "num_experts", options.experts);
  changes.emplace_back("num_experts_per_tok", options.top_k);
  changes.emplace_back("router_aux_loss_coef", 0.001);
  if (target.has_shared_expert) {
    changes.emplace_back("qkv_bias", spec.attention.qkv_bias);
    changes.emplace_back("shared_expert_intermediate_size", shared_width(width, options.experts));
  }
  return changes;
}

json::Value apply(const json::Value& dense, Changes changes) {
  json::Value out{json::Object{}};
  for (const json::Member& member : dense.members()) {
    const auto change =
        std::find_if(changes.begin(), changes.end(), [&](const auto& c) { return c.first == member.key; });
    if (change != changes.end()) {
      out.set(member.key, std::move(change->second));
      changes.erase(change);
    } else if (std::find(std::begin(kMoeKeys), std::end(kMoeKeys), member.key) == std::end(kMoeKeys)) {
      out.set(member.key, member.value);
    }
  }
  for (auto& [key, value] : changes) out.set(key, std::move(value));
  return out;
}

}  // namespace

json::Value upcycled_config(const json::Value& dense, const ModelSpec& spec, const UpcycleConfig& options,
                            const std::string& source) {
  const Target& target = target_of(spec, source);
  check_options(options, spec, target);
  check_expressible(spec, target, source);
  json::Value config = apply(dense, changes_of(spec, options, target));
  check_same_model(spec, parse_config(config.dump(2), source), source);
  return config;
}

}  // namespace moxie
