// Backward passes of norms, activations and softmax, cross-entropy and AdamW over the lanes of an instruction set. Not
// the training products: those are in matmul.h.
#pragma once

#include <cstdint>

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/kernels.h"

namespace moxie::cpu {
namespace {

/// How a body written once reads and writes a whole vector, or the rest of a row: lanes beyond it read as 0.
template <class Isa>
struct WholeLanes {
  typename Isa::F load(const float* p) const { return Isa::load(p); }
  void store(float* p, typename Isa::F v) const { Isa::store(p, v); }
};
template <class Isa>
struct PartLanes {
  int64_t count;
  typename Isa::F load(const float* p) const { return Isa::load_part(p, count); }
  void store(float* p, typename Isa::F v) const { Isa::store_part(p, v, count); }
};

/// body(lanes, i) for each vector of n elements.
template <class Isa, class Body>
void for_lanes(int64_t n, const Body& body) {
  for_vectors<Isa>(
      n, [&](int64_t i) { body(WholeLanes<Isa>{}, i); },
      [&](int64_t i, int64_t count) { body(PartLanes<Isa>{count}, i); });
}

/// Sum of what body(lanes, i, sum) adds to `sum`, in the order of sum_of; lanes beyond n do not count.
template <class Isa, class Body>
float sum_over(int64_t n, const Body& body) {
  typename Isa::F sum[4] = {Isa::zero(), Isa::zero(), Isa::zero(), Isa::zero()};
  const int64_t stride = 4 * Isa::kLanes, whole = n / stride * stride;
  for (int64_t i = 0; i < whole; i += stride) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sum[j] = body(WholeLanes<Isa>{}, i + j * Isa::kLanes, sum[j]);
  }
  int64_t i = whole;
  for (; i + Isa::kLanes <= n; i += Isa::kLanes) sum[0] = body(WholeLanes<Isa>{}, i, sum[0]);
  if (i < n) {
    float padded[Isa::kLanes];
    Isa::store(padded, body(PartLanes<Isa>{n - i}, i, Isa::zero()));
    sum[0] = Isa::add(sum[0], Isa::load_part(padded, n - i));
  }
  return sum_lanes<Isa>(Isa::add(Isa::add(sum[0], sum[1]), Isa::add(sum[2], sum[3])));
}

template <class Isa>
float dot(const float* x, const float* y, int64_t n) noexcept {
  return sum_over<Isa>(n, [&](auto lanes, int64_t i, typename Isa::F sum) {
    return Isa::fma(lanes.load(x + i), lanes.load(y + i), sum);
  });
}

template <class Isa>
void rms_norm_backward(const float* x, const float* weight, float eps, const float* dy, int64_t n, float* dx,
                       float* d_weight) noexcept {
  using F = typename Isa::F;
  const auto count = static_cast<float>(n);
  const float inverse = 1.0f / __builtin_sqrtf(dot<Isa>(x, x, n) / count + eps);
  const float gx = sum_over<Isa>(n, [&](auto lanes, int64_t i, F sum) {
    return Isa::fma(Isa::mul(lanes.load(dy + i), lanes.load(weight + i)), lanes.load(x + i), sum);
  });
  const F factor = Isa::set1(inverse), along = Isa::set1(gx * inverse * inverse / count);
  for_lanes<Isa>(n, [&](auto lanes, int64_t i) {
    const F v = lanes.load(x + i), g = lanes.load(dy + i);
    const F d = Isa::fnma(along, v, Isa::mul(g, lanes.load(weight + i)));
    lanes.store(dx + i, Isa::fma(d, factor, lanes.load(dx + i)));
    lanes.store(d_weight + i, Isa::fma(g, Isa::mul(v, factor), lanes.load(d_weight + i)));
  });
}

template <class Isa>
void layer_norm_backward(const float* x, const float* weight, float eps, const float* dy, int64_t n, float* dx,
                         float* d_weight, float* d_bias) noexcept {
  using F = typename Isa::F;
  const auto count = static_cast<float>(n);
  const F mean = Isa::set1(sum_of<Isa>(x, n, [](F v, F sum) { return Isa::add(v, sum); }) / count);
  const float squares = sum_of<Isa>(x, n, [&](F v, F sum) {
    const F d = Isa::sub(v, mean);
    return Isa::fma(d, d, sum);
  });
  const F factor = Isa::set1(1.0f / __builtin_sqrtf(squares / count + eps));
  const auto normed = [&](auto lanes, int64_t i) { return Isa::mul(Isa::sub(lanes.load(x + i), mean), factor); };
  const F g_mean = Isa::set1(dot<Isa>(dy, weight, n) / count);
  const float g_normed = sum_over<Isa>(n, [&](auto lanes, int64_t i, F sum) {
    return Isa::fma(Isa::mul(lanes.load(dy + i), lanes.load(weight + i)), normed(lanes, i), sum);
  });
  const F along = Isa::set1(g_normed / count);
  for_lanes<Isa>(n, [&](auto lanes, int64_t i) {
    const F v = normed(lanes, i), g = lanes.load(dy + i);
    const F d = Isa::fnma(v, along, Isa::sub(Isa::mul(g, lanes.load(weight + i)), g_mean));
    lanes.store(dx + i, Isa::fma(d, factor, lanes.load(dx + i)));
    lanes.store(d_weight + i, Isa::fma(g, v, lanes.load(d_weight + i)));
    lanes.store(d_bias + i, Isa::add(g, lanes.load(d_bias + i)));
  });
}

/// h = a(gate) b(up): both factors and their derivatives.
template <class Isa>
struct GluFactors {
  typename Isa::F a, da, b, db;
};

template <class Isa>
typename Isa::F sigmoid_of_minus(typename Isa::F minus_z) {
  const typename Isa::F one = Isa::set1(1.0f);
  return Isa::div(one, Isa::add(one, exp<Isa>(minus_z)));
}

template <class Isa, GluKind kKind>
GluFactors<Isa> glu_factors(const GluArgs& args, typename Isa::F g, typename Isa::F u) {
  using F = typename Isa::F;
  const F one = Isa::set1(1.0f);
  if constexpr (kKind == GluKind::swiglu) {
    const F s = sigmoid_of_minus<Isa>(Isa::sub(Isa::zero(), g));
    return {Isa::mul(g, s), Isa::mul(s, Isa::fma(g, Isa::sub(one, s), one)), u, one};
  } else if constexpr (kKind == GluKind::clamped_swiglu) {
    const F limit = Isa::set1(args.limit), minus_limit = Isa::set1(-args.limit), alpha = Isa::set1(args.alpha);
    const F c = Isa::min(limit, g), clamped = Isa::max(minus_limit, Isa::min(limit, u));
    const F s = sigmoid_of_minus<Isa>(Isa::mul(Isa::set1(-args.alpha), c));
    const F slope = Isa::mul(s, Isa::fma(Isa::mul(alpha, c), Isa::sub(one, s), one));
    return {Isa::mul(c, s), Isa::where_le(g, limit, slope), Isa::add(clamped, one),
            Isa::where_le(minus_limit, u, Isa::where_le(u, limit, one))};
  } else {
    // (1 + tanh z) / 2 = s(2 z) and (1 - tanh^2 z) / 2 = 2 s (1 - s), z = sqrt(2 / pi) (g + 0.044715 g^3)
    const F square = Isa::mul(g, g), cubic = Isa::set1(0.044715f), twice_c = Isa::set1(1.5957691216f);
    const F inner = Isa::mul(g, Isa::fma(square, cubic, one));
    const F s = sigmoid_of_minus<Isa>(Isa::mul(inner, Isa::set1(-1.5957691216f)));
    const F dz = Isa::mul(twice_c, Isa::fma(square, Isa::set1(3 * 0.044715f), one));
    return {Isa::mul(g, s), Isa::fma(Isa::mul(g, Isa::mul(s, Isa::sub(one, s))), dz, s), u, one};
  }
}

template <class Isa, GluKind kKind>
float glu_backward_of(const GluArgs& args, const float* gate, const float* up, const float* dh, float weight, int64_t n,
                      float* d_gate, float* d_up, float* h) {
  using F = typename Isa::F;
  const F w = Isa::set1(weight);
  return sum_over<Isa>(n, [&](auto lanes, int64_t i, F sum) {
    const GluFactors<Isa> f = glu_factors<Isa, kKind>(args, lanes.load(gate + i), lanes.load(up + i));
    const F d = lanes.load(dh + i), wd = Isa::mul(w, d), value = Isa::mul(f.a, f.b);
    lanes.store(d_gate + i, Isa::mul(wd, Isa::mul(f.da, f.b)));
    lanes.store(d_up + i, Isa::mul(wd, Isa::mul(f.a, f.db)));
    lanes.store(h + i, Isa::mul(w, value));
    return Isa::fma(d, value, sum);
  });
}

template <class Isa>
float glu_backward(const GluArgs& args, const float* gate, const float* up, const float* dh, float weight, int64_t n,
                   float* d_gate, float* d_up, float* h) noexcept {
  switch (args.kind) {
    case GluKind::swiglu:
      return glu_backward_of<Isa, GluKind::swiglu>(args, gate, up, dh, weight, n, d_gate, d_up, h);
    case GluKind::clamped_swiglu:
      return glu_backward_of<Isa, GluKind::clamped_swiglu>(args, gate, up, dh, weight, n, d_gate, d_up, h);
    case GluKind::geglu:
      return glu_backward_of<Isa, GluKind::geglu>(args, gate, up, dh, weight, n, d_gate, d_up, h);
  }
  return 0;
}

template <class Isa>
float softmax_backward(const float* p, const float* dp, float factor, int64_t n, float* ds) noexcept {
  using F = typename Isa::F;
  const float sum = dot<Isa>(p, dp, n);
  const F shift = Isa::set1(sum), f = Isa::set1(factor);
  map2<Isa>(p, dp, n, ds, [&](F a, F d) { return Isa::mul(Isa::mul(f, a), Isa::sub(d, shift)); });
  return sum;
}

template <class Isa>
float cross_entropy(float* logits, int64_t n, int64_t target, float factor) noexcept {
  using F = typename Isa::F;
  const float max = max_of<Isa>(logits, n), below_max = max - logits[target];
  const F shift = Isa::set1(max);
  const float total = sum_over<Isa>(n, [&](auto lanes, int64_t i, F sum) {
    const F power = exp<Isa>(Isa::sub(lanes.load(logits + i), shift));
    lanes.store(logits + i, power);
    return Isa::add(sum, power);
  });
  scale<Isa>(logits, factor / total, n, logits);
  logits[target] -= factor;
  return below_max + __builtin_logf(total);
}

template <class Isa>
void adamw(const AdamwArgs& args) noexcept {
  using F = typename Isa::F;
  const F grad_scale = Isa::set1(args.grad_scale), eps = Isa::set1(args.eps);
  const F beta1 = Isa::set1(args.beta1), rest1 = Isa::set1(1.0f - args.beta1);
  const F beta2 = Isa::set1(args.beta2), rest2 = Isa::set1(1.0f - args.beta2);
  const F rate = Isa::set1(args.lr / args.bias1), inverse_bias2 = Isa::set1(1.0f / args.bias2);
  const F kept = Isa::set1(static_cast<float>(1 - static_cast<double>(args.lr) * args.weight_decay));
  for_lanes<Isa>(args.n, [&](auto lanes, int64_t i) {
    const F g = Isa::mul(lanes.load(args.grad + i), grad_scale);
    const F m = Isa::fma(beta1, lanes.load(args.m + i), Isa::mul(rest1, g));
    const F v = Isa::fma(beta2, lanes.load(args.v + i), Isa::mul(Isa::mul(rest2, g), g));
    const F size = Isa::add(Isa::sqrt(Isa::mul(v, inverse_bias2)), eps);
    lanes.store(args.m + i, m);
    lanes.store(args.v + i, v);
    const F step = Isa::div(Isa::mul(rate, m), size);
    lanes.store(args.weight + i, Isa::sub(Isa::mul(lanes.load(args.weight + i), kept), step));
  });
}

}  // namespace
}  // namespace moxie::cpu
