#include "moe/routing.h"

#include <algorithm>
#include <cmath>

namespace moxie {
namespace {

// The highest of scores[0, n) with the lowest index; -1 if none is above -inf.
int64_t argmax(const float* scores, int64_t n) {
  int64_t best = -1;
  float best_score = -INFINITY;
  for (int64_t i = 0; i < n; ++i) {
    if (scores[i] > best_score) best = i, best_score = scores[i];
  }
  return best;
}

// The highest of `selection`, where the `num_taken` experts already chosen stand at -inf. Scores that are all -inf or
// NaN still yield different experts: the lowest id not yet taken.
int64_t best_left(const float* selection, int64_t num_experts, const int32_t* taken, int64_t num_taken) {
  int64_t id = argmax(selection, num_experts);
  for (int64_t i = 0; id < 0; ++i) {
    if (std::find(taken, taken + num_taken, static_cast<int32_t>(i)) == taken + num_taken) id = i;
  }
  return id;
}

// Takes the k highest of `selection`, leaving -inf in their places.
void take_top_k(float* selection, int64_t num_experts, int64_t k, int32_t* ids, float* margin) {
  float last = 0;
  for (int64_t j = 0; j < k; ++j) {
    const int64_t id = best_left(selection, num_experts, ids, j);
    ids[j] = static_cast<int32_t>(id);
    last = selection[id];
    selection[id] = -INFINITY;
  }
  const int64_t next = argmax(selection, num_experts);
  *margin = next < 0 ? INFINITY : last - selection[next];
}

// Keeps the best topk_groups groups; the scores of the others become 0, as in transformers (DeepSeek's own code uses
// -inf: they differ only when a kept score is negative). Group score: the sum of its two best (DeepSeek-V3,
// arXiv 2412.19437) or its best (DeepSeek-V2, arXiv 2405.04434).
void mask_groups(const MoeSpec& spec, float* selection, float* group_scores) {
  const int64_t size = spec.num_experts / spec.num_expert_groups;
  for (int64_t g = 0; g < spec.num_expert_groups; ++g) {
    const float* scores = selection + g * size;
    float first = -INFINITY, second = -INFINITY;
    for (int64_t i = 0; i < size; ++i) {
      if (scores[i] > first) {
        second = first, first = scores[i];
      } else if (scores[i] > second) {
        second = scores[i];
      }
    }
    group_scores[g] = spec.groups == GroupScore::max || size == 1 ? first : first + second;
  }
  for (int64_t kept = 0; kept < spec.topk_groups; ++kept) {
    const int64_t best = argmax(group_scores, spec.num_expert_groups);
    if (best < 0) break;
    group_scores[best] = -INFINITY;
  }
  for (int64_t g = 0; g < spec.num_expert_groups; ++g) {
    if (group_scores[g] != -INFINITY) std::fill_n(selection + g * size, size, 0.0f);
  }
}

// Phi-MoE's sparsemixer in evaluation (arXiv 2409.12136): experts further than 2 eps below the maximum, relative to
// max(|score|, maximum), are masked; the weight is the softmax over the rest; the next round runs without the chosen.
void sparsemixer(const MoeSpec& spec, const float* logits, float* selection, int32_t* ids, float* weights,
                 float* margin) {
  const int64_t num_experts = spec.num_experts;
  std::copy_n(logits, num_experts, selection);
  float last = 0;
  for (int64_t j = 0; j < spec.top_k; ++j) {
    const int64_t id = best_left(selection, num_experts, ids, j);
    const float max = selection[id];
    double total = 0;
    for (int64_t i = 0; i < num_experts; ++i) {
      if (selection[i] == -INFINITY) continue;
      const float factor = std::max(std::fabs(logits[i]), max);
      if ((max - logits[i]) / factor > 2 * static_cast<float>(spec.sparsemixer_eps)) continue;
      total += std::exp(static_cast<double>(logits[i]) - max);
    }
    ids[j] = static_cast<int32_t>(id);
    weights[j] = static_cast<float>(1 / total);
    last = max;
    selection[id] = -INFINITY;
  }
  const int64_t next = argmax(selection, num_experts);
  *margin = next < 0 ? INFINITY : last - selection[next];
}

void apply_score(const KernelSet& kernels, Score score, float* x, int64_t n) {
  switch (score) {
    case Score::softmax:
      kernels.softmax(x, n);
      return;
    case Score::sigmoid:
      for (int64_t i = 0; i < n; ++i) x[i] = 1 / (1 + std::exp(-x[i]));
      return;
    case Score::sqrt_softplus:
      for (int64_t i = 0; i < n; ++i) x[i] = std::sqrt(std::log1p(std::exp(-std::fabs(x[i]))) + std::max(x[i], 0.0f));
      return;
    case Score::raw:
    case Score::sparsemixer:
      return;
  }
}

// Weights from the chosen scores: renormalise, then scale.
void finish_weights(const MoeSpec& spec, float* weights) {
  float factor = 1;
  if (spec.norm_topk_prob) {
    float sum = 0;
    for (int64_t j = 0; j < spec.top_k; ++j) sum += weights[j];
    factor = 1 / (sum + static_cast<float>(spec.norm_topk_eps));
  }
  for (int64_t j = 0; j < spec.top_k; ++j) weights[j] *= factor * static_cast<float>(spec.routed_scaling_factor);
}

struct Scratch {
  float* scores;     // [E]
  float* selection;  // [E]
  float* groups;     // [num_expert_groups]
};

void route_token(const KernelSet& kernels, const MoeSpec& spec, const float* logits, const float* expert_bias,
                 const Scratch& scratch, int32_t* ids, float* weights, float* margin) {
  if (spec.score == Score::sparsemixer) {
    sparsemixer(spec, logits, scratch.selection, ids, weights, margin);
    finish_weights(spec, weights);
    return;
  }
  const int64_t num_experts = spec.num_experts;
  std::copy_n(logits, num_experts, scratch.scores);
  if (spec.score_before_topk) apply_score(kernels, spec.score, scratch.scores, num_experts);
  for (int64_t i = 0; i < num_experts; ++i) {
    scratch.selection[i] = scratch.scores[i] + (spec.select_bias ? expert_bias[i] : 0.0f);
  }
  if (spec.groups != GroupScore::none && spec.num_expert_groups > spec.topk_groups) {
    mask_groups(spec, scratch.selection, scratch.groups);
  }
  take_top_k(scratch.selection, num_experts, spec.top_k, ids, margin);
  for (int64_t j = 0; j < spec.top_k; ++j) weights[j] = scratch.scores[ids[j]];
  if (!spec.score_before_topk) apply_score(kernels, spec.score, weights, spec.top_k);
  finish_weights(spec, weights);
}

}  // namespace

Routing route(Exec& exec, const MoeSpec& spec, const float* logits, int64_t num_tokens, const float* expert_bias) {
  MOXIE_CHECK(spec.top_k >= 1 && spec.top_k <= spec.num_experts);
  MOXIE_CHECK(!spec.select_bias || expert_bias != nullptr);
  Routing routing{.num_tokens = num_tokens, .num_experts = spec.num_experts, .top_k = spec.top_k};
  routing.topk_ids = exec.arena.alloc<int32_t>(num_tokens * spec.top_k);
  routing.topk_weights = exec.arena.alloc<float>(num_tokens * spec.top_k);
  routing.margin = exec.arena.alloc<float>(num_tokens);
  Arena::Scope scope(exec.arena);
  const int64_t floats = 2 * spec.num_experts + spec.num_expert_groups + 16;  // 16: workers apart by a cache line
  float* scratch = exec.arena.alloc<float>(floats * exec.pool.size());
  const auto body = [&](int64_t t, int worker) {
    float* mine = scratch + worker * floats;
    route_token(exec.kernels, spec, logits + t * spec.num_experts, expert_bias,
                {mine, mine + spec.num_experts, mine + 2 * spec.num_experts}, routing.topk_ids + t * spec.top_k,
                routing.topk_weights + t * spec.top_k, routing.margin + t);
  };
  for_rows(exec, num_tokens, body);
  return routing;
}

}  // namespace moxie
