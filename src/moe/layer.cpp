#include "moe/layer.h"

#include <cmath>
#include <cstring>

namespace moxie {
namespace {

// The shared expert's weight for each token: 1, or the sigmoid of one learned logit (Qwen2-MoE).
const float* shared_weights(Exec& exec, const MoeWeights& weights, Rows& x) {
  if (weights.shared_gate.empty()) return nullptr;
  float* gate = exec.arena.alloc<float>(x.num_rows());
  const LinearJob job{.w = weights.shared_gate, .y = gate, .y_stride = 1};
  linear(exec, x, {&job, 1}, /*exact=*/true);
  for (int64_t t = 0; t < x.num_rows(); ++t) gate[t] = 1 / (1 + std::exp(-gate[t]));
  return gate;
}

// y[t] = sum over k of w[t, k] * row[row_of[t, k]], in k order, then the shared expert: one order for every batch.
void combine(Exec& exec, const Routing& routing, const TokenPermutation& permutation, const float* rows,
             const float* shared, const float* shared_weight, int64_t hidden_size, float* y) {
  const auto body = [&](int64_t t, int) {
    float* out = y + t * hidden_size;
    std::memset(out, 0, static_cast<size_t>(hidden_size) * sizeof(float));
    for (int64_t k = 0; k < routing.top_k; ++k) {
      const int64_t i = t * routing.top_k + k;
      exec.kernels.add_scaled(rows + permutation.row_of[i] * hidden_size, routing.topk_weights[i], hidden_size, out);
    }
    if (shared != nullptr) {
      const float weight = shared_weight != nullptr ? shared_weight[t] : 1.0f;
      exec.kernels.add_scaled(shared + t * hidden_size, weight, hidden_size, out);
    }
  };
  for_rows(exec, routing.num_tokens, body);
}

}  // namespace

MoeStep moe_layer(Exec& exec, const MoeSpec& spec, const MoeWeights& weights, const float* x, int64_t num_tokens,
                  float* y) {
  const int64_t hidden_size = weights.bank.experts[0].gate.shape[1];
  Rows rows(x, num_tokens, hidden_size);
  if (spec.is_dense()) {
    const ExpertRun run{&weights.bank.experts[0], nullptr, num_tokens, y};
    run_experts(exec, rows, {&run, 1}, weights.bank.activation);
    lap(exec, StepWork::experts);
    return {};
  }

  float* logits = exec.arena.alloc<float>(num_tokens * spec.num_experts);
  const LinearJob job{.w = weights.router, .bias = weights.router_bias, .y = logits, .y_stride = spec.num_experts};
  linear(exec, rows, {&job, 1}, /*exact=*/true);
  const Routing routing = route(exec, spec, logits, num_tokens, weights.expert_bias);
  lap(exec, StepWork::router);

  Arena::Scope scope(exec.arena);
  const TokenPermutation permutation = permute_tokens(routing, exec.arena);
  const bool has_shared = spec.shared != SharedExpert::none;
  float* out = exec.arena.alloc<float>(permutation.num_rows * hidden_size);
  float* shared = has_shared ? exec.arena.alloc<float>(num_tokens * hidden_size) : nullptr;
  ExpertRun* runs = exec.arena.alloc<ExpertRun>(spec.num_experts + 1);
  size_t num_runs = 0;
  if (has_shared) runs[num_runs++] = {&weights.shared, nullptr, num_tokens, shared};
  for (int64_t e = 0; e < spec.num_experts; ++e) {
    const int32_t begin = permutation.expert_begin[e], end = permutation.expert_begin[e + 1];
    if (begin == end) continue;
    runs[num_runs++] = {&weights.bank.experts[static_cast<size_t>(e)], permutation.token_of + begin, end - begin,
                        out + begin * hidden_size};
  }
  lap(exec, StepWork::permute);
  const float* shared_weight = has_shared ? shared_weights(exec, weights, rows) : nullptr;
  run_experts(exec, rows, {runs, num_runs}, weights.bank.activation);
  lap(exec, StepWork::experts);
  combine(exec, routing, permutation, out, shared, shared_weight, hidden_size, y);
  lap(exec, StepWork::permute);
  return {logits, routing};
}

}  // namespace moxie
