// Row codecs, norms, rotary embedding, activations and vector helpers over the lanes of an instruction set.
#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/cpu/block_decode.h"
#include "kernels/cpu/dot.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/kernels.h"

namespace moxie::cpu {
namespace {

/// Calls whole(i) for each i at which a whole vector of n elements begins, then part(i, count) for the rest, if any.
template <class Isa, class Whole, class Part>
void for_vectors(int64_t n, const Whole& whole, const Part& part) {
  int64_t i = 0;
  for (; i + Isa::kLanes <= n; i += Isa::kLanes) whole(i);
  if (i < n) part(i, n - i);
}

/// y = f(x) element by element.
template <class Isa, class Map>
void map(const float* x, int64_t n, float* y, const Map& f) {
  for_vectors<Isa>(
      n, [&](int64_t i) { Isa::store(y + i, f(Isa::load(x + i))); },
      [&](int64_t i, int64_t count) { Isa::store_part(y + i, f(Isa::load_part(x + i, count)), count); });
}

/// z = f(x, y) element by element.
template <class Isa, class Map>
void map2(const float* x, const float* y, int64_t n, float* z, const Map& f) {
  for_vectors<Isa>(
      n, [&](int64_t i) { Isa::store(z + i, f(Isa::load(x + i), Isa::load(y + i))); },
      [&](int64_t i, int64_t count) {
        Isa::store_part(z + i, f(Isa::load_part(x + i, count), Isa::load_part(y + i, count)), count);
      });
}

template <class Isa, class Integer>
void encode_row(FormatId to, const float* x, int64_t k, void* out) noexcept {
  char* bytes = static_cast<char*>(out);
  if constexpr (!__is_same(Integer, void)) {
    if (is_integer_form(to)) return Integer::encode_row(to, x, k, out);
  }
  if (to == FormatId::f32) {
    for_vectors<Isa>(
        k, [&](int64_t i) { Isa::store(bytes + 4 * i, Isa::load(x + i)); },
        [&](int64_t i, int64_t count) { Isa::store_part(bytes + 4 * i, Isa::load_part(x + i, count), count); });
  } else if (to == FormatId::f16) {
    for_vectors<Isa>(
        k, [&](int64_t i) { Isa::store_f16(bytes + 2 * i, Isa::load(x + i)); },
        [&](int64_t i, int64_t count) { Isa::store_f16_part(bytes + 2 * i, Isa::load_part(x + i, count), count); });
  } else {
    for_vectors<Isa>(
        k, [&](int64_t i) { Isa::store_bf16(bytes + 2 * i, Isa::load(x + i)); },
        [&](int64_t i, int64_t count) { Isa::store_bf16_part(bytes + 2 * i, Isa::load_part(x + i, count), count); });
  }
}

template <class Isa, FormatId kFormat>
void decode_row_of(const WeightRow& row, int64_t k, float* out) {
  using Dot = F32Dot<Isa, kFormat>;
  for_vectors<Isa>(
      k, [&](int64_t i) { Isa::store(out + i, Dot::load_w(row, i)); },
      [&](int64_t i, int64_t count) { Isa::store_part(out + i, Dot::load_w_part(row, i, count), count); });
}

template <class Isa>
void decode_row(FormatId from, const void* data, const void* scales, int64_t k, float* out) noexcept {
  const WeightRow row{static_cast<const char*>(data), static_cast<const char*>(scales)};
  switch (from) {
    case FormatId::f32:
      return decode_row_of<Isa, FormatId::f32>(row, k, out);
    case FormatId::bf16:
      return decode_row_of<Isa, FormatId::bf16>(row, k, out);
    case FormatId::f16:
      return decode_row_of<Isa, FormatId::f16>(row, k, out);
    case FormatId::mxfp4:
      return decode_row_of<Isa, FormatId::mxfp4>(row, k, out);
    case FormatId::f8_e4m3:
      return decode_row_of<Isa, FormatId::f8_e4m3>(row, k, out);
    default:
      return decode_plain_row<Isa>(from, data, k, out);
  }
}

/// Sum of f(x): four vectors of lanes take turns, then are added pairwise, then lane by lane.
template <class Isa, class Map>
float sum_of(const float* x, int64_t n, const Map& f) {
  typename Isa::F sum[4] = {Isa::zero(), Isa::zero(), Isa::zero(), Isa::zero()};
  const int64_t stride = 4 * Isa::kLanes, whole = n / stride * stride;
  for (int64_t i = 0; i < whole; i += stride) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sum[j] = f(Isa::load(x + i + j * Isa::kLanes), sum[j]);
  }
  for (int64_t i = whole; i < n; i += Isa::kLanes) {
    const int64_t count = n - i < Isa::kLanes ? n - i : Isa::kLanes;
    float padded[Isa::kLanes];
    Isa::store(padded, f(Isa::load_part(x + i, count), Isa::zero()));
    sum[0] = Isa::add(sum[0], Isa::load_part(padded, count));
  }
  return sum_lanes<Isa>(Isa::add(Isa::add(sum[0], sum[1]), Isa::add(sum[2], sum[3])));
}

/// The largest of n > 0 elements; NaNs do not count.
template <class Isa>
float max_of(const float* x, int64_t n) {
  float max = -__builtin_inff();
  int64_t i = 0;
  if (n >= Isa::kLanes) {
    typename Isa::F lanes = Isa::set1(max);
    for (; i + Isa::kLanes <= n; i += Isa::kLanes) lanes = Isa::max(Isa::load(x + i), lanes);
    max = Isa::max_lane(lanes);
  }
  for (; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

template <class Isa>
void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* y) noexcept {
  using F = typename Isa::F;
  const float squares = sum_of<Isa>(x, n, [](F v, F sum) { return Isa::fma(v, v, sum); });
  const F factor = Isa::set1(1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps));
  map2<Isa>(x, weight, n, y, [&](F v, F w) { return Isa::mul(Isa::mul(v, factor), w); });
}

template <class Isa>
void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t n, float* y) noexcept {
  using F = typename Isa::F;
  const F mean = Isa::set1(sum_of<Isa>(x, n, [](F v, F sum) { return Isa::add(v, sum); }) / static_cast<float>(n));
  const float squares = sum_of<Isa>(x, n, [&](F v, F sum) {
    const F d = Isa::sub(v, mean);
    return Isa::fma(d, d, sum);
  });
  const F factor = Isa::set1(1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps));
  map2<Isa>(x, weight, n, y, [&](F v, F w) { return Isa::mul(Isa::mul(Isa::sub(v, mean), factor), w); });
  map2<Isa>(y, bias, n, y, [](F v, F b) { return Isa::add(v, b); });
}

