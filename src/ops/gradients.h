// Where the gradient of a weight lies: values and gradients are two blocks of one layout, so an address in one leads to
// the address in the other.
#pragma once

#include "tensor/tensor.h"

namespace moxie {

struct Gradients {
  const float* values = nullptr;  // the block that weights point into
  float* gradients = nullptr;     // the block beside it
  bool anew = false;  // products write the gradient of their weight, whatever stood there; false: they add to it

  float* of(const float* weight) const { return weight == nullptr ? nullptr : gradients + (weight - values); }
  float* of(const View& weight) const { return weight.empty() ? nullptr : of(weight.f32()); }
};

}  // namespace moxie
