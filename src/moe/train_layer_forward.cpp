// The forward pass of a feed-forward block in training: router, routing, capacity, experts, combine.
#include <cmath>
#include <cstring>

#include "moe/capacity.h"
#include "moe/expert_units.h"

namespace moxie {
namespace {

bool has_noise(const TrainContext& context, RouterNoise noise) {
  return context.training && context.router.choice != RouterChoice::hash && context.router.noise == noise;
}

const float* jittered(const TrainContext& context, int64_t layer, const float* x, int64_t n) {
  float* result = context.exec.arena.alloc<float>(context.num_tokens * n);
  const Rng rng = context.rng.at(static_cast<uint64_t>(layer));
  for_rows(context.exec, context.num_tokens, [&](int64_t t, int) {
    for (int64_t i = t * n; i < (t + 1) * n; ++i) result[i] = x[i] * jitter_factor(rng, context.router.jitter, i);
  });
  return result;
}

MatmulJob router_product(const float* x, int64_t num_tokens, const View& w, const float* bias, float* y) {
  return {.a = {.data = x, .stride = w.shape[1]},
          .b = {.data = w.f32(), .stride = stride_of(w)},
          .m = num_tokens,
          .n = w.shape[0],
          .k = w.shape[1],
          .c = y,
          .c_stride = w.shape[0],
          .bias = bias};
}

// logits += normal * softplus(noise_scale)
void add_noise(const TrainContext& context, int64_t layer, int64_t num_experts, const MoeSaved& saved) {
  const Rng rng = context.rng.at(static_cast<uint64_t>(layer));
  for_rows(context.exec, context.num_tokens, [&](int64_t t, int) {
    for (int64_t i = t * num_experts; i < (t + 1) * num_experts; ++i) {
      const float s = saved.noise_scale[i];
      const float softplus = std::max(s, 0.0f) + std::log1p(std::exp(-std::fabs(s)));
      saved.logits[i] += rng.normal(static_cast<uint64_t>(i)) * softplus;
    }
  });
}

// Logits of the router, always in f32: its ties decide experts; and the shared expert's gate with them.
void score(const TrainContext& context, const MoeSpec& spec, const MoeWeights& weights, int64_t layer, const float* x,
           MoeSaved& saved) {
  Arena& arena = context.exec.arena;
  const int64_t num_tokens = context.num_tokens;
  if (has_noise(context, RouterNoise::jitter)) saved.router_x = jittered(context, layer, x, hidden_size(weights));
  const float* router_x = saved.router_x != nullptr ? saved.router_x : x;
  saved.logits = arena.alloc<float>(num_tokens * spec.num_experts);
  MatmulJob jobs[3];
  size_t num_jobs = 0;
  jobs[num_jobs++] = router_product(router_x, num_tokens, weights.router, weights.router_bias, saved.logits);
  const bool gaussian = has_noise(context, RouterNoise::gaussian);
  if (gaussian) {
    MOXIE_CHECK(!weights.router_noise.empty());
    saved.noise_scale = arena.alloc<float>(num_tokens * spec.num_experts);
    jobs[num_jobs++] = router_product(router_x, num_tokens, weights.router_noise, nullptr, saved.noise_scale);
  }
  if (spec.shared == SharedExpert::sigmoid_gated) {
    saved.shared_logit = arena.alloc<float>(num_tokens);
    jobs[num_jobs++] = router_product(x, num_tokens, weights.shared_gate, nullptr, saved.shared_logit);
  }
  matmul(context.exec, Precision::f32, {jobs, num_jobs});
  if (gaussian) add_noise(context, layer, spec.num_experts, saved);
}

Routing choose(const TrainContext& context, const MoeSpec& spec, const MoeWeights& weights, const float* logits) {
  switch (context.router.choice) {
    case RouterChoice::token:
      return route(context.exec, spec, logits, context.num_tokens, weights.expert_bias);
    case RouterChoice::expert:
      return route_expert_choice(context.exec, spec, context.router, logits, context.num_tokens);
    case RouterChoice::hash:
      MOXIE_CHECK(context.token_ids != nullptr);
      return route_hash(context.exec, spec, context.token_ids, context.num_tokens);
  }
  MOXIE_CHECK(false);
  return {};
}

void choose_experts(const TrainContext& context, const MoeSpec& spec, const MoeWeights& weights, MoeSaved& saved) {
  Arena& arena = context.exec.arena;
  saved.chosen = choose(context, spec, weights, saved.logits);
  saved.routing = saved.chosen;
  saved.demand = arena.alloc<int64_t>(spec.num_experts);
  std::fill_n(saved.demand, spec.num_experts, 0);
  const int64_t num_choices = saved.chosen.num_tokens * saved.chosen.top_k;
  for (int64_t i = 0; i < num_choices; ++i) {
    if (saved.chosen.topk_ids[i] >= 0) ++saved.demand[saved.chosen.topk_ids[i]];
  }
  if (context.router.choice != RouterChoice::expert && context.router.capacity_factor > 0) {
    saved.routing.topk_ids = arena.alloc<int32_t>(num_choices);
    saved.routing.topk_weights = arena.alloc<float>(num_choices);
    std::copy_n(saved.chosen.topk_ids, num_choices, saved.routing.topk_ids);
    std::copy_n(saved.chosen.topk_weights, num_choices, saved.routing.topk_weights);
    const CapacityResult result = apply_capacity(context.router, saved.logits, saved.routing, arena);
    saved.dropped = result.dropped;
    saved.rerouted = result.rerouted;
  }
  saved.permutation = permute_tokens(saved.routing, arena);
}

void run_units(const TrainContext& context, int64_t hidden, const GluArgs& activation, const float* x,
               std::span<const ExpertUnit> units) {
  Exec& exec = context.exec;
  MatmulJob* jobs = exec.arena.alloc<MatmulJob>(2 * static_cast<int64_t>(units.size()));
  size_t num_jobs = 0;
  for (const ExpertUnit& unit : units) {
    const Expert& expert = *unit.expert;
    MatmulJob job{.a = {.data = x, .stride = hidden, .rows = unit.tokens},
                  .b = {.data = expert.gate.f32(), .stride = stride_of(expert.gate)},
                  .m = unit.num_rows,
                  .n = unit.width,
                  .k = hidden,
                  .c = unit.gate,
                  .c_stride = unit.width,
                  .bias = expert.gate_bias};
    jobs[num_jobs++] = job;
    job.b = {.data = expert.up.f32(), .stride = stride_of(expert.up)};
    job.c = unit.up;
    job.bias = expert.up_bias;
    jobs[num_jobs++] = job;
  }
  matmul(exec, context.precision, {jobs, num_jobs});
  for_unit_rows(exec, units, [&](const ExpertUnit& unit, int64_t row) {
    const int64_t at = row * unit.width;
    exec.kernels.glu(activation, unit.gate + at, unit.up + at, unit.width, unit.hidden + at);
  });
  num_jobs = 0;
  for (const ExpertUnit& unit : units) {
    jobs[num_jobs++] = {.a = {.data = unit.hidden, .stride = unit.width},
                        .b = {.data = unit.expert->down.f32(), .stride = stride_of(unit.expert->down)},
                        .m = unit.num_rows,
                        .n = hidden,
                        .k = unit.width,
                        .c = unit.out,
                        .c_stride = hidden,
                        .bias = unit.expert->down_bias};
  }
  matmul(exec, context.precision, {jobs, num_jobs});
}

// y[t] = sum over k of w[t, k] * row[row_of[t, k]], in k order, then the shared expert, as in inference.
void combine(Exec& exec, const MoeSaved& saved, const float* rows, const float* shared, int64_t hidden, float* y) {
  const Routing& routing = saved.routing;
  for_rows(exec, routing.num_tokens, [&](int64_t t, int) {
    float* out = y + t * hidden;
    std::memset(out, 0, static_cast<size_t>(hidden) * sizeof(float));
    for (int64_t i = t * routing.top_k; i < (t + 1) * routing.top_k; ++i) {
      const int64_t row = saved.permutation.row_of[i];
      if (row >= 0) exec.kernels.add_scaled(rows + row * hidden, routing.topk_weights[i], hidden, out);
    }
    if (shared != nullptr) {
      const float weight = saved.shared_logit != nullptr ? 1 / (1 + std::exp(-saved.shared_logit[t])) : 1.0f;
      exec.kernels.add_scaled(shared + t * hidden, weight, hidden, out);
    }
  });
}

}  // namespace

MoeSaved moe_forward(const TrainContext& context, const MoeSpec& spec, const MoeWeights& weights, int64_t layer,
                     const float* x, float* y) {
  Exec& exec = context.exec;
  const int64_t hidden = hidden_size(weights), width = weights.bank.experts[0].gate.shape[0];
  const int64_t num_tokens = context.num_tokens;
  MoeSaved saved;
  if (!spec.is_dense()) {
    score(context, spec, weights, layer, x, saved);
    choose_experts(context, spec, weights, saved);
  }
  const int64_t num_rows = spec.is_dense() ? num_tokens : saved.permutation.num_rows;
  saved.gate = exec.arena.alloc<float>(num_rows * width);
  saved.up = exec.arena.alloc<float>(num_rows * width);
  const bool has_shared = spec.shared != SharedExpert::none;
  const int64_t shared_width = has_shared ? weights.shared.gate.shape[0] : 0;
  if (has_shared) {
    saved.shared_gate = exec.arena.alloc<float>(num_tokens * shared_width);
    saved.shared_up = exec.arena.alloc<float>(num_tokens * shared_width);
  }

  Arena::Scope scope(exec.arena);
  const std::span<ExpertUnit> units = expert_units(exec.arena, spec, weights, saved, num_tokens);
  float* rows = spec.is_dense() ? y : exec.arena.alloc<float>((num_rows + (has_shared ? num_tokens : 0)) * hidden);
  float* out = rows;
  for (ExpertUnit& unit : units) {
    unit.hidden = exec.arena.alloc<float>(unit.num_rows * unit.width);
    unit.out = out;
    out += unit.num_rows * hidden;
  }
  run_units(context, hidden, weights.bank.activation, x, units);
  if (!spec.is_dense()) combine(exec, saved, rows, has_shared ? rows + num_rows * hidden : nullptr, hidden, y);
  return saved;
}

}  // namespace moxie
