#include "model/train_latent_attention.h"

#include <algorithm>
#include <cstring>

#include "ops/matmul.h"
#include "ops/norm.h"

namespace moxie {
namespace {

struct Sizes {
  explicit Sizes(const TrainSequences& sequences, const ModelSpec& spec)
      : t(sequences.num_tokens()),
        hidden(spec.hidden_size),
        heads(spec.attention.num_heads),
        nope(spec.attention.qk_nope_head_dim),
        rope(spec.attention.qk_rope_head_dim),
        v(spec.attention.v_head_dim),
        latent(spec.attention.kv_lora_rank),
        q_latent(spec.attention.q_lora_rank) {}
  int64_t t, hidden, heads, nope, rope, v, latent, q_latent;
  int64_t q_dim() const { return nope + rope; }
  int64_t q_width() const { return heads * q_dim(); }
  int64_t kv_row() const { return latent + rope; }         // of the latent and the shared key
  int64_t kv_width() const { return heads * (nope + v); }  // of kv_b's rows: keys and values of each head in turn
};

void copy(const float* from, int64_t n, float* to) {
  std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
}

NormParams latent_norm(const ModelSpec& spec, const float* weight) {
  return {.weight = weight, .eps = static_cast<float>(spec.attention.latent_norm_eps)};
}

// Keys and values of all heads from kv_b's rows and the shared rotated key; the queries' last part is rotated.
void spread(Exec& exec, const TrainSequences& sequences, const ModelSpec& spec, const float* kv,
            const AttentionSaved& saved) {
  const Sizes n(sequences, spec);
  for_rows(exec, n.t, [&](int64_t t, int) {
    const int64_t at = t % sequences.length * (n.rope / 2);
    const float *cos = sequences.cos + at, *sin = sequences.sin + at;
    float* first_key = saved.k + t * n.q_width() + n.nope;
    copy(saved.kv_latent + t * n.kv_row() + n.latent, n.rope, first_key);
    exec.kernels.rope(first_key, cos, sin, n.rope, spec.rope.interleaved);
    for (int64_t h = 0; h < n.heads; ++h) {
      const float* row = kv + t * n.kv_width() + h * (n.nope + n.v);
      float* key = saved.k + t * n.q_width() + h * n.q_dim();
      copy(row, n.nope, key);
      if (h > 0) copy(first_key, n.rope, key + n.nope);
      copy(row + n.nope, n.v, saved.v + (t * n.heads + h) * n.v);
      exec.kernels.rope(saved.q + t * n.q_width() + h * n.q_dim() + n.nope, cos, sin, n.rope, spec.rope.interleaved);
    }
  });
}

// The way back of spread(): d_kv [T, kv_width] and the last part of d_kv_latent's rows; d.q is rotated back in place.
void gather(Exec& exec, const TrainSequences& sequences, const ModelSpec& spec, const AttentionGradients& d,
            float* d_kv, float* d_kv_latent) {
  const Sizes n(sequences, spec);
  for_rows(exec, n.t, [&](int64_t t, int) {
    const int64_t at = t % sequences.length * (n.rope / 2);
    const float *cos = sequences.cos + at, *sin = sequences.negative_sin + at;
    float* d_shared = d_kv_latent + t * n.kv_row() + n.latent;
    std::fill_n(d_shared, n.rope, 0.0f);
    for (int64_t h = 0; h < n.heads; ++h) {
      const float* d_key = d.k + t * n.q_width() + h * n.q_dim();
      float* row = d_kv + t * n.kv_width() + h * (n.nope + n.v);
      copy(d_key, n.nope, row);
      copy(d.v + (t * n.heads + h) * n.v, n.v, row + n.nope);
      exec.kernels.add_scaled(d_key + n.nope, 1, n.rope, d_shared);
      exec.kernels.rope(d.q + t * n.q_width() + h * n.q_dim() + n.nope, cos, sin, n.rope, spec.rope.interleaved);
    }
    exec.kernels.rope(d_shared, cos, sin, n.rope, spec.rope.interleaved);
  });
}

}  // namespace

AttentionSaved latent_forward(Exec& exec, const TrainSequences& sequences, const ModelSpec& spec,
                              const AttentionWeights& weights, const float* x) {
  const Sizes n(sequences, spec);
  AttentionSaved saved;
  saved.q = exec.arena.alloc<float>(n.t * n.q_width());
  saved.k = exec.arena.alloc<float>(n.t * n.q_width());
  saved.v = exec.arena.alloc<float>(n.t * n.heads * n.v);
  saved.kv_latent = exec.arena.alloc<float>(n.t * n.kv_row());
  if (n.q_latent > 0) saved.q_latent = exec.arena.alloc<float>(n.t * n.q_latent);
  Arena::Scope scope(exec.arena);
  const MatmulJob down[] = {
      linear_forward(x, n.t, n.hidden, weights.kv_a.f32(), n.kv_row(), nullptr, saved.kv_latent),
      n.q_latent > 0 ? linear_forward(x, n.t, n.hidden, weights.q_a.f32(), n.q_latent, nullptr, saved.q_latent)
                     : linear_forward(x, n.t, n.hidden, weights.q.f32(), n.q_width(), nullptr, saved.q)};
  matmul(exec, sequences.precision, down);
  float* normed = exec.arena.alloc<float>(n.t * std::max(n.latent, n.q_latent));
  if (n.q_latent > 0) {
    norm_forward(exec, latent_norm(spec, weights.q_a_norm), saved.q_latent, n.q_latent, n.t, n.q_latent, normed,
                 n.q_latent);
    const MatmulJob up = linear_forward(normed, n.t, n.q_latent, weights.q.f32(), n.q_width(), nullptr, saved.q);
    matmul(exec, sequences.precision, {&up, 1});
  }
  norm_forward(exec, latent_norm(spec, weights.kv_a_norm), saved.kv_latent, n.kv_row(), n.t, n.latent, normed,
               n.latent);
  float* kv = exec.arena.alloc<float>(n.t * n.kv_width());
  const MatmulJob up = linear_forward(normed, n.t, n.latent, weights.kv_b.f32(), n.kv_width(), nullptr, kv);
  matmul(exec, sequences.precision, {&up, 1});
  spread(exec, sequences, spec, kv, saved);
  return saved;
}

void latent_backward(Exec& exec, const TrainSequences& sequences, const ModelSpec& spec,
                     const AttentionWeights& weights, const AttentionSaved& saved, const float* x,
                     const AttentionGradients& d, const Gradients& gradients, float* dx) {
  Arena::Scope scope(exec.arena);
  const Sizes n(sequences, spec);
  const Precision precision = sequences.precision;
  float* d_kv = exec.arena.alloc<float>(n.t * n.kv_width());
  float* d_kv_latent = exec.arena.alloc<float>(n.t * n.kv_row());
  gather(exec, sequences, spec, d, d_kv, d_kv_latent);

  // A latent's normed rows, and the gradient of them.
  float* normed = exec.arena.alloc<float>(n.t * std::max(n.latent, n.q_latent));
  float* d_normed = exec.arena.alloc<float>(n.t * std::max(n.latent, n.q_latent));
  const NormParams kv_norm = latent_norm(spec, weights.kv_a_norm);
  norm_forward(exec, kv_norm, saved.kv_latent, n.kv_row(), n.t, n.latent, normed, n.latent);
  const MatmulJob kv_jobs[] = {
      linear_weight_gradient(d_kv, n.t, normed, weights.kv_b, gradients),
      linear_input_gradient(d_kv, n.t, n.kv_width(), weights.kv_b.f32(), n.latent, d_normed, false)};
  matmul(exec, precision, kv_jobs);
  for (int64_t t = 0; t < n.t; ++t) std::fill_n(d_kv_latent + t * n.kv_row(), n.latent, 0.0f);
  norm_backward(exec, kv_norm, saved.kv_latent, n.kv_row(), d_normed, n.latent, n.t, n.latent, d_kv_latent, n.kv_row(),
                gradients.of(weights.kv_a_norm), nullptr);

  const float* d_down = d.q;  // gradient of what the first query matrix gave, and that matrix
  const View& first = n.q_latent > 0 ? weights.q_a : weights.q;
  const int64_t first_width = n.q_latent > 0 ? n.q_latent : n.q_width();
  if (n.q_latent > 0) {
    const NormParams q_norm = latent_norm(spec, weights.q_a_norm);
    norm_forward(exec, q_norm, saved.q_latent, n.q_latent, n.t, n.q_latent, normed, n.q_latent);
    const MatmulJob q_jobs[] = {
        linear_weight_gradient(d.q, n.t, normed, weights.q, gradients),
        linear_input_gradient(d.q, n.t, n.q_width(), weights.q.f32(), n.q_latent, d_normed, false)};
    matmul(exec, precision, q_jobs);
    float* d_q_latent = exec.arena.alloc<float>(n.t * n.q_latent);
    std::fill_n(d_q_latent, n.t * n.q_latent, 0.0f);
    norm_backward(exec, q_norm, saved.q_latent, n.q_latent, d_normed, n.q_latent, n.t, n.q_latent, d_q_latent,
                  n.q_latent, gradients.of(weights.q_a_norm), nullptr);
    d_down = d_q_latent;
  }
  const MatmulJob jobs[] = {linear_weight_gradient(d_down, n.t, x, first, gradients),
                            linear_weight_gradient(d_kv_latent, n.t, x, weights.kv_a, gradients),
                            linear_input_gradient(d_down, n.t, first_width, first.f32(), n.hidden, dx, false)};
  matmul(exec, precision, jobs);
  const MatmulJob last = linear_input_gradient(d_kv_latent, n.t, n.kv_row(), weights.kv_a.f32(), n.hidden, dx, true);
  matmul(exec, precision, {&last, 1});
}

}  // namespace moxie
