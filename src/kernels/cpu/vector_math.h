// Reductions and exp on the lanes of an instruction set. Each result depends on its own inputs only.
#pragma once

#include <cstdint>

namespace moxie::cpu {
namespace {

/// The lanes of v added by the set's tree.
template <class Isa>
float sum_lanes(typename Isa::F v) {
  return _mm_cvtss_f32(Isa::sum4(v, v, v, v));
}

/// exp(x) within 1.5 ulp; gradual underflow, inf above 88.72, NaN stays NaN.
template <class Isa>
typename Isa::F exp(typename Isa::F x) {
  using F = typename Isa::F;
  // exp(x) = 2^n exp(r), n = round(x / ln 2), r = x - n ln 2 in two parts, |r| <= ln 2 / 2: Taylor to r^7 (0.1 ulp).
  const F clamped = Isa::max(Isa::set1(-110.0f), Isa::min(Isa::set1(90.0f), x));  // a NaN passes both
  const F n = Isa::round(Isa::mul(clamped, Isa::set1(0x1.715476p+0f)));
  const F high = Isa::fnma(n, Isa::set1(0x1.62e4p-1f), clamped);  // 15 bits: n times it is exact
  const F r = Isa::fnma(n, Isa::set1(0x1.7f7d1cp-20f), high);
  F p = Isa::set1(1.0f / 5040);
  p = Isa::fma(p, r, Isa::set1(1.0f / 720));
  p = Isa::fma(p, r, Isa::set1(1.0f / 120));
  p = Isa::fma(p, r, Isa::set1(1.0f / 24));
  p = Isa::fma(p, r, Isa::set1(1.0f / 6));
  p = Isa::fma(p, r, Isa::set1(0.5f));
  p = Isa::fma(p, r, Isa::set1(1.0f));
  p = Isa::fma(p, r, Isa::set1(1.0f));
  return Isa::scale_by_power(p, n);
}

template <class Isa>
float exp_scalar(float x) {
  float lanes[Isa::kLanes];
  Isa::store(lanes, exp<Isa>(Isa::set1(x)));
  return lanes[0];
}

}  // namespace
}  // namespace moxie::cpu
