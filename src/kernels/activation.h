// Rows of activations as integers: blocks of int8 with one scale, for products with block formats.
#pragma once

#include <cstdint>

namespace moxie {

/// x8_b32: x[i] = d * q[i], q in -127 .. 127; for weights in blocks of 32.
struct [[gnu::packed]] X8Block32 {  // rows may stand at any address
  float d;
  int32_t sum;  // of q
  int8_t q[32];
};
static_assert(sizeof(X8Block32) == 40);

/// x8_b256: the same over 256 elements; for weights in super-blocks.
struct [[gnu::packed]] X8Block256 {
  float d;
  int16_t sums[16];        // of 16 q each
  int16_t double_sums[8];  // of 32 q each
  int8_t q[256];
};
static_assert(sizeof(X8Block256) == 308);

}  // namespace moxie