template <class Isa>
void rope(float* x, const float* cos, const float* sin, int64_t dim, bool interleaved) noexcept {
  using F = typename Isa::F;
  const int64_t half = dim / 2;
  if (interleaved) {
    for (int64_t i = 0; i < half; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1];
      x[2 * i] = a * cos[i] - b * sin[i];
      x[2 * i + 1] = b * cos[i] + a * sin[i];
    }
    return;
  }
  const auto low = [](F a, F b, F c, F s) { return Isa::fnma(b, s, Isa::mul(a, c)); };
  const auto high = [](F a, F b, F c, F s) { return Isa::fma(a, s, Isa::mul(b, c)); };
  for_vectors<Isa>(
      half,
      [&](int64_t i) {
        const F a = Isa::load(x + i), b = Isa::load(x + half + i), c = Isa::load(cos + i), s = Isa::load(sin + i);
        Isa::store(x + i, low(a, b, c, s));
        Isa::store(x + half + i, high(a, b, c, s));
      },
      [&](int64_t i, int64_t count) {
        const F a = Isa::load_part(x + i, count), b = Isa::load_part(x + half + i, count);
        const F c = Isa::load_part(cos + i, count), s = Isa::load_part(sin + i, count);
        Isa::store_part(x + i, low(a, b, c, s), count);
        Isa::store_part(x + half + i, high(a, b, c, s), count);
      });
}

template <class Isa>
void glu(const GluArgs& args, const float* gate, const float* up, int64_t n, float* h) noexcept {
  using F = typename Isa::F;
  switch (args.kind) {
    case GluKind::swiglu:
      return map2<Isa>(gate, up, n, h, [](F g, F u) {
        const F one_plus = Isa::add(Isa::set1(1.0f), exp<Isa>(Isa::sub(Isa::zero(), g)));
        return Isa::mul(Isa::div(g, one_plus), u);
      });
    case GluKind::clamped_swiglu: {
      const F limit = Isa::set1(args.limit), minus_alpha = Isa::set1(-args.alpha), one = Isa::set1(1.0f);
      const F minus_limit = Isa::set1(-args.limit);
      return map2<Isa>(gate, up, n, h, [&](F g, F u) {
        g = Isa::min(limit, g);
        u = Isa::max(minus_limit, Isa::min(limit, u));
        return Isa::mul(Isa::div(g, Isa::add(one, exp<Isa>(Isa::mul(minus_alpha, g)))), Isa::add(u, one));
      });
    }
    case GluKind::geglu:
      // g / 2 (1 + tanh z) = g / (1 + exp(-2 z)), z = sqrt(2 / pi) (g + 0.044715 g^3)
      return map2<Isa>(gate, up, n, h, [](F g, F u) {
        const F inner = Isa::mul(g, Isa::fma(Isa::mul(g, g), Isa::set1(0.044715f), Isa::set1(1.0f)));
        const F power = exp<Isa>(Isa::mul(inner, Isa::set1(-1.5957691216f)));
        return Isa::mul(Isa::div(g, Isa::add(Isa::set1(1.0f), power)), u);
      });
  }
}

template <class Isa>
void add_scaled(const float* x, float factor, int64_t n, float* y) noexcept {
  using F = typename Isa::F;
  const F f = Isa::set1(factor);
  map2<Isa>(x, y, n, y, [&](F a, F b) { return Isa::fma(a, f, b); });
}

template <class Isa>
void scale(const float* x, float factor, int64_t n, float* y) noexcept {
  using F = typename Isa::F;
  const F f = Isa::set1(factor);
  map<Isa>(x, n, y, [&](F a) { return Isa::mul(a, f); });
}

template <class Isa>
void softmax(float* x, int64_t n) noexcept {
  using F = typename Isa::F;
  const F shift = Isa::set1(max_of<Isa>(x, n));
  map<Isa>(x, n, x, [&](F v) { return exp<Isa>(Isa::sub(v, shift)); });
  const F total = Isa::set1(sum_of<Isa>(x, n, [](F v, F sum) { return Isa::add(v, sum); }));
  map<Isa>(x, n, x, [&](F v) { return Isa::div(v, total); });
}

}  // namespace
}  // namespace moxie::cpu
