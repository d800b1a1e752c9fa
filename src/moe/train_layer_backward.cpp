// The backward pass of a feed-forward block: combine backward is dispatch, dispatch backward is combine. No expert's
// output is kept: the gradient of a routing weight is <dh, h>, from the hidden rows that are computed again anyway.
#include <cmath>

#include "moe/expert_units.h"
#include "moe/losses.h"

namespace moxie {
namespace {

struct Backward {
  const TrainContext& context;
  const MoeSpec& spec;
  const MoeWeights& weights;
  int64_t layer;
  const MoeSaved& saved;
  const float* x;
  const float* dy;
  const Gradients& gradients;
  float* dx;
  int64_t hidden;  // H
  std::span<ExpertUnit> units;

  Exec& exec() const { return context.exec; }
  Arena& arena() const { return context.exec.arena; }
};

float sigmoid(float x) {
  return 1 / (1 + std::exp(-x));
}

// dw [n, k] = [dw +] sum over rows of d [rows, n]^T in [rows, k]; both operands are k-major over rows.
MatmulJob weight_gradient(const MatmulOperand& d, const MatmulOperand& in, int64_t num_rows, const View& w,
                          const Gradients& gradients) {
  return {.a = d,
          .b = in,
          .m = w.shape[0],
          .n = w.shape[1],
          .k = num_rows,
          .c = gradients.of(w),
          .c_stride = stride_of(w),
          .accumulate = !gradients.anew};
}

// dx [rows, k] = [dx +] d [rows, n] w [n, k]
MatmulJob input_gradient(const MatmulOperand& d, int64_t num_rows, const View& w, float* dx, bool accumulate) {
  return {.a = d,
          .b = {.data = w.f32(), .stride = stride_of(w), .k_major = true},
          .m = num_rows,
          .n = w.shape[1],
          .k = w.shape[0],
          .c = dx,
          .c_stride = w.shape[1],
          .accumulate = accumulate};
}

// Gives each unit its scratch, the weights of its rows and a place for their gradients. Routed rows lie side by side in
// d_rows [R, H]; a shared or dense network adds to dx at once.
void place_units(const Backward& b, float* d_rows, const float* row_weight, float* d_row_weight,
                 const float* shared_weight, float* d_shared_weight) {
  for (ExpertUnit& unit : b.units) {
    unit.hidden = b.arena().alloc<float>(unit.num_rows * unit.width);
    if (unit.tokens == nullptr) {
      unit.out = b.dx;
      unit.adds = true;
      unit.weight = shared_weight;
      unit.d_weight = d_shared_weight;
      continue;
    }
    const int64_t first = unit.tokens - b.saved.permutation.token_of;
    unit.out = d_rows + first * b.hidden;
    unit.weight = row_weight + first;
    unit.d_weight = d_row_weight + first;
  }
}

// hidden = gradient of the hidden rows, then gate and up become their gradients, hidden the weighted hidden rows.
void hidden_backward(const Backward& b, MatmulJob* jobs) {
  size_t num_jobs = 0;
  for (const ExpertUnit& unit : b.units) {
    const MatmulOperand dy{.data = b.dy, .stride = b.hidden, .rows = unit.tokens};
    jobs[num_jobs++] = input_gradient(dy, unit.num_rows, unit.expert->down, unit.hidden, false);
  }
  matmul(b.exec(), b.context.precision, {jobs, num_jobs});
  const KernelSet& kernels = b.exec().kernels;
  for_unit_rows(b.exec(), b.units, [&](const ExpertUnit& unit, int64_t row) {
    float *gate = unit.gate + row * unit.width, *up = unit.up + row * unit.width;
    float* hidden = unit.hidden + row * unit.width;
    float d_weight = kernels.glu_backward(b.weights.bank.activation, gate, up, hidden, unit.row_weight(row), unit.width,
                                          gate, up, hidden);
    if (unit.d_weight == nullptr) return;
    if (unit.expert->down_bias != nullptr) {
      d_weight += kernels.dot(b.dy + unit.token(row) * b.hidden, unit.expert->down_bias, b.hidden);
    }
    unit.d_weight[row] = d_weight;
  });
}

// Gradients of the three matrices, and of the units' input rows. The product with up adds to the one with gate, so it
// is a region of its own.
void products_backward(const Backward& b, MatmulJob* jobs) {
  size_t num_jobs = 0;
  for (const ExpertUnit& unit : b.units) {
    const Expert& expert = *unit.expert;
    const int64_t rows = unit.num_rows;
    const MatmulOperand dy{.data = b.dy, .stride = b.hidden, .k_major = true, .rows = unit.tokens};
    const MatmulOperand x{.data = b.x, .stride = b.hidden, .k_major = true, .rows = unit.tokens};
    const auto of_rows = [&](const float* data) {
      return MatmulOperand{.data = data, .stride = unit.width, .k_major = true};
    };
    jobs[num_jobs++] = weight_gradient(dy, of_rows(unit.hidden), rows, expert.down, b.gradients);
    jobs[num_jobs++] = weight_gradient(of_rows(unit.gate), x, rows, expert.gate, b.gradients);
    jobs[num_jobs++] = weight_gradient(of_rows(unit.up), x, rows, expert.up, b.gradients);
    jobs[num_jobs++] =
        input_gradient({.data = unit.gate, .stride = unit.width}, rows, expert.gate, unit.out, unit.adds);
  }
  matmul(b.exec(), b.context.precision, {jobs, num_jobs});
  num_jobs = 0;
  for (const ExpertUnit& unit : b.units) {
    jobs[num_jobs++] =
        input_gradient({.data = unit.up, .stride = unit.width}, unit.num_rows, unit.expert->up, unit.out, true);
  }
  matmul(b.exec(), b.context.precision, {jobs, num_jobs});
}

// Column sums, rows in order; a unit's sums by one thread.
void biases_backward(const Backward& b) {
  const KernelSet& kernels = b.exec().kernels;
  b.exec().pool.run(static_cast<int64_t>(b.units.size()), [&](int64_t i, int) {
    const ExpertUnit& unit = b.units[static_cast<size_t>(i)];
    float* d_gate = b.gradients.of(unit.expert->gate_bias);
    float* d_up = b.gradients.of(unit.expert->up_bias);
    float* d_down = b.gradients.of(unit.expert->down_bias);
    for (int64_t row = 0; row < unit.num_rows; ++row) {
      if (d_gate != nullptr) kernels.add_scaled(unit.gate + row * unit.width, 1.0f, unit.width, d_gate);
      if (d_up != nullptr) kernels.add_scaled(unit.up + row * unit.width, 1.0f, unit.width, d_up);
      if (d_down == nullptr) continue;
      kernels.add_scaled(b.dy + unit.token(row) * b.hidden, unit.row_weight(row), b.hidden, d_down);
    }
  });
}

// dx[t] += the gradients of its rows, in k order.
void gather_rows(const Backward& b, const float* d_rows) {
  const int64_t top_k = b.saved.routing.top_k;
  for_rows(b.exec(), b.context.num_tokens, [&](int64_t t, int) {
    for (int64_t i = t * top_k; i < (t + 1) * top_k; ++i) {
      const int64_t row = b.saved.permutation.row_of[i];
      if (row >= 0) b.exec().kernels.add_scaled(d_rows + row * b.hidden, 1.0f, b.hidden, b.dx + t * b.hidden);
    }
  });
}

// Through the sigmoid that weighs the shared expert: weight [T] = s, d_weight [T] its gradient.
void shared_gate_backward(const Backward& b, const float* weight, float* d_weight) {
  const View& w = b.weights.shared_gate;
  const int64_t num_tokens = b.context.num_tokens;
  for_rows(b.exec(), num_tokens, [&](int64_t t, int) {
    d_weight[t] *= weight[t] * (1 - weight[t]);
    b.exec().kernels.add_scaled(w.f32(), d_weight[t], b.hidden, b.dx + t * b.hidden);
  });
  const MatmulJob job = weight_gradient({.data = d_weight, .stride = 1, .k_major = true},
                                        {.data = b.x, .stride = b.hidden, .k_major = true}, num_tokens, w, b.gradients);
  matmul(b.exec(), Precision::f32, {&job, 1});
}

// The gradient of x W_noise: logits = ... + normal * softplus(x W_noise).
const float* noise_backward(const Backward& b, const float* d_logits) {
  const int64_t num_experts = b.spec.num_experts;
  float* d_scale = b.arena().alloc<float>(b.context.num_tokens * num_experts);
  const Rng rng = b.context.rng.at(static_cast<uint64_t>(b.layer));
  for_rows(b.exec(), b.context.num_tokens, [&](int64_t t, int) {
    for (int64_t i = t * num_experts; i < (t + 1) * num_experts; ++i) {
      d_scale[i] = d_logits[i] * rng.normal(static_cast<uint64_t>(i)) * sigmoid(b.saved.noise_scale[i]);
    }
  });
  return d_scale;
}

// From the gradients of the routing weights, rows in expert order, to router and dx. In f32, as the router itself.
void through_router(const Backward& b, const float* d_row_weight, float* d_logits) {
  const Routing& routing = b.saved.routing;
  const int64_t num_tokens = b.context.num_tokens, num_experts = b.spec.num_experts;
  float* d_weights = b.arena().alloc<float>(num_tokens * routing.top_k);
  for (int64_t i = 0; i < num_tokens * routing.top_k; ++i) {
    const int64_t row = b.saved.permutation.row_of[i];
    d_weights[i] = row < 0 ? 0 : d_row_weight[row];
  }
  router_backward(b.exec(), weighing_rule(b.spec, b.context.router.choice), b.saved.logits, b.saved.chosen, d_weights,
                  d_logits);

  const bool jittered = b.saved.router_x != nullptr;
  float* dx = jittered ? b.arena().alloc<float>(num_tokens * b.hidden) : b.dx;
  const MatmulOperand x{.data = jittered ? b.saved.router_x : b.x, .stride = b.hidden, .k_major = true};
  const auto backward = [&](const View& w, const float* d, bool accumulate) {
    const MatmulJob jobs[] = {
        weight_gradient({.data = d, .stride = num_experts, .k_major = true}, x, num_tokens, w, b.gradients),
        input_gradient({.data = d, .stride = num_experts}, num_tokens, w, dx, accumulate)};
    matmul(b.exec(), Precision::f32, jobs);
  };
  backward(b.weights.router, d_logits, !jittered);
  if (b.weights.router_bias != nullptr) {
    add_column_sums(b.exec(), d_logits, num_tokens, num_experts, b.gradients.of(b.weights.router_bias));
  }
  if (b.saved.noise_scale != nullptr) backward(b.weights.router_noise, noise_backward(b, d_logits), true);
  if (!jittered) return;
  const Rng rng = b.context.rng.at(static_cast<uint64_t>(b.layer));
  for_rows(b.exec(), num_tokens, [&](int64_t t, int) {
    for (int64_t i = t * b.hidden; i < (t + 1) * b.hidden; ++i) {
      b.dx[i] += dx[i] * jitter_factor(rng, b.context.router.jitter, i);
    }
  });
}

}  // namespace

void moe_backward(const TrainContext& context, const MoeSpec& spec, const MoeWeights& weights, int64_t layer,
                  const MoeSaved& saved, const float* x, const float* dy, float* d_logits, const Gradients& gradients,
                  float* dx) {
  Arena& arena = context.exec.arena;
  Arena::Scope scope(arena);
  const int64_t num_tokens = context.num_tokens;
  const Backward b{context,
                   spec,
                   weights,
                   layer,
                   saved,
                   x,
                   dy,
                   gradients,
                   dx,
                   hidden_size(weights),
                   expert_units(arena, spec, weights, saved, num_tokens)};
  const int64_t num_rows = saved.permutation.num_rows;
  float* row_weight = arena.alloc<float>(num_rows);
  for (int64_t i = 0; i < saved.routing.num_tokens * saved.routing.top_k; ++i) {
    if (saved.permutation.row_of[i] >= 0) row_weight[saved.permutation.row_of[i]] = saved.routing.topk_weights[i];
  }
  float *shared_weight = nullptr, *d_shared_weight = nullptr;
  if (saved.shared_logit != nullptr) {
    shared_weight = arena.alloc<float>(num_tokens);
    d_shared_weight = arena.alloc<float>(num_tokens);
    for (int64_t t = 0; t < num_tokens; ++t) shared_weight[t] = sigmoid(saved.shared_logit[t]);
  }
  float* d_row_weight = arena.alloc<float>(num_rows);
  {
    Arena::Scope experts_scope(arena);
    float* d_rows = arena.alloc<float>(num_rows * b.hidden);
    MatmulJob* jobs = arena.alloc<MatmulJob>(4 * static_cast<int64_t>(b.units.size()));
    place_units(b, d_rows, row_weight, d_row_weight, shared_weight, d_shared_weight);
    hidden_backward(b, jobs);
    products_backward(b, jobs);
    if (spec.expert_bias || weights.bank.experts[0].down_bias != nullptr) biases_backward(b);
    if (!spec.is_dense()) gather_rows(b, d_rows);
  }
  if (shared_weight != nullptr) shared_gate_backward(b, shared_weight, d_shared_weight);
  if (!spec.is_dense() && context.router.choice != RouterChoice::hash) through_router(b, d_row_weight, d_logits);
}

}  // namespace moxie
