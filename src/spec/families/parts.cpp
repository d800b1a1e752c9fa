#include "spec/families/parts.h"

#include <fmt/ranges.h>

#include <cmath>

namespace moxie::parts {
namespace {

// A token id outside the vocabulary can be neither fed nor produced: small test models carry them from their parents.
std::vector<int64_t> read_token_ids(const ConfigReader& config, std::string_view key, ModelSpec& spec) {
  std::vector<int64_t> known;
  for (int64_t id : config.integers(key, {0, INT32_MAX})) {
    if (id < spec.vocab_size) {
      known.push_back(id);
    } else {
      spec.notices.push_back(fmt::format("{} {} is ignored: the vocabulary ends at {}", key, id, spec.vocab_size - 1));
    }
  }
  return known;
}

void read_quantization(const ConfigReader& config, ModelSpec& spec) {
  const std::optional<ConfigReader> quantization = config.object("quantization_config");
  if (!quantization) return;
  spec.quant_method = quantization->string("quant_method", "");
  if (spec.quant_method.empty()) quantization->fail("quant_method", "the name of a quantization method");
  const std::vector<int64_t> block = quantization->integers("weight_block_size", kWidth);
  if (spec.quant_method == "fp8" && !block.empty() && block != std::vector<int64_t>{128, 128}) {
    quantization->fail("weight_block_size", "[128, 128]", fmt::format("[{}]", fmt::join(block, ", ")));
  }
  quantization->integer("group_size", {-1, kWidth.high}, -1);
}

void read_yarn(const ConfigReader& scaling, RopeSpec& rope) {
  rope.beta_fast = scaling.number("beta_fast", kFactor, 32);
  rope.beta_slow = scaling.number("beta_slow", kFactor, 1);
  rope.truncate = scaling.boolean("truncate", true);
  const double mscale = scaling.number("mscale", {0, 1e6, true}, 0);
  const double mscale_all_dim = scaling.number("mscale_all_dim", {0, 1e6, true}, 0);
  const double inferred = mscale > 0 && mscale_all_dim > 0
                              ? yarn_mscale(rope.factor, mscale) / yarn_mscale(rope.factor, mscale_all_dim)
                              : yarn_mscale(rope.factor, 1);
  rope.attention_factor = scaling.number("attention_factor", kFactor, inferred);
}

void read_longrope(const ConfigReader& config, const ConfigReader& scaling, RopeSpec& rope, int64_t max_position) {
  rope.short_factors = scaling.numbers("short_factor", kFactor);
  rope.long_factors = scaling.numbers("long_factor", kFactor);
  for (const auto& [key, factors] :
       {std::pair{"short_factor", &rope.short_factors}, {"long_factor", &rope.long_factors}}) {
    if (static_cast<int64_t>(factors->size()) != rope.dim / 2) {
      scaling.fail(key, fmt::format("{} factors", rope.dim / 2), fmt::format("{}", factors->size()));
    }
  }
  const bool has_original =
      scaling.has("original_max_position_embeddings") || config.has("original_max_position_embeddings");
  rope.factor =
      has_original ? static_cast<double>(max_position) / rope.original_max_position : scaling.number("factor", kFactor);
  const double inferred =
      rope.factor <= 1 ? 1 : std::sqrt(1 + std::log(rope.factor) / std::log(std::max(rope.original_max_position, 2.0)));
  const double attention_factor = scaling.number("attention_factor", kFactor, inferred);
  // Phi-3.5-MoE states the two factors instead.
  rope.attention_factor = scaling.number("long_mscale", kFactor, attention_factor);
  rope.short_attention_factor = scaling.number("short_mscale", kFactor, attention_factor);
}

void read_llama3(const ConfigReader& scaling, RopeSpec& rope) {
  scaling.integer("original_max_position_embeddings", kPositions);
  rope.low_freq_factor = scaling.number("low_freq_factor", kFactor);
  rope.high_freq_factor = scaling.number("high_freq_factor", kFactor);
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    scaling.fail("high_freq_factor", fmt::format("more than low_freq_factor ({})", rope.low_freq_factor));
  }
}

RopeScaling read_scaling_type(const ConfigReader& scaling) {
  const char* key = scaling.has("rope_type") ? "rope_type" : "type";
  const std::string name = scaling.string(key, "default");
  if (scaling.string("type", name) != name) scaling.fail("type", fmt::format("{}, as rope_type says", name));
  if (name == "default") return RopeScaling::none;
  if (name == "linear") return RopeScaling::linear;
  if (name == "llama3") return RopeScaling::llama3;
  if (name == "yarn") return RopeScaling::yarn;
  if (name == "longrope" || name == "su") return RopeScaling::longrope;
  scaling.fail(key, "one of default, linear, llama3, yarn, longrope", "",
               name == "dynamic" ? "Dynamic scaling would make a token depend on how long its text grows later" : "");
}

}  // namespace

