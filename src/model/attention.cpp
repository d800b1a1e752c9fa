#include "model/attention.h"

#include <algorithm>
#include <cstring>

namespace moxie {
namespace {

constexpr int64_t kQueryChunk = 32;  // queries that share the keys of a page while it is in cache
constexpr int64_t kItemsPerThread = 4;

// Queries of all heads, laid out for the kernel; for MLA in the space of the latent.
struct Queries {
  const float* data;
  int64_t row_stride;   // floats from one token to the next
  int64_t head_stride;  // floats from one head to the next
};

struct Heads {
  float* data;
  int64_t count, dim, row_stride;
};

// The query heads of one KV head are cut so that few sequences still give every thread something to do.
int64_t group_piece(const Exec& exec, int64_t group, int64_t num_items) {
  const int64_t wanted = (kItemsPerThread * exec.pool.size() + num_items - 1) / num_items;
  return std::max<int64_t>(1, group / std::min(group, wanted));
}

struct Item {
  int64_t sequence, row, num_queries;  // rows [row, row + num_queries) of the step
  int64_t head, first_in_group, group;
};

std::span<Item> attention_items(Exec& exec, const AttentionStep& step, int64_t kv_heads, int64_t group) {
  int64_t chunks = 0;
  for (const StepSequence& s : step.sequences) {
    chunks += (static_cast<int64_t>(s.tokens.size()) + kQueryChunk - 1) / kQueryChunk;
  }
  const int64_t piece = group_piece(exec, group, chunks * kv_heads);
  const int64_t pieces = (group + piece - 1) / piece;
  std::span<Item> items(exec.arena.alloc<Item>(chunks * kv_heads * pieces),
                        static_cast<size_t>(chunks * kv_heads * pieces));
  size_t n = 0;
  int64_t row = 0;
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    const auto size = static_cast<int64_t>(step.sequences[s].tokens.size());
    for (int64_t first = size - 1 - (size - 1) % kQueryChunk; first >= 0; first -= kQueryChunk) {  // longest first
      for (int64_t head = 0; head < kv_heads; ++head) {
        for (int64_t g = 0; g < group; g += piece) {
          items[n++] = {static_cast<int64_t>(s),   row + first, std::min(kQueryChunk, size - first), head, g,
                        std::min(piece, group - g)};
        }
      }
    }
    row += size;
  }
  return items;
}

// Attention of every query over the cached keys: out [T, heads, cache.v_dim()].
void attend(Exec& exec, const AttentionSpec& spec, int64_t layer, int64_t window, const float* sinks,
            const KvCache& cache, const AttentionStep& step, const Queries& q, float* out) {
  Arena::Scope scope(exec.arena);
  const int64_t kv_heads = cache.num_heads(), v_dim = cache.v_dim();
  const int64_t group = spec.num_heads / kv_heads;
  const std::span<Item> items = attention_items(exec, step, kv_heads, group);
  const int64_t scratch_bytes = (exec.kernels.attention_scratch_bytes(cache.k_dim(), v_dim) + 63) / 64 * 64;
  char* scratch = exec.arena.alloc<char>(scratch_bytes * exec.pool.size());

  // parts of the pages of each sequence and KV head: keys, then values
  const void*** parts = exec.arena.alloc<const void**>(static_cast<int64_t>(step.sequences.size()) * kv_heads);
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    const auto n = static_cast<int64_t>(step.sequences[s].pages.size());
    for (int64_t head = 0; head < kv_heads; ++head) {
      const void** list = exec.arena.alloc<const void*>(2 * n);
      for (int64_t p = 0; p < n; ++p) {
        list[p] = cache.keys(layer, step.sequences[s].pages[static_cast<size_t>(p)], head);
        list[n + p] = cache.values(layer, step.sequences[s].pages[static_cast<size_t>(p)], head);
      }
      parts[static_cast<int64_t>(s) * kv_heads + head] = list;
    }
  }
  exec.pool.run(static_cast<int64_t>(items.size()), [&](int64_t index, int worker) {
    const Item& item = items[static_cast<size_t>(index)];
    const int64_t head = item.head * group + item.first_in_group;
    const void** list = parts[item.sequence * kv_heads + item.head];
    const size_t num_pages = step.sequences[static_cast<size_t>(item.sequence)].pages.size();
    exec.kernels.attention({.q = q.data + item.row * q.row_stride + head * q.head_stride,
                            .q_stride = q.row_stride,
                            .q_head_stride = q.head_stride,
                            .position = step.position + item.row,
                            .num_queries = item.num_queries,
                            .group = item.group,
                            .k_dim = cache.k_dim(),
                            .v_dim = v_dim,
                            .format = cache.format(),
                            .k_pages = list,
                            .v_pages = cache.latent() ? nullptr : list + num_pages,
                            .window = window,
                            .scale = static_cast<float>(spec.scale),
                            .sinks = sinks == nullptr ? nullptr : sinks + head,
                            .out = out + (item.row * spec.num_heads + head) * v_dim,
                            .out_stride = spec.num_heads * v_dim,
                            .out_head_stride = v_dim,
                            .scratch = scratch + worker * scratch_bytes});
  });
}

