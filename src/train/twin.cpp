// The dense twin of an MoE configuration: a rewrite of its config.json. Not upcycling, which goes the other way with
// weights.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "plan/accounting.h"
#include "spec/config.h"
#include "train/config.h"

namespace moxie {
namespace {

// config.json as a table to rewrite.
class Keys {
 public:
  explicit Keys(const json::Value& model) : members_(model.members()) {}

  Keys& set(std::string_view key, json::Value value) {
    remove({key});
    members_.push_back({std::string(key), std::move(value)});
    return *this;
  }
  Keys& remove(std::initializer_list<std::string_view> keys) {
    std::erase_if(members_, [&](const json::Member& member) {
      return std::find(keys.begin(), keys.end(), member.key) != keys.end();
    });
    return *this;
  }
  json::Value sorted() {
    std::sort(members_.begin(), members_.end(),
              [](const json::Member& left, const json::Member& right) { return left.key < right.key; });
    return json::Value(std::move(members_));
  }

 private:
  json::Object members_;
};

bool one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// What the routed blocks of a model are, and whether its dense blocks leave room for a twin of one width.
struct Blocks {
  MoeSpec routed;
  int64_t width = 0;       // of the twin's block
  bool same_width = true;  // the dense blocks there are, too, have that width
};

Blocks find_blocks(const ModelSpec& spec) {
  Blocks blocks;
  for (const LayerSpec& layer : spec.layers) {
    if (layer.ffn.routed) blocks.routed = layer.ffn;
  }
  const MoeSpec& routed = blocks.routed;
  blocks.width = routed.top_k * routed.moe_intermediate_size + routed.shared_intermediate_size;
  for (const LayerSpec& layer : spec.layers) {
    blocks.same_width &= layer.ffn.routed || layer.ffn.moe_intermediate_size == blocks.width;
  }
  return blocks;
}

// Keys whose absence means something else in the sibling are written out.
void to_sibling(Keys& keys, const ModelSpec& spec, const Blocks& blocks, const char* family, const char* architecture) {
  const AttentionSpec& attention = spec.attention;
  keys.remove({"num_experts", "num_local_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob",
               "decoder_sparse_step", "mlp_only_layers", "shared_expert_intermediate_size", "qkv_bias",
               "output_router_logits", "router_aux_loss_coef", "router_jitter_noise"});
  keys.set("model_type", family).set("architectures", json::Array{architecture});
  keys.set("intermediate_size", blocks.width).set("head_dim", attention.head_dim);
  keys.set("num_key_value_heads", attention.num_kv_heads).set("rms_norm_eps", spec.norm_eps);
  keys.set("rope_theta", spec.rope.theta).set("max_position_embeddings", spec.max_position);
}

// The windows of the siblings are chosen by other keys: only one window for all layers can be said in each of them.
bool set_window(Keys& keys, const ModelSpec& spec, std::string_view family) {
  const int64_t window = spec.layers.front().window;
  if (!std::all_of(spec.layers.begin(), spec.layers.end(), [&](auto& layer) { return layer.window == window; })) {
    return false;
  }
  keys.remove({"layer_types"}).set("sliding_window", window > 0 ? json::Value(window) : json::Value());
  if (family != "mixtral") keys.set("use_sliding_window", window > 0).set("max_window_layers", 0);
  return true;
}

// One expert whose gate is 1, in the family itself; dense layers stay. Where the shared experts are counted in widths
// of a routed one they join it.
void to_one_expert(Keys& keys, const ModelSpec& spec, const Blocks& blocks) {
  keys.remove({"num_experts", "num_local_experts", "n_routed_experts", "experts_per_token"});
  const bool counted_shared = one_of(spec.family, {"deepseek_v2", "deepseek_v3", "glm4_moe"});
  const bool own_width = counted_shared || one_of(spec.family, {"qwen2_moe", "qwen3_moe"});
  const int64_t shared_apart = counted_shared ? 0 : blocks.routed.shared_intermediate_size;
  keys.set(counted_shared ? "n_routed_experts" : "num_experts", 1).set("num_experts_per_tok", 1);
  keys.set(own_width ? "moe_intermediate_size" : "intermediate_size", blocks.width - shared_apart);
  if (!counted_shared) return;
  keys.set("n_shared_experts", 0).set("n_group", 1).set("topk_group", 1).set("routed_scaling_factor", 1.0);
  if (spec.family == "deepseek_v2") {
    keys.set("topk_method", "greedy");
  } else {
    keys.set("norm_topk_prob", true);  // a sigmoid alone would not make the gate 1
  }
}

json::Value twin_model(const TrainConfig& config, const Blocks& blocks) {
  const ModelSpec& spec = config.spec;
  struct Sibling {
    std::string_view family;
    const char *dense, *architecture;
  };
  constexpr Sibling siblings[] = {{"qwen3_moe", "qwen3", "Qwen3ForCausalLM"},
                                  {"qwen2_moe", "qwen2", "Qwen2ForCausalLM"},
                                  {"mixtral", "mistral", "MistralForCausalLM"}};
  for (const Sibling& sibling : siblings) {
    const bool bias_fits = spec.family != "qwen2_moe" || spec.attention.qkv_bias;
    Keys keys(config.model);
    if (spec.family != sibling.family || !blocks.same_width || !bias_fits || !set_window(keys, spec, spec.family))
      continue;
    to_sibling(keys, spec, blocks, sibling.dense, sibling.architecture);
    return keys.sorted();
  }
  Keys keys(config.model);
  if (one_of(spec.family, {"deepseek_v2", "deepseek_v3", "glm4_moe"}) && blocks.same_width) {
    keys.set("first_k_dense_replace", spec.num_layers).set("intermediate_size", blocks.width);
  } else {
    to_one_expert(keys, spec, blocks);
  }
  return keys.sorted();
}

std::string with_commas(int64_t number) {
  std::string text = fmt::format("{}", number);
  for (auto at = static_cast<int64_t>(text.size()) - 3; at > 0; at -= 3) text.insert(static_cast<size_t>(at), 1, ',');
  return text;
}

}  // namespace

TrainConfig dense_twin(const TrainConfig& config) {
  const Blocks blocks = find_blocks(config.spec);
  if (!blocks.routed.routed) {
    throw invalid({.where = "model", .expected = "an MoE model", .got = "a dense one, which is its own twin"});
  }
  if (config.spec.family == "phimoe") {
    throw invalid({.where = "model.model_type",
                   .expected = "a family that can have one expert",
                   .got = "phimoe, whose router chooses two in two rounds",
                   .hint = "mixtral has the same shape"});
  }
  TrainConfig twin = config;
  twin.model = twin_model(config, blocks);
  twin.spec = parse_config(twin.model.dump(), "dense twin");
  twin.router = {};
  twin.aux = {};
  twin.bias = {};
  twin.train.init_from.clear();
  if (!twin.train.out.empty()) twin.train.out += "-dense";
  return twin;
}

TwinSizes twin_sizes(const ModelSpec& model, const ModelSpec& twin) {
  return {.total = count_parameters(model).total(),
          .active = count_active_parameters(model).total(),
          .dense_total = count_parameters(twin).total(),
          .dense_active = count_active_parameters(twin).total()};
}

std::string TwinSizes::text() const {
  return fmt::format("MoE {} parameters, {} active; dense twin {}, all active ({:.3f} of the MoE's)",
                     with_commas(total), with_commas(active), with_commas(dense_total),
                     static_cast<double>(dense_active) / static_cast<double>(active));
}

}  // namespace moxie
