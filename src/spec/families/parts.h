// Parts that several families share when their config is read: sizes, grouped-query attention, rotary embedding, the
// feed-forward blocks, the choice of windows. Not a family: what differs between families is in their own files.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "spec/config_reader.h"
#include "spec/model_spec.h"

namespace moxie::parts {

// Bounds that keep every later product of sizes within 64 bits (config.cpp checks the product itself).
inline constexpr IntegerRange kLayers = {1, 10'000};
inline constexpr IntegerRange kWidth = {1, int64_t{1} << 24};  // hidden and intermediate sizes, ranks, vocabulary
inline constexpr IntegerRange kHeads = {1, int64_t{1} << 16};
inline constexpr IntegerRange kExperts = {1, int64_t{1} << 24};
inline constexpr IntegerRange kPositions = {1, int64_t{1} << 48};
inline constexpr NumberRange kFactor = {0, 1e6};
inline constexpr NumberRange kTheta = {1, 1e15};

/// What transformers' config class of the family assumes where a key is absent.
struct ModelDefaults {
  int64_t max_position;
  double norm_eps;
  double rope_theta = 10000;
};

/// The sizes every family has, and as many dense default layers. hidden_size, num_hidden_layers and vocab_size are
/// required: no checkpoint goes without them.
ModelSpec read_model(const ConfigReader& config, const ModelDefaults& defaults);

struct AttentionDefaults {
  int64_t num_kv_heads = 0;  // 0: as many as heads
  int64_t head_dim = 0;      // 0: hidden_size / heads
};

/// Grouped-query attention and its rotary embedding over `rotary_factor` of each head, into `spec`.
void read_attention(const ConfigReader& config, ModelSpec& spec, const ModelDefaults& defaults,
                    const AttentionDefaults& attention_defaults, double rotary_factor = 1);

/// rope_theta with rope_scaling, or the rope_parameters object that replaces both in newer configs. `dim` dimensions
/// rotate; `key` names the field they come from.
RopeSpec read_rope(const ConfigReader& config, double default_theta, int64_t dim, std::string_view key,
                   int64_t max_position);

/// The object that says how positions are scaled: rope_parameters, or else rope_scaling. Absent: they are not.
std::optional<ConfigReader> rope_scaling_object(const ConfigReader& config);

/// YaRN's growth of attention entropy: 0.1 * multiplier * ln(factor) + 1, or 1 for a factor below 1.
double yarn_mscale(double factor, double multiplier);

/// hidden_act as the activation of a gated feed-forward block.
Activation read_activation(const ConfigReader& config);

/// A dense block of intermediate_size.
MoeSpec read_dense_ffn(const ConfigReader& config);

/// A routed block of experts `size_key` wide; the router's rule is left to the family. The number of experts may have
/// any of its three spellings.
MoeSpec read_routed_ffn(const ConfigReader& config, std::string_view size_key);

/// Gives every layer for which `is_routed` the one block, the others the block of intermediate_size.
void set_ffn(const ConfigReader& config, ModelSpec& spec, const MoeSpec& routed,
             const std::function<bool(int64_t layer)>& is_routed);

/// Gives the layers that `layer_types` calls sliding_attention (without that key: those for which `is_sliding`) a
/// window of `sliding_window` tokens.
void set_windows(const ConfigReader& config, ModelSpec& spec, int64_t window,
                 const std::function<bool(int64_t layer)>& is_sliding);

/// The windows of Qwen2, Qwen3 and Qwen2-MoE: if use_sliding_window, the layers from max_window_layers on.
void set_qwen_windows(const ConfigReader& config, ModelSpec& spec);

/// sliding_window, absent: `fallback`; null: no window (0).
int64_t read_window(const ConfigReader& config, int64_t fallback);

}  // namespace moxie::parts
