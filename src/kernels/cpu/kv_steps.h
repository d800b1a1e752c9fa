// Parts of KV pages (kernels/kv_page.h) as a sum reads them: step by step, a vector of lanes at a time, in f32.
//
// Steps are the elements of keys, with lanes over positions; or the positions of values, with lanes over elements.
// Decoding is exact, so a sum has the same bits whether it decodes in registers or reads what unpack_steps has written.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"

namespace moxie::cpu {
namespace {

template <class Isa>
struct F32Steps {
  const float* data;
  int64_t stride;  // lanes of a step
  typename Isa::F load(int64_t step, int64_t lane) const { return Isa::load(data + step * stride + lane); }
};

template <class Isa>
struct F16Steps {
  const uint16_t* data;
  int64_t stride;
  typename Isa::F load(int64_t step, int64_t lane) const { return Isa::load_f16(data + step * stride + lane); }
};

template <class Isa>
struct Bf16Steps {
  const uint16_t* data;
  int64_t stride;
  typename Isa::F load(int64_t step, int64_t lane) const {
    return Isa::load_bf16_half(data + 2 * (step / 2 * stride + lane), step % 2);
  }
};

template <class Isa>
struct Q8Keys {
  const int8_t* data;
  const float* scales;  // [steps / 32][kKeyBlock]
  typename Isa::F load(int64_t step, int64_t lane) const {
    return Isa::mul(Isa::load(scales + step / 32 * kKeyBlock + lane), Isa::load_i8(data + step * kKeyBlock + lane));
  }
};

template <class Isa>
struct Q8Values {
  const int8_t* data;
  int64_t stride;
  const float* scales;  // [kKeyBlock][num_scales]
  int64_t num_scales;
  typename Isa::F load(int64_t step, int64_t lane) const {
    return Isa::mul(Isa::set1(scales[step * num_scales + lane / 32]), Isa::load_i8(data + step * stride + lane));
  }
};

/// A step is a pair of bf16, undecoded.
template <class Isa>
struct PairSteps {
  const uint16_t* data;
  int64_t stride;
  typename Isa::F load(int64_t step, int64_t lane) const { return Isa::load(data + 2 * (step * stride + lane)); }
};

/// Of each pair the first or the second, zero for the other.
template <class Isa>
struct HalfPairSteps {
  PairSteps<Isa> pairs;
  int64_t half;
  typename Isa::F load(int64_t step, int64_t lane) const { return Isa::keep_bf16_half(pairs.load(step, lane), half); }
};

/// The first `count` (a multiple of the lanes) of the f16 scales behind the int8 of a part, as f32.
template <class Isa>
const float* decode_scales(const int8_t* part, int64_t dim, int64_t count, float* out) {
  const int8_t* from = part + dim * kKeyBlock;
  for (int64_t i = 0; i < count; i += Isa::kLanes) Isa::store(out + i, Isa::load_f16(from + 2 * i));
  return out;
}

/// Calls fn with the steps of a part of keys. `scales`: room for kv_scales(dim) * kKeyBlock floats.
template <class Isa, class Fn>
void with_key_steps(FormatId format, const void* part, int64_t dim, float* scales, Fn&& fn) {
  switch (format) {
    case FormatId::f16:
      return fn(F16Steps<Isa>{static_cast<const uint16_t*>(part), kKeyBlock});
    case FormatId::bf16:
      return fn(Bf16Steps<Isa>{static_cast<const uint16_t*>(part), kKeyBlock});
    case FormatId::q8_0: {
      const auto* q = static_cast<const int8_t*>(part);
      return fn(Q8Keys<Isa>{q, decode_scales<Isa>(q, dim, kv_scales(dim) * kKeyBlock, scales)});
    }
    default:
      return fn(F32Steps<Isa>{static_cast<const float*>(part), kKeyBlock});
  }
}

/// The same of a part of values.
template <class Isa, class Fn>
void with_value_steps(FormatId format, const void* part, int64_t dim, float* scales, Fn&& fn) {
  switch (format) {
    case FormatId::f16:
      return fn(F16Steps<Isa>{static_cast<const uint16_t*>(part), dim});
    case FormatId::bf16:
      return fn(Bf16Steps<Isa>{static_cast<const uint16_t*>(part), dim});
    case FormatId::q8_0: {
      const auto* q = static_cast<const int8_t*>(part);
      return fn(Q8Values<Isa>{q, dim, decode_scales<Isa>(q, dim, kKeyBlock * kv_scales(dim), scales), kv_scales(dim)});
    }
    default:
      return fn(F32Steps<Isa>{static_cast<const float*>(part), dim});
  }
}

/// Steps [begin, end), whole vectors that cover lanes [lane, lane_end): step s at out + s * stride.
template <class Isa, class Steps>
void unpack_steps(const Steps& steps, int64_t begin, int64_t end, int64_t lane, int64_t lane_end, float* out,
                  int64_t stride) {
  for (int64_t s = begin; s < end; ++s) {
    for (int64_t i = lane; i < lane_end; i += Isa::kLanes) Isa::store(out + s * stride + i, steps.load(s, i));
  }
}

/// Steps become lanes: position p in [0, kKeyBlock), element d < dim of keys at out + p * stride + d; stride is at
/// least dim in whole vectors.
template <class Isa, class Steps>
void transpose_keys(const Steps& keys, int64_t dim, float* out, int64_t stride) {
  for (int64_t d = 0; d < dim; d += Isa::kLanes) {
    for (int64_t p = 0; p < kKeyBlock; p += Isa::kLanes) {
      typename Isa::F square[Isa::kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < Isa::kLanes; ++i) square[i] = d + i < dim ? keys.load(d + i, p) : Isa::zero();
      Isa::transpose(square);
#pragma GCC unroll 16
      for (int i = 0; i < Isa::kLanes; ++i) Isa::store(out + (p + i) * stride + d, square[i]);
    }
  }
}

}  // namespace
}  // namespace moxie::cpu