// Where token row t stands in the cache.
struct Slot {
  int32_t page;
  int64_t slot;
};

Slot slot_of(const AttentionStep& step, int64_t t) {
  const int32_t position = step.position[t];
  const StepSequence& sequence = step.sequences[static_cast<size_t>(step.sequence[t])];
  return {sequence.pages[static_cast<size_t>(position / kKeyBlock)], position % kKeyBlock};
}

void clip(float* x, int64_t n, float limit) {
  for (int64_t i = 0; i < n; ++i) x[i] = std::clamp(x[i], -limit, limit);
}

// Norm, clip (OLMoE clips what the norm gives), then rotation, of all heads of one projection of one token.
void norm_and_rotate(const Exec& exec, const ModelSpec& spec, const AttentionStep& step, const float* norm, int64_t t,
                     const Heads& heads) {
  const AttentionSpec& a = spec.attention;
  float* row = heads.data + t * heads.row_stride;
  const auto eps = static_cast<float>(spec.norm_eps);
  if (a.qk_norm == QkNorm::full) exec.kernels.rms_norm(row, norm, eps, heads.count * heads.dim, row);
  if (a.clip_qkv) clip(row, heads.row_stride, static_cast<float>(*a.clip_qkv));
  const int64_t half = spec.rope.dim / 2;
  for (int64_t h = 0; h < heads.count; ++h) {
    float* head = row + h * heads.dim;
    if (a.qk_norm == QkNorm::per_head) exec.kernels.rms_norm(head, norm, eps, heads.dim, head);
    exec.kernels.rope(head, step.cos + t * half, step.sin + t * half, spec.rope.dim, spec.rope.interleaved);
  }
}

void gqa(Exec& exec, const ModelSpec& spec, int64_t layer, const AttentionWeights& weights, KvCache& cache,
         const AttentionStep& step, const float* x, float* out) {
  const AttentionSpec& a = spec.attention;
  const int64_t t_count = step.num_tokens;
  const Heads q{exec.arena.alloc<float>(t_count * a.num_heads * a.head_dim), a.num_heads, a.head_dim,
                a.num_heads * a.head_dim};
  const Heads k{exec.arena.alloc<float>(t_count * a.num_kv_heads * a.head_dim), a.num_kv_heads, a.head_dim,
                a.num_kv_heads * a.head_dim};
  const Heads v{exec.arena.alloc<float>(t_count * a.num_kv_heads * a.v_head_dim), a.num_kv_heads, a.v_head_dim,
                a.num_kv_heads * a.v_head_dim};
  Rows rows(x, t_count, spec.hidden_size);
  const LinearJob jobs[] = {{weights.q, weights.q_bias, q.data, q.row_stride},
                            {weights.k, weights.k_bias, k.data, k.row_stride},
                            {weights.v, weights.v_bias, v.data, v.row_stride}};
  linear(exec, rows, jobs);
  lap(exec, StepWork::projections);
  for_rows(exec, t_count, [&](int64_t t, int) {
    if (a.clip_qkv) clip(v.data + t * v.row_stride, v.row_stride, static_cast<float>(*a.clip_qkv));
    norm_and_rotate(exec, spec, step, weights.q_norm, t, q);
    norm_and_rotate(exec, spec, step, weights.k_norm, t, k);
    const Slot to = slot_of(step, t);
    for (int64_t h = 0; h < a.num_kv_heads; ++h) {
      store_key(exec.kernels, cache.format(), k.data + t * k.row_stride + h * a.head_dim, a.head_dim, to.slot,
                cache.keys(layer, to.page, h));
      store_value(exec.kernels, cache.format(), v.data + t * v.row_stride + h * a.v_head_dim, a.v_head_dim, to.slot,
                  cache.values(layer, to.page, h));
    }
  });
  attend(exec, a, layer, spec.layers[static_cast<size_t>(layer)].window, weights.sinks, cache, step,
         {q.data, q.row_stride, a.head_dim}, out);
  lap(exec, StepWork::attention);
}

