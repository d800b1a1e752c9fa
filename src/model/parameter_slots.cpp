#include "model/parameter_slots.h"

#include "model/expert_weights.h"

namespace moxie {
namespace {

constexpr int64_t kMostExperts = 1 << 20;  // over all layers; the largest model known has 23,000

std::string layer_prefix(const ModelSpec& spec, int64_t layer) {
  return fmt::format(fmt::runtime(spec.names.layer), layer);
}

class Walker {
 public:
  Walker(const ModelSpec& spec, bool router_noise, ModelWeights& weights)
      : spec_(spec), router_noise_(router_noise), weights_(weights) {}

  std::vector<ParameterSlot> walk() {
    prepare();
    matrix(weights_.embedding, "model.embed_tokens.weight", spec_.vocab_size, spec_.hidden_size)->parameter.kind =
        ParameterKind::embedding;
    for (layer_ = 0; layer_ < spec_.num_layers; ++layer_) {
      LayerWeights& layer = weights_.layers[static_cast<size_t>(layer_)];
      const std::string prefix = layer_prefix(spec_, layer_);
      norm(layer.attention_norm, prefix + "input_layernorm");
      attention(layer.attention, prefix + "self_attn.");
      norm(layer.ffn_norm, prefix + "post_attention_layernorm");
      const MoeSpec& ffn = spec_.layers[static_cast<size_t>(layer_)].ffn;
      if (ffn.is_dense()) {
        dense(ffn, layer.ffn.bank.experts[0], prefix + "mlp.");
      } else {
        routed(ffn, layer.ffn, prefix + spec_.names.ffn);
      }
    }
    layer_ = -1;
    norm(weights_.final_norm, "model.norm");
    if (!spec_.tie_word_embeddings) {
      matrix(weights_.lm_head, "lm_head.weight", spec_.vocab_size, spec_.hidden_size);
    }
    if (spec_.lm_head_bias) vector(weights_.lm_head_bias, "lm_head.bias", spec_.vocab_size);
    return std::move(slots_);
  }

 private:
  // Makes room for layers and experts, if there is none yet.
  void prepare() {
    int64_t num_experts = 0;
    for (const LayerSpec& layer : spec_.layers) num_experts += layer.ffn.num_experts;
    if (num_experts > kMostExperts) {
      throw make_error(ErrorCode::does_not_fit, "{} experts over all layers: this build trains at most {}", num_experts,
                       kMostExperts);
    }
    weights_.layers.resize(static_cast<size_t>(spec_.num_layers));
    for (size_t layer = 0; layer < weights_.layers.size(); ++layer) {
      const MoeSpec& ffn = spec_.layers[layer].ffn;
      weights_.layers[layer].ffn.bank.experts.resize(static_cast<size_t>(ffn.num_experts));
      weights_.layers[layer].ffn.bank.activation = glu_args(ffn);
    }
  }

  ParameterSlot* add(std::string name, Shape shape, ParameterKind kind) {
    slots_.push_back(
        {.parameter = {.name = std::move(name), .shape = shape, .kind = kind, .layer = layer_, .expert = expert_}});
    return &slots_.back();
  }
  ParameterSlot* matrix(View& view, std::string name, int64_t rows, int64_t columns) {
    ParameterSlot* slot = add(std::move(name), {rows, columns}, ParameterKind::matrix);
    slot->matrix = &view;
    return slot;
  }
  ParameterSlot* vector(const float*& pointer, std::string name, int64_t size) {
    ParameterSlot* slot = add(std::move(name), {size}, ParameterKind::vector);
    slot->vector = &pointer;
    return slot;
  }

  void norm(NormWeights& norm, const std::string& name) {
    vector(norm.weight, name + ".weight", spec_.hidden_size);
    if (spec_.norm == Norm::layer) vector(norm.bias, name + ".bias", spec_.hidden_size);
  }

  void attention(AttentionWeights& weights, const std::string& at) {
    const AttentionSpec& spec = spec_.attention;
    if (spec.kind == AttentionKind::mla) {
      mla(weights, at);
    } else {
      gqa(weights, at);
    }
    matrix(weights.o, at + "o_proj.weight", spec_.hidden_size, spec.num_heads * spec.v_head_dim)->ends_branch = true;
    if (spec.o_bias) vector(weights.o_bias, at + "o_proj.bias", spec_.hidden_size);
  }

  void gqa(AttentionWeights& weights, const std::string& at) {
    const AttentionSpec& spec = spec_.attention;
    const int64_t q_rows = spec.num_heads * spec.head_dim, k_rows = spec.num_kv_heads * spec.head_dim;
    const int64_t v_rows = spec.num_kv_heads * spec.v_head_dim;
    matrix(weights.q, at + "q_proj.weight", q_rows, spec_.hidden_size);
    matrix(weights.k, at + "k_proj.weight", k_rows, spec_.hidden_size);
    matrix(weights.v, at + "v_proj.weight", v_rows, spec_.hidden_size);
    if (spec.qkv_bias) {
      vector(weights.q_bias, at + "q_proj.bias", q_rows);
      vector(weights.k_bias, at + "k_proj.bias", k_rows);
      vector(weights.v_bias, at + "v_proj.bias", v_rows);
    }
    if (spec.qk_norm != QkNorm::none) {
      const bool per_head = spec.qk_norm == QkNorm::per_head;
      vector(weights.q_norm, at + "q_norm.weight", per_head ? spec.head_dim : q_rows);
      vector(weights.k_norm, at + "k_norm.weight", per_head ? spec.head_dim : k_rows);
    }
    if (spec.sinks) vector(weights.sinks, at + "sinks", spec.num_heads);
  }

