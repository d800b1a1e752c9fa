// The gradient of routing weights on router logits, for every score of the router record. Selection, groups and
// selection bias carry none.
#include <algorithm>
#include <cmath>

#include "moe/losses.h"

namespace moxie {
namespace {

// d_logits of softmax over `n` entries picked by `at` (entry i is logit at[i]; null: logit i), from dp on some of them.
void softmax_gradient(const double* p, const double* dp, int64_t n, const int32_t* at, float* d_logits) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += p[i] * dp[i];
  for (int64_t i = 0; i < n; ++i) {
    float& d = d_logits[at != nullptr ? at[i] : i];
    d = static_cast<float>(d + p[i] * (dp[i] - sum));
  }
}

double softmax(const float* logits, int64_t n, const int32_t* at, double* p) {
  const auto logit = [&](int64_t i) { return static_cast<double>(logits[at != nullptr ? at[i] : i]); };
  double max = -INFINITY, total = 0;
  for (int64_t i = 0; i < n; ++i) max = std::max(max, logit(i));
  for (int64_t i = 0; i < n; ++i) total += p[i] = std::exp(logit(i) - max);
  for (int64_t i = 0; i < n; ++i) p[i] /= total;
  return total;
}

// A score that depends on its own logit alone, and its derivative.
struct Pointwise {
  double value, slope;
};
Pointwise pointwise(Score score, double x) {
  const double s = 1 / (1 + std::exp(-x));
  switch (score) {
    case Score::sigmoid:
      return {s, s * (1 - s)};
    case Score::sqrt_softplus: {
      const double root = std::sqrt(std::log1p(std::exp(-std::fabs(x))) + std::max(x, 0.0));
      return {root, root > 0 ? s / (2 * root) : 0};
    }
    case Score::raw:
    case Score::softmax:
    case Score::sparsemixer:
      break;
  }
  return {x, 1};
}

// dw, the gradient of the final weights, becomes that of the scores `v` before renormalisation and scale. v / sum comes
// first: with one choice it is exactly 1, and what is left exactly 0.
void unfinish(const MoeSpec& spec, const double* v, int64_t k, double* dw) {
  double factor = spec.routed_scaling_factor, along = 0;
  if (spec.norm_topk_prob) {
    double sum = spec.norm_topk_eps;
    for (int64_t j = 0; j < k; ++j) sum += v[j];
    for (int64_t j = 0; j < k; ++j) along += dw[j] * (v[j] / sum);
    factor /= sum;
  }
  for (int64_t j = 0; j < k; ++j) dw[j] = factor * (dw[j] - along);
}

// Which experts take part in round j of sparsemixer, in evaluation (the rule of routing.cpp); returns how many.
int64_t near_maximum(const MoeSpec& spec, const float* logits, const int32_t* ids, int64_t j, int32_t* near) {
  const float max = logits[ids[j]];
  int64_t count = 0;
  for (int64_t i = 0; i < spec.num_experts; ++i) {
    if (std::find(ids, ids + j, static_cast<int32_t>(i)) != ids + j) continue;
    const float factor = std::max(std::fabs(logits[i]), max);
    if ((max - logits[i]) / factor > 2 * static_cast<float>(spec.sparsemixer_eps)) continue;
    near[count++] = static_cast<int32_t>(i);
  }
  return count;
}

struct Scratch {
  double *p, *dp;  // [E]
  double *v, *dw;  // [K]
  int32_t* ids;    // [K] choices without the dropped ones
  int32_t* near;   // [E]
};

void sparsemixer_gradient(const MoeSpec& spec, const float* logits, int64_t k, const Scratch& s, float* d_logits) {
  for (int64_t j = 0; j < k; ++j) {
    const int64_t count = near_maximum(spec, logits, s.ids, j, s.near);
    softmax(logits, count, s.near, s.p);
    s.v[j] = s.p[std::find(s.near, s.near + count, s.ids[j]) - s.near];
  }
  unfinish(spec, s.v, k, s.dw);
  for (int64_t j = 0; j < k; ++j) {
    const int64_t count = near_maximum(spec, logits, s.ids, j, s.near);
    softmax(logits, count, s.near, s.p);
    for (int64_t i = 0; i < count; ++i) s.dp[i] = s.near[i] == s.ids[j] ? s.dw[j] : 0;
    softmax_gradient(s.p, s.dp, count, s.near, d_logits);
  }
}

void token_gradient(const MoeSpec& spec, const float* logits, int64_t k, const Scratch& s, float* d_logits) {
  if (spec.score == Score::sparsemixer) return sparsemixer_gradient(spec, logits, k, s, d_logits);
  if (spec.score != Score::softmax) {
    for (int64_t j = 0; j < k; ++j) s.v[j] = pointwise(spec.score, logits[s.ids[j]]).value;
    unfinish(spec, s.v, k, s.dw);
    for (int64_t j = 0; j < k; ++j) {
      float& d = d_logits[s.ids[j]];
      d = static_cast<float>(d + s.dw[j] * pointwise(spec.score, logits[s.ids[j]]).slope);
    }
    return;
  }
  if (!spec.score_before_topk) {
    softmax(logits, k, s.ids, s.v);
    unfinish(spec, s.v, k, s.dw);
    softmax_gradient(s.v, s.dw, k, s.ids, d_logits);
    return;
  }
  softmax(logits, spec.num_experts, nullptr, s.p);
  for (int64_t j = 0; j < k; ++j) s.v[j] = s.p[s.ids[j]];
  unfinish(spec, s.v, k, s.dw);
  std::fill_n(s.dp, spec.num_experts, 0.0);
  for (int64_t j = 0; j < k; ++j) s.dp[s.ids[j]] = s.dw[j];
  softmax_gradient(s.p, s.dp, spec.num_experts, nullptr, d_logits);
}

}  // namespace

void router_backward(Exec& exec, const MoeSpec& spec, const float* logits, const Routing& routing,
                     const float* d_weights, float* d_logits) {
  Arena::Scope scope(exec.arena);
  const int64_t num_experts = spec.num_experts, top_k = routing.top_k;
  const int64_t size = 2 * num_experts + 2 * top_k + (num_experts + top_k) / 2 + 8;  // doubles a worker
  double* scratch = exec.arena.alloc<double>(size * exec.pool.size());
  for_rows(exec, routing.num_tokens, [&](int64_t t, int worker) {
    Scratch s{};
    s.p = scratch + worker * size;
    s.dp = s.p + num_experts;
    s.v = s.dp + num_experts;
    s.dw = s.v + top_k;
    s.ids = reinterpret_cast<int32_t*>(s.dw + top_k);
    s.near = s.ids + top_k;
    int64_t k = 0;
    for (int64_t i = t * top_k; i < (t + 1) * top_k; ++i) {
      if (routing.topk_ids[i] < 0) continue;
      s.ids[k] = routing.topk_ids[i];
      s.dw[k++] = d_weights[i];
    }
    if (k > 0) token_gradient(spec, logits + t * num_experts, k, s, d_logits + t * num_experts);
  });
}

}  // namespace moxie
