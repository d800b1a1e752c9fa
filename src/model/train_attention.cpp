#include "model/train_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/train_latent_attention.h"
#include "ops/matmul.h"
#include "ops/norm.h"

namespace moxie {
namespace {

// All heads of one projection: rows [T, count * dim].
struct Heads {
  int64_t count, dim;
  int64_t width() const { return count * dim; }
};

bool keeps_raw(const AttentionSpec& spec) {
  return spec.qk_norm != QkNorm::none || spec.clip_qkv.has_value();
}

// The norm's rows: the whole projection, or one head each.
int64_t norm_width(const AttentionSpec& spec, const Heads& heads) {
  return spec.qk_norm == QkNorm::full ? heads.width() : heads.dim;
}

void rotate(Exec& exec, const RopeSpec& rope, const TrainSequences& sequences, const float* sin, const Heads& heads,
            float* x) {
  const int64_t half = rope.dim / 2;
  for_rows(exec, sequences.num_tokens(), [&](int64_t t, int) {
    const int64_t at = t % sequences.length * half;
    for (int64_t h = 0; h < heads.count; ++h) {
      exec.kernels.rope(x + t * heads.width() + h * heads.dim, sequences.cos + at, sin + at, rope.dim,
                        rope.interleaved);
    }
  });
}

// Norm and clip of a raw projection: what is rotated next.
void norm_and_clip(Exec& exec, const ModelSpec& spec, const Heads& heads, int64_t num_tokens, const float* norm,
                   const float* raw, float* out) {
  const AttentionSpec& a = spec.attention;
  const int64_t n = norm_width(a, heads), floats = num_tokens * heads.width();
  if (a.qk_norm != QkNorm::none) {
    norm_forward(exec, {.weight = norm, .eps = static_cast<float>(spec.norm_eps)}, raw, n, floats / n, n, out, n);
  } else {
    std::copy_n(raw, floats, out);
  }
  if (!a.clip_qkv) return;
  const auto limit = static_cast<float>(*a.clip_qkv);
  for (int64_t i = 0; i < floats; ++i) out[i] = std::clamp(out[i], -limit, limit);
}

// The gradient of what was clipped is zero.
void mask_clipped(const float* clipped, float limit, int64_t floats, float* d) {
  for (int64_t i = 0; i < floats; ++i) {
    if (std::fabs(clipped[i]) >= limit) d[i] = 0;
  }
}

// Turns the gradient of rotated heads into that of the raw projection; the result lies in d or in the arena.
float* raw_gradient(Exec& exec, const TrainSequences& sequences, const ModelSpec& spec, const Heads& heads,
                    const float* norm, const float* raw, const Gradients& gradients, float* d) {
  const AttentionSpec& a = spec.attention;
  rotate(exec, spec.rope, sequences, sequences.negative_sin, heads, d);
  const int64_t floats = sequences.num_tokens() * heads.width(), n = norm_width(a, heads);
  if (a.clip_qkv) {
    Arena::Scope scope(exec.arena);
    float* clipped = exec.arena.alloc<float>(floats);
    norm_and_clip(exec, spec, heads, sequences.num_tokens(), norm, raw, clipped);
    mask_clipped(clipped, static_cast<float>(*a.clip_qkv), floats, d);
  }
  if (a.qk_norm == QkNorm::none) return d;
  float* d_raw = exec.arena.alloc<float>(floats);
  std::fill_n(d_raw, floats, 0.0f);
  norm_backward(exec, {.weight = norm, .eps = static_cast<float>(spec.norm_eps)}, raw, n, d, n, floats / n, n, d_raw, n,
                gradients.of(norm), nullptr);
  return d_raw;
}

AttentionSaved gqa_forward(Exec& exec, const TrainSequences& sequences, const ModelSpec& spec,
                           const AttentionWeights& weights, const float* x) {
  const AttentionSpec& a = spec.attention;
  const int64_t t = sequences.num_tokens(), h = spec.hidden_size;
  const Heads q{a.num_heads, a.head_dim}, k{a.num_kv_heads, a.head_dim}, v{a.num_kv_heads, a.v_head_dim};
  AttentionSaved saved;
  saved.q = exec.arena.alloc<float>(t * q.width());
  saved.k = exec.arena.alloc<float>(t * k.width());
  saved.v = exec.arena.alloc<float>(t * v.width());
  if (keeps_raw(a)) {
    saved.q_raw = exec.arena.alloc<float>(t * q.width());
    saved.k_raw = exec.arena.alloc<float>(t * k.width());
  }
  float* q_to = keeps_raw(a) ? saved.q_raw : saved.q;
  float* k_to = keeps_raw(a) ? saved.k_raw : saved.k;
  const MatmulJob jobs[] = {linear_forward(x, t, h, weights.q.f32(), q.width(), weights.q_bias, q_to),
                            linear_forward(x, t, h, weights.k.f32(), k.width(), weights.k_bias, k_to),
                            linear_forward(x, t, h, weights.v.f32(), v.width(), weights.v_bias, saved.v)};
  matmul(exec, sequences.precision, jobs);
  if (keeps_raw(a)) {
    norm_and_clip(exec, spec, q, t, weights.q_norm, saved.q_raw, saved.q);
    norm_and_clip(exec, spec, k, t, weights.k_norm, saved.k_raw, saved.k);
  }
  if (a.clip_qkv) {
    const auto limit = static_cast<float>(*a.clip_qkv);
    for (int64_t i = 0; i < t * v.width(); ++i) saved.v[i] = std::clamp(saved.v[i], -limit, limit);
  }
  rotate(exec, spec.rope, sequences, sequences.sin, q, saved.q);
  rotate(exec, spec.rope, sequences, sequences.sin, k, saved.k);
  return saved;
}

void gqa_backward(Exec& exec, const TrainSequences& sequences, const ModelSpec& spec, const AttentionWeights& weights,
                  const AttentionSaved& saved, const float* x, const AttentionGradients& d, const Gradients& gradients,
                  float* dx) {
  const AttentionSpec& a = spec.attention;
  const int64_t t = sequences.num_tokens(), h = spec.hidden_size;
  const Heads q{a.num_heads, a.head_dim}, k{a.num_kv_heads, a.head_dim}, v{a.num_kv_heads, a.v_head_dim};
  const float* dq = raw_gradient(exec, sequences, spec, q, weights.q_norm, saved.q_raw, gradients, d.q);
  const float* dk = raw_gradient(exec, sequences, spec, k, weights.k_norm, saved.k_raw, gradients, d.k);
  if (a.clip_qkv) mask_clipped(saved.v, static_cast<float>(*a.clip_qkv), t * v.width(), d.v);
  if (a.qkv_bias) {
    add_column_sums(exec, dq, t, q.width(), gradients.of(weights.q_bias));
    add_column_sums(exec, dk, t, k.width(), gradients.of(weights.k_bias));
    add_column_sums(exec, d.v, t, v.width(), gradients.of(weights.v_bias));
  }
  const MatmulJob weight_jobs[] = {linear_weight_gradient(dq, t, x, weights.q, gradients),
                                   linear_weight_gradient(dk, t, x, weights.k, gradients),
                                   linear_weight_gradient(d.v, t, x, weights.v, gradients)};
  matmul(exec, sequences.precision, weight_jobs);
  // one after the other: they add into the same rows
  const MatmulJob from_q = linear_input_gradient(dq, t, q.width(), weights.q.f32(), h, dx, false);
  const MatmulJob from_k = linear_input_gradient(dk, t, k.width(), weights.k.f32(), h, dx, true);
  const MatmulJob from_v = linear_input_gradient(d.v, t, v.width(), weights.v.f32(), h, dx, true);
  for (const MatmulJob& job : {from_q, from_k, from_v}) matmul(exec, sequences.precision, {&job, 1});
}

TrainAttention attention_args(const TrainSequences& sequences, const ModelSpec& spec, int64_t layer,
                              const AttentionWeights& weights) {
  const AttentionSpec& a = spec.attention;
  return {.batch = sequences.batch,
          .length = sequences.length,
          .num_heads = a.num_heads,
          .num_kv_heads = a.num_kv_heads,
          .k_dim = a.head_dim,
          .v_dim = a.v_head_dim,
          .window = spec.layers[static_cast<size_t>(layer)].window,
          .scale = static_cast<float>(a.scale),
          .sinks = weights.sinks,
          .precision = sequences.precision};
}

}  // namespace

AttentionSaved train_attention_forward(Exec& exec, const TrainSequences& sequences, const ModelSpec& spec,
                                       int64_t layer, const AttentionWeights& weights, const float* x, float* y) {
  const AttentionSpec& a = spec.attention;
  const int64_t t = sequences.num_tokens(), width = a.num_heads * a.v_head_dim;
  float* out = exec.arena.alloc<float>(t * width);
  AttentionSaved saved = a.kind == AttentionKind::mla ? latent_forward(exec, sequences, spec, weights, x)
                                                      : gqa_forward(exec, sequences, spec, weights, x);
  saved.out = out;
  Arena::Scope scope(exec.arena);
  attention_forward(exec, attention_args(sequences, spec, layer, weights), saved.q, saved.k, saved.v, saved.out);
  const MatmulJob job = linear_forward(saved.out, t, width, weights.o.f32(), spec.hidden_size, weights.o_bias, y);
  matmul(exec, sequences.precision, {&job, 1});
  return saved;
}

void train_attention_backward(Exec& exec, const TrainSequences& sequences, const ModelSpec& spec, int64_t layer,
                              const AttentionWeights& weights, const AttentionSaved& saved, const float* x,
                              const float* dy, const Gradients& gradients, float* dx) {
  Arena::Scope scope(exec.arena);
  const AttentionSpec& a = spec.attention;
  const int64_t t = sequences.num_tokens(), width = a.num_heads * a.v_head_dim, h = spec.hidden_size;
  if (a.o_bias) add_column_sums(exec, dy, t, h, gradients.of(weights.o_bias));
  float* d_out = exec.arena.alloc<float>(t * width);
  const MatmulJob jobs[] = {linear_weight_gradient(dy, t, saved.out, weights.o, gradients),
                            linear_input_gradient(dy, t, h, weights.o.f32(), width, d_out, false)};
  matmul(exec, sequences.precision, jobs);
  const AttentionGradients d{.q = exec.arena.alloc<float>(t * a.num_heads * a.head_dim),
                             .k = exec.arena.alloc<float>(t * a.num_kv_heads * a.head_dim),
                             .v = exec.arena.alloc<float>(t * a.num_kv_heads * a.v_head_dim)};
  attention_backward(exec, attention_args(sequences, spec, layer, weights), saved.q, saved.k, saved.v, d_out, d.q, d.k,
                     d.v, gradients.of(weights.sinks));
  if (a.kind == AttentionKind::mla) {
    latent_backward(exec, sequences, spec, weights, saved, x, d, gradients, dx);
  } else {
    gqa_backward(exec, sequences, spec, weights, saved, x, d, gradients, dx);
  }
}

}  // namespace moxie