ModelSpec read_model(const ConfigReader& config, const ModelDefaults& defaults) {
  ModelSpec spec;
  spec.hidden_size = config.integer("hidden_size", kWidth);
  spec.num_layers = config.integer("num_hidden_layers", kLayers);
  spec.vocab_size = config.integer("vocab_size", kWidth);
  spec.max_position = config.integer("max_position_embeddings", kPositions, defaults.max_position);
  spec.num_mtp_layers = config.integer("num_nextn_predict_layers", {0, kLayers.high}, 0);
  spec.norm_eps = config.number("rms_norm_eps", {0, 1}, defaults.norm_eps);
  spec.tie_word_embeddings = config.boolean("tie_word_embeddings", false);
  spec.weight_format = config.string(config.has("dtype") ? "dtype" : "torch_dtype", "");
  spec.layers.resize(static_cast<size_t>(spec.num_layers));
  spec.eos_token_ids = read_token_ids(config, "eos_token_id", spec);
  const std::vector<int64_t> bos = read_token_ids(config, "bos_token_id", spec);
  if (!bos.empty()) spec.bos_token_id = bos.front();
  read_quantization(config, spec);
  return spec;
}

void read_attention(const ConfigReader& config, ModelSpec& spec, const ModelDefaults& defaults,
                    const AttentionDefaults& attention_defaults, double rotary_factor) {
  AttentionSpec& attention = spec.attention;
  attention.num_heads = config.integer("num_attention_heads", kHeads);
  const bool one_each = attention_defaults.num_kv_heads == 0 || config.has_null("num_key_value_heads");
  attention.num_kv_heads = config.integer("num_key_value_heads", {1, attention.num_heads},
                                          one_each ? attention.num_heads : attention_defaults.num_kv_heads);
  if (attention.num_heads % attention.num_kv_heads != 0) {
    config.fail("num_key_value_heads", fmt::format("a divisor of num_attention_heads ({})", attention.num_heads),
                fmt::format("{}", attention.num_kv_heads));
  }
  const bool derived = !config.has("head_dim") && attention_defaults.head_dim == 0;
  if (derived && spec.hidden_size % attention.num_heads != 0) {
    config.fail("hidden_size", fmt::format("a multiple of num_attention_heads ({})", attention.num_heads));
  }
  attention.head_dim = config.integer("head_dim", kHeads,
                                      derived ? spec.hidden_size / attention.num_heads : attention_defaults.head_dim);
  attention.v_head_dim = attention.head_dim;
  attention.scale = 1 / std::sqrt(static_cast<double>(attention.head_dim));
  const auto rotary_dim = static_cast<int64_t>(static_cast<double>(attention.head_dim) * rotary_factor);
  spec.rope =
      read_rope(config, defaults.rope_theta, rotary_dim, derived ? "hidden_size" : "head_dim", spec.max_position);
}

std::optional<ConfigReader> rope_scaling_object(const ConfigReader& config) {
  std::optional<ConfigReader> parameters = config.object("rope_parameters");
  return parameters ? parameters : config.object("rope_scaling");
}