  void mla(AttentionWeights& weights, const std::string& at) {
    const AttentionSpec& spec = spec_.attention;
    const int64_t q_rows = spec.num_heads * spec.head_dim;
    if (spec.q_lora_rank > 0) {
      matrix(weights.q_a, at + "q_a_proj.weight", spec.q_lora_rank, spec_.hidden_size);
      vector(weights.q_a_norm, at + "q_a_layernorm.weight", spec.q_lora_rank);
      matrix(weights.q, at + "q_b_proj.weight", q_rows, spec.q_lora_rank);
    } else {
      matrix(weights.q, at + "q_proj.weight", q_rows, spec_.hidden_size);
    }
    matrix(weights.kv_a, at + "kv_a_proj_with_mqa.weight", spec.kv_lora_rank + spec.qk_rope_head_dim,
           spec_.hidden_size);
    vector(weights.kv_a_norm, at + "kv_a_layernorm.weight", spec.kv_lora_rank);
    matrix(weights.kv_b, at + "kv_b_proj.weight", spec.num_heads * (spec.qk_nope_head_dim + spec.v_head_dim),
           spec.kv_lora_rank);
  }

  void gate_up(Expert& expert, const std::string& gate, const std::string& up, int64_t f) {
    matrix(expert.gate, gate, f, spec_.hidden_size);
    matrix(expert.up, up, f, spec_.hidden_size);
  }
  void down(Expert& expert, const std::string& name, int64_t f) {
    matrix(expert.down, name, spec_.hidden_size, f)->ends_branch = true;
  }
  void gate_up_bias(Expert& expert, const std::string& gate, const std::string& up, int64_t f) {
    vector(expert.gate_bias, bias_name(gate), f);
    vector(expert.up_bias, bias_name(up), f);
  }
  void down_bias(Expert& expert, const std::string& name) {
    vector(expert.down_bias, bias_name(name), spec_.hidden_size);
  }

  void dense(const MoeSpec& ffn, Expert& expert, const std::string& at) {
    const TensorNames& names = spec_.names;
    gate_up(expert, at + names.dense_gate, at + names.dense_up, ffn.moe_intermediate_size);
    down(expert, at + names.dense_down, ffn.moe_intermediate_size);
    if (!ffn.expert_bias) return;
    gate_up_bias(expert, at + names.dense_gate, at + names.dense_up, ffn.moe_intermediate_size);
    down_bias(expert, at + names.dense_down);
  }

  void routed(const MoeSpec& ffn, MoeWeights& weights, const std::string& at) {
    const TensorNames& names = spec_.names;
    const int64_t e = ffn.num_experts, h = spec_.hidden_size;
    matrix(weights.router, at + names.router, e, h)->parameter.kind = ParameterKind::router;
    if (ffn.router_bias) vector(weights.router_bias, bias_name(at + names.router), e);
    if (ffn.select_bias) {
      vector(weights.expert_bias, at + names.expert_bias, e)->parameter.kind = ParameterKind::selection_bias;
    }
    if (router_noise_) {
      ParameterSlot* noise = matrix(weights.router_noise, at + "router_noise.weight", e, h);
      noise->parameter.kind = ParameterKind::router;
      noise->parameter.training_only = true;
    }
    experts(ffn, weights.bank.experts, at);
    if (ffn.shared == SharedExpert::none) return;
    const std::string shared = at + names.shared;
    gate_up(weights.shared, shared + names.dense_gate, shared + names.dense_up, ffn.shared_intermediate_size);
    down(weights.shared, shared + names.dense_down, ffn.shared_intermediate_size);
    if (ffn.shared == SharedExpert::sigmoid_gated) matrix(weights.shared_gate, at + names.shared_gate, 1, h);
  }

  void experts(const MoeSpec& ffn, std::vector<Expert>& bank, const std::string& at) {
    const TensorNames& own = spec_.names;
    const TensorNames common;  // a family that only stacks has no names of single experts
    const TensorNames& names = own.expert_gate.empty() ? common : own;
    const int64_t f = ffn.moe_intermediate_size;
    const auto each = [&](auto&& body) {
      for (expert_ = 0; expert_ < ffn.num_experts; ++expert_) {
        body(bank[static_cast<size_t>(expert_)], at + numbered(names.expert_gate, expert_),
             at + numbered(names.expert_up, expert_), at + numbered(names.expert_down, expert_));
      }
      expert_ = -1;
    };
    each([&](Expert& expert, const std::string& gate, const std::string& up, const std::string&) {
      gate_up(expert, gate, up, f);
    });
    each([&](Expert& expert, const std::string&, const std::string&, const std::string& name) {
      down(expert, name, f);
    });
    if (!ffn.expert_bias) return;
    each([&](Expert& expert, const std::string& gate, const std::string& up, const std::string&) {
      gate_up_bias(expert, gate, up, f);
    });
    each([&](Expert& expert, const std::string&, const std::string&, const std::string& name) {
      down_bias(expert, name);
    });
  }

  const ModelSpec& spec_;
  bool router_noise_;
  ModelWeights& weights_;
  int64_t layer_ = -1, expert_ = -1;
  std::vector<ParameterSlot> slots_;
};

}  // namespace

std::vector<ParameterSlot> parameter_slots(const ModelSpec& spec, bool router_noise, ModelWeights& weights) {
  return Walker(spec, router_noise, weights).walk();
}

std::string routed_ffn_prefix(const ModelSpec& spec, int64_t layer) {
  return layer_prefix(spec, layer) + spec.names.ffn;
}

}  // namespace moxie
