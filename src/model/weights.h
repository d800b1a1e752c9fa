// The weights of a model, bound by name from a checkpoint to the places the forward pass reads them. Big matrices stay
// mapped as the file has them; vectors (norms, biases, sinks) become f32.
#pragma once

#include <deque>
#include <vector>

#include "moe/layer.h"
#include "spec/model_spec.h"
#include "store/safetensors.h"

namespace moxie {

struct NormWeights {
  const float* weight = nullptr;
  const float* bias = nullptr;  // LayerNorm
};

struct AttentionWeights {
  View q, k, v, o;  // [heads * dim, H]; o [H, heads * v_dim]
  const float *q_bias = nullptr, *k_bias = nullptr, *v_bias = nullptr, *o_bias = nullptr;
  const float *q_norm = nullptr, *k_norm = nullptr;
  const float* sinks = nullptr;  // [heads]
  // mla; q is q_b_proj when there is a query latent
  View q_a;   // [q_lora_rank, H]
  View kv_a;  // [kv_lora_rank + rope, H]
  const float *q_a_norm = nullptr, *kv_a_norm = nullptr;
  View kv_b;  // [heads * (nope + v), kv_lora_rank]
};

struct LayerWeights {
  NormWeights attention_norm, ffn_norm;
  AttentionWeights attention;
  MoeWeights ffn;
};

struct ModelWeights {
  View embedding;  // [V, H]
  View lm_head;    // [V, H]; the embedding itself when tied
  const float* lm_head_bias = nullptr;
  NormWeights final_norm;
  std::vector<LayerWeights> layers;

  std::deque<std::vector<float>> vectors;  // what the pointers above point into
  std::vector<Tensor> copies;              // matrices that had to be transposed or decoded
};

/// Binds every tensor. Accepts one tensor per expert and the stacked layouts (transformers 5, Granite, gpt-oss's MXFP4
/// and its unpacked form). Throws Error{invalid} listing all tensors that are missing, extra, of another shape or of a
/// format that cannot be computed with.
ModelWeights bind_weights(const ModelSpec& spec, const Checkpoint& checkpoint);

}  // namespace moxie
