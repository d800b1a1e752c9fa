// What a model costs, from its ModelSpec alone: parameters, bytes, FLOPs, cache, training, decode. Pure functions; no
// tensor is read and nothing is measured.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "format/format.h"
#include "spec/model_spec.h"

namespace moxie {

// ---- parameters ----

/// Where the parameters of a model are.
enum class Part { embedding, attention, router, routed_experts, shared_experts, dense_ffn, norms, head };
inline constexpr int kNumParts = 8;
std::string_view part_name(Part part);

/// One number for each part. The norms on q, k and the MLA latents and the attention sinks belong to attention, the
/// selection bias to the router, the gate of a shared expert to it; a tied head has no parameters of its own.
struct PartCounts {
  std::array<int64_t, kNumParts> of = {};

  int64_t& operator[](Part part) { return of[static_cast<size_t>(part)]; }
  int64_t operator[](Part part) const { return of[static_cast<size_t>(part)]; }
  int64_t total() const;
};

/// Every parameter, as stored in a checkpoint (multi-token-prediction layers left out).
PartCounts count_parameters(const ModelSpec& spec);

/// What one token passes through: top_k of num_experts experts in every routed block, all else whole.
PartCounts count_active_parameters(const ModelSpec& spec);

/// Active parameters as publishers count them. Three conventions are in use.
struct ActiveParameters {
  int64_t full = 0;                     // all embeddings counted (Mixtral, Qwen, OLMoE, Phi)
  int64_t without_input_embedding = 0;  // what is multiplied: the head counts (gpt-oss, DeepSeek)
  int64_t without_embeddings = 0;       // neither (GLM-4.5)
};
ActiveParameters active_parameters(const ModelSpec& spec);

/// Parameters of one routed expert (or of the dense block) of a layer.
int64_t expert_parameters(const ModelSpec& spec, const MoeSpec& ffn);

// ---- bytes ----

/// The number format of each part.
struct PartFormats {
  std::array<FormatId, kNumParts> of = {};
  FormatId& operator[](Part part) { return of[static_cast<size_t>(part)]; }
  FormatId operator[](Part part) const { return of[static_cast<size_t>(part)]; }
};

/// Every part in one format.
PartFormats all_in(FormatId format);

/// The formats a config announces: its dtype (bf16 if it names none); under mxfp4 the matrices of the routed experts,
/// and under fp8 all matrices but embedding, router and head, are quantized. Other methods are not known here: its
/// dtype.
PartFormats stored_formats(const ModelSpec& spec);

/// Bytes of `elems` numbers, the scales of a block format included.
int64_t format_bytes(FormatId format, int64_t elems);

/// Bytes by part. Biases of quantized experts keep the format of the norms; the scales of fp8 blocks (0.02%) are left
/// out.
PartCounts part_bytes(const ModelSpec& spec, const PartFormats& formats);

/// Bytes of one routed expert.
int64_t expert_bytes(const ModelSpec& spec, const MoeSpec& ffn, const PartFormats& formats);

// ---- cache ----

/// Bytes kept for one token in one layer by a cache of that format: keys and values of every kv head, or the MLA latent
/// and its rotary key. Exact: what the pages take (kernels/kv_page.h).
int64_t kv_bytes_per_layer(const AttentionSpec& attention, FormatId kv_format);

/// Bytes of cache one more token takes in all layers while no window is full.
int64_t kv_bytes_per_token(const ModelSpec& spec, FormatId kv_format);

/// Bytes of cache of a sequence of `tokens`: a layer with a window keeps no more than the window.
double kv_cache_bytes(const ModelSpec& spec, int64_t tokens, FormatId kv_format);

// ---- work ----

/// FLOPs of the forward pass of one token that sees `context` positions, itself included (a window caps them): two for
/// every active multiplied parameter, and q.k and the weighted sum of v. Keys and values of MLA count as expanded.
struct ForwardFlops {
  double matmul = 0;
  double attention = 0;
  double total() const { return matmul + attention; }
};
ForwardFlops forward_flops(const ModelSpec& spec, int64_t context);

/// Bytes that training with AdamW holds, activations apart: all experts count, not the active ones.
struct TrainingBytes {
  double mixed = 0;            // 16 a parameter: 2 weights, 2 gradients, 4 master weights, 8 moments
  double mixed_f32_grads = 0;  // 18
  double f32 = 0;              // 16: 4 weights, 4 gradients, 8 moments
};
TrainingBytes training_bytes(const ModelSpec& spec);

/// Experts of a routed block that at least one of `batch` tokens visits, if routing were uniform: N (1 - (1 - k/N)^b).
double expected_distinct_experts(const MoeSpec& ffn, int64_t batch);

/// Bytes one decode step of `batch` sequences must read, each with `context` tokens in the cache: the experts visited,
/// all other weights once (of the embedding one row a token), and the cache.
struct DecodeStep {
  double weight_bytes = 0;
  double kv_bytes = 0;
  int64_t batch = 1;

  double bytes_per_token() const { return (weight_bytes + kv_bytes) / static_cast<double>(batch); }
  /// The most tokens a second that a memory of that bandwidth allows.
  double max_tokens_per_second(double bytes_per_second) const { return bytes_per_second / bytes_per_token(); }
};
DecodeStep decode_step(const ModelSpec& spec, const PartFormats& formats, int64_t batch, int64_t context,
                       FormatId kv_format);

}  // namespace moxie