// Multi-head latent attention with the key and value projections absorbed: queries move into the space of the cached
// latent, which then serves as the one KV head of all of them (DeepSeek-V2, arXiv 2405.04434, section 2.1). Prefill
// and decode take the same path, hence give the same bits.
void mla(Exec& exec, const ModelSpec& spec, int64_t layer, const AttentionWeights& weights, KvCache& cache,
         const AttentionStep& step, const float* x, float* out) {
  const AttentionSpec& a = spec.attention;
  const int64_t t_count = step.num_tokens, nope = a.qk_nope_head_dim, rope = a.qk_rope_head_dim;
  const int64_t latent = a.kv_lora_rank, row = latent + rope, head_rows = nope + a.v_head_dim;
  const auto eps = static_cast<float>(a.latent_norm_eps);
  float* q = exec.arena.alloc<float>(t_count * a.num_heads * a.head_dim);
  float* kv = exec.arena.alloc<float>(t_count * row);
  float* absorbed = exec.arena.alloc<float>(t_count * a.num_heads * row);
  float* mixed = exec.arena.alloc<float>(t_count * a.num_heads * latent);

  Rows rows(x, t_count, spec.hidden_size);
  if (a.q_lora_rank > 0) {
    float* q_latent = exec.arena.alloc<float>(t_count * a.q_lora_rank);
    const LinearJob down[] = {{weights.q_a, nullptr, q_latent, a.q_lora_rank}, {weights.kv_a, nullptr, kv, row}};
    linear(exec, rows, down);
    for_rows(exec, t_count, [&](int64_t t, int) {
      float* each = q_latent + t * a.q_lora_rank;
      exec.kernels.rms_norm(each, weights.q_a_norm, eps, a.q_lora_rank, each);
    });
    Rows q_rows(q_latent, t_count, a.q_lora_rank);
    const LinearJob up{weights.q, nullptr, q, a.num_heads * a.head_dim};
    linear(exec, q_rows, {&up, 1});
  } else {
    const LinearJob jobs[] = {{weights.q, nullptr, q, a.num_heads * a.head_dim}, {weights.kv_a, nullptr, kv, row}};
    linear(exec, rows, jobs);
  }

  lap(exec, StepWork::projections);
  const int64_t half = rope / 2;
  for_rows(exec, t_count, [&](int64_t t, int) {
    const float* cos = step.cos + t * half;
    const float* sin = step.sin + t * half;
    float* key = kv + t * row;
    exec.kernels.rms_norm(key, weights.kv_a_norm, eps, latent, key);
    exec.kernels.rope(key + latent, cos, sin, rope, spec.rope.interleaved);
    const Slot slot = slot_of(step, t);
    store_key(exec.kernels, cache.format(), key, row, slot.slot, cache.keys(layer, slot.page, 0));
    for (int64_t h = 0; h < a.num_heads; ++h) {
      float* to = absorbed + (t * a.num_heads + h) * row + latent;
      std::memcpy(to, q + (t * a.num_heads + h) * a.head_dim + nope, static_cast<size_t>(rope) * sizeof(float));
      exec.kernels.rope(to, cos, sin, rope, spec.rope.interleaved);
    }
  });
  lap(exec, StepWork::attention);
  exec.pool.run(a.num_heads, [&](int64_t h, int) {
    const View up = weights.kv_b.rows(h * head_rows, h * head_rows + nope);
    exec.kernels.gemm_in_major(q + h * a.head_dim, a.num_heads * a.head_dim, t_count, weight_ref(up), nope, latent,
                               absorbed + h * row, a.num_heads * row);
  });
  lap(exec, StepWork::projections);
  attend(exec, a, layer, spec.layers[static_cast<size_t>(layer)].window, weights.sinks, cache, step,
         {absorbed, a.num_heads * row, row}, mixed);
  lap(exec, StepWork::attention);

  const int64_t scratch_bytes = exec.kernels.gemm_scratch_bytes(t_count, latent);
  char* scratch = exec.arena.alloc<char>(scratch_bytes * exec.pool.size());
  exec.pool.run(a.num_heads, [&](int64_t h, int worker) {
    exec.kernels.gemm({.x = mixed + h * latent,
                       .x_row_bytes = a.num_heads * latent * static_cast<int64_t>(sizeof(float)),
                       .num_rows = t_count,
                       .w = weight_ref(weights.kv_b),
                       .n_begin = h * head_rows + nope,
                       .n_end = (h + 1) * head_rows,
                       .k = latent,
                       .y = out + h * a.v_head_dim,
                       .y_stride = a.num_heads * a.v_head_dim,
                       .scratch = scratch + worker * scratch_bytes});
  });
}

}  // namespace

void attention_block(Exec& exec, const ModelSpec& spec, int64_t layer, const AttentionWeights& weights, KvCache& cache,
                     const AttentionStep& step, const float* x, float* y) {
  Arena::Scope scope(exec.arena);
  const AttentionSpec& a = spec.attention;
  const int64_t width = a.num_heads * a.v_head_dim;
  float* out = exec.arena.alloc<float>(step.num_tokens * width);
  if (a.kind == AttentionKind::mla) {
    mla(exec, spec, layer, weights, cache, step, x, out);
  } else {
    gqa(exec, spec, layer, weights, cache, step, x, out);
  }
  Rows rows(out, step.num_tokens, width);
  const LinearJob job{weights.o, weights.o_bias, y, spec.hidden_size};
  linear(exec, rows, {&job, 1});
  lap(exec, StepWork::projections);
}

}  // namespace moxie