RopeSpec read_rope(const ConfigReader& config, double default_theta, int64_t dim, std::string_view key,
                   int64_t max_position) {
  RopeSpec rope;
  rope.dim = dim;
  if (dim < 2 || dim % 2 != 0) config.fail(key, "an even number of rotary dimensions", fmt::format("{}", dim));
  rope.theta = config.number("rope_theta", kTheta, default_theta);
  const std::optional<ConfigReader> scaling = rope_scaling_object(config);
  if (!scaling) return rope;
  if (config.has("rope_parameters")) rope.theta = scaling->number("rope_theta", kTheta, rope.theta);
  rope.scaling = read_scaling_type(*scaling);
  const int64_t original = config.integer("original_max_position_embeddings", kPositions, max_position);
  rope.original_max_position =
      static_cast<double>(scaling->integer("original_max_position_embeddings", kPositions, original));
  if (rope.scaling == RopeScaling::linear || rope.scaling == RopeScaling::llama3 || rope.scaling == RopeScaling::yarn) {
    rope.factor = scaling->number("factor", kFactor);
  }
  if (rope.scaling == RopeScaling::llama3) read_llama3(*scaling, rope);
  if (rope.scaling == RopeScaling::yarn) read_yarn(*scaling, rope);
  if (rope.scaling == RopeScaling::longrope) read_longrope(config, *scaling, rope, max_position);
  return rope;
}

double yarn_mscale(double factor, double multiplier) {
  return factor <= 1 ? 1 : 0.1 * multiplier * std::log(factor) + 1;
}

Activation read_activation(const ConfigReader& config) {
  const std::string name = config.choice("hidden_act", {"silu", "swish", "gelu_pytorch_tanh", "gelu_new"}, "silu");
  return name == "silu" || name == "swish" ? Activation::swiglu : Activation::geglu;
}

MoeSpec read_dense_ffn(const ConfigReader& config) {
  MoeSpec ffn;
  ffn.moe_intermediate_size = config.integer("intermediate_size", kWidth);
  ffn.activation = read_activation(config);
  return ffn;
}

MoeSpec read_routed_ffn(const ConfigReader& config, std::string_view size_key) {
  MoeSpec ffn;
  ffn.routed = true;
  ffn.num_experts = config.integer_of({"num_experts", "num_local_experts", "n_routed_experts"}, kExperts);
  ffn.top_k = config.integer_of({"num_experts_per_tok", "experts_per_token"}, {1, ffn.num_experts});
  ffn.moe_intermediate_size = config.integer(size_key, kWidth);
  ffn.activation = read_activation(config);
  return ffn;
}

void set_ffn(const ConfigReader& config, ModelSpec& spec, const MoeSpec& routed,
             const std::function<bool(int64_t layer)>& is_routed) {
  std::optional<MoeSpec> dense;
  for (int64_t layer = 0; layer < spec.num_layers; ++layer) {
    if (!is_routed(layer) && !dense) dense = read_dense_ffn(config);
    spec.layers[static_cast<size_t>(layer)].ffn = is_routed(layer) ? routed : *dense;
  }
}

void set_windows(const ConfigReader& config, ModelSpec& spec, int64_t window,
                 const std::function<bool(int64_t layer)>& is_sliding) {
  const std::vector<std::string> types = config.strings("layer_types");
  if (!types.empty() && static_cast<int64_t>(types.size()) != spec.num_layers) {
    config.fail("layer_types", fmt::format("{} entries, one a layer", spec.num_layers),
                fmt::format("{}", types.size()));
  }
  for (size_t layer = 0; layer < spec.layers.size(); ++layer) {
    bool sliding = types.empty() && is_sliding(static_cast<int64_t>(layer));
    if (!types.empty()) {
      sliding = types[layer] == "sliding_attention";
      if (!sliding && types[layer] != "full_attention") {
        config.fail("layer_types", "full_attention or sliding_attention", types[layer]);
      }
    }
    spec.layers[layer].window = sliding ? window : 0;
  }
}

void set_qwen_windows(const ConfigReader& config, ModelSpec& spec) {
  if (!config.boolean("use_sliding_window", false)) return;
  const int64_t first = config.integer("max_window_layers", {0, INT32_MAX}, 28);
  set_windows(config, spec, read_window(config, 4096), [&](int64_t layer) { return layer >= first; });
}

int64_t read_window(const ConfigReader& config, int64_t fallback) {
  if (config.has_null("sliding_window")) return 0;
  return config.integer("sliding_window", kPositions, fallback);
}

}  // namespace moxie::parts
