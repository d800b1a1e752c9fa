// ModelSpec: everything the engine knows of an architecture. A family is a table from its config.json to this record;
// below spec/ nobody asks for a family by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moxie {

// ---- the router record ----

enum class Score {
  softmax,  // over all experts
  sigmoid,  // each expert on its own
  sqrt_softplus,
  raw,          // the logits themselves
  sparsemixer,  // Phi-MoE: two rounds of a softmax over the experts near the maximum (arXiv 2409.12136)
};
enum class GroupScore { none, top2_sum, max };  // DeepSeek-V3, DeepSeek-V2 (arXiv 2412.19437, 2405.04434)
enum class SharedExpert { none, plain, sigmoid_gated };
enum class Activation {
  swiglu,          // silu(gate) * up
  clamped_swiglu,  // gpt-oss: gate <= limit, |up| <= limit; gate * sigmoid(alpha * gate) * (up + 1)
  geglu,           // gelu(gate) * up, tanh form
};

/// The router record: one feed-forward block, for every family. A dense FFN is a bank of one expert with weight 1:
/// num_experts = top_k = 1 and no router. (A routed block may have one expert too; it still has a router.)
struct MoeSpec {
  bool routed = false;
  int64_t num_experts = 1;
  int64_t top_k = 1;
  int64_t moe_intermediate_size = 0;  // F, rows of one expert's gate and up
  Score score = Score::softmax;
  bool score_before_topk = true;  // false: top-k of the logits first, the score over those k
  bool select_bias = false;       // choose by score + expert_bias, weigh by the score alone
  GroupScore groups = GroupScore::none;
  int64_t num_expert_groups = 1;
  int64_t topk_groups = 1;
  bool norm_topk_prob = false;  // divide the k weights by their sum
  double norm_topk_eps = 0;     // added to that sum (DeepSeek-V3: 1e-20)
  double routed_scaling_factor = 1;
  bool router_bias = false;
  double sparsemixer_eps = 0;  // router_jitter_noise, for Score::sparsemixer
  SharedExpert shared = SharedExpert::none;
  int64_t shared_intermediate_size = 0;
  Activation activation = Activation::swiglu;
  double activation_alpha = 1.702;  // clamped_swiglu
  double activation_limit = 7.0;
  bool expert_bias = false;  // biases on gate, up and down of each expert

  bool is_dense() const { return !routed; }
  bool operator==(const MoeSpec&) const = default;
};

// ---- attention ----

enum class Norm { rms, layer };              // layer: with bias
enum class QkNorm { none, per_head, full };  // full: over the whole projection, before the split into heads
enum class AttentionKind { gqa, mla };
enum class RopeScaling { none, linear, llama3, yarn, longrope };

struct RopeSpec {
  double theta = 10000;
  int64_t dim = 0;           // leading dimensions of a head that rotate (for mla: qk_rope_head_dim)
  bool interleaved = false;  // pairs (2i, 2i+1) instead of halves (i, i + dim/2)
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;
  double original_max_position = 0;
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  double beta_fast = 32, beta_slow = 1;              // yarn
  bool truncate = true;                              // yarn: round the correction range
  double attention_factor = 1;                       // multiplies cos and sin (yarn, longrope), already computed
  double short_attention_factor = 1;                 // longrope: the same at or below original_max_position
  std::vector<double> short_factors, long_factors;   // longrope, dim / 2 each
  std::vector<double> slowdowns;                     // each frequency is divided by its one (GGUF), dim / 2; or none
  bool operator==(const RopeSpec&) const = default;
};

/// What one layer keeps of a token: for each of `num_heads`, k_dim numbers of keys and v_dim of values. A latent is
/// kept as keys, once for all heads; its values are the first v_dim numbers of them.
struct KvShape {
  int64_t num_heads = 0, k_dim = 0, v_dim = 0;
  bool latent = false;
};

struct AttentionSpec {
  AttentionKind kind = AttentionKind::gqa;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;  // of q and k; for mla nope + rope
  int64_t v_head_dim = 0;
  double scale = 0;  // of the scores, every factor included
  bool qkv_bias = false;
  bool o_bias = false;
  QkNorm qk_norm = QkNorm::none;
  bool sinks = false;  // a learned logit per head joins the softmax and is dropped (gpt-oss)
  std::optional<double> clip_qkv;
  // mla (DeepSeek-V2, arXiv 2405.04434)
  int64_t q_lora_rank = 0;  // 0: q comes straight from q_proj
  int64_t kv_lora_rank = 0;
  int64_t qk_nope_head_dim = 0;
  int64_t qk_rope_head_dim = 0;
  double latent_norm_eps = 1e-6;  // of the norms on the two latents; not the model's norm_eps

  KvShape kv_shape() const {
    if (kind == AttentionKind::mla) return {1, kv_lora_rank + qk_rope_head_dim, kv_lora_rank, true};
    return {num_kv_heads, head_dim, v_head_dim, false};
  }
  bool operator==(const AttentionSpec&) const = default;
};

// ---- where the weights are ----

/// Tensor names of a family. "{}" stands for the layer, then for the expert. An empty name: the family has no such
/// tensor. Biases end in ".bias" where the weight ends in ".weight".
struct TensorNames {
  std::string layer = "model.layers.{}.";  // prefix of everything below down to the feed-forward names
  std::string ffn = "mlp.";                // after the layer prefix: the feed-forward block, MoE or dense
  std::string dense_gate = "gate_proj.weight", dense_up = "up_proj.weight", dense_down = "down_proj.weight";
  std::string router = "gate.weight";
  std::string expert_bias = "gate.e_score_correction_bias";
  std::string expert_gate = "experts.{}.gate_proj.weight";
  std::string expert_up = "experts.{}.up_proj.weight";
  std::string expert_down = "experts.{}.down_proj.weight";
  std::string stacked_gate_up = "experts.gate_up_proj";  // [E, 2F, H] (gate rows, then up rows)
  std::string stacked_down = "experts.down_proj";        // [E, H, F]
  bool stacked_interleaved = false;  // gpt-oss: rows gate, up, gate, up ..., and [E, H, 2F] / [E, F, H] when not MXFP4
  std::string shared = "shared_experts.";  // then gate_proj.weight, up_proj.weight, down_proj.weight
  std::string shared_gate = "shared_expert_gate.weight";
};

struct LayerSpec {
  int64_t window = 0;  // sliding attention window in tokens, itself included; 0: full causal attention
  MoeSpec ffn;
};

struct ModelSpec {
  std::string family;  // model_type of the config: for messages and reports only
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t num_mtp_layers =
      0;  // further layers that a checkpoint may hold after these (multi-token prediction); not run
  int64_t vocab_size = 0;
  int64_t max_position = 0;
  Norm norm = Norm::rms;
  double norm_eps = 1e-6;
  bool tie_word_embeddings = false;
  bool lm_head_bias = false;
  double embedding_multiplier = 1;  // Granite
  double residual_multiplier = 1;   // on both branches of every layer
  double logits_scaling = 1;        // logits are divided by it
  AttentionSpec attention;
  RopeSpec rope;
  std::vector<LayerSpec> layers;
  TensorNames names;
  std::string weight_format;  // torch_dtype / dtype of the config ("bfloat16"), or empty
  std::string quant_method;   // quantization_config.quant_method ("mxfp4", "fp8"), or empty
  std::vector<int64_t> eos_token_ids;
  std::optional<int64_t> bos_token_id;
  std::vector<std::string> notices;  // what was ignored and why, for the user ("auto_map is ignored")
};

}  // namespace moxie
