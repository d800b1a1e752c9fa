// Rows of activations as integers: blocks of int8 with one scale, for products with block formats.
#pragma once

#include <cstdint>

#include "format/format.h"

namespace moxie {

[[gnu::always_inline]] inline bool is_integer_form(FormatId format) {
  return format == FormatId::x8_b32 || format == FormatId::x8_b256 || format == FormatId::x8_pairs;
}

/// A row may be encoded in pieces, each but the last a multiple of so many columns, at row_bytes of those before it.
inline int64_t piece_columns(FormatId format) {
  return format == FormatId::x8_pairs ? 256 : format_info(format).block_elems;
}

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

/// x8_pairs: blocks of 32 as x8_b32 has them, eight together in the order in which sums of pairs read them
/// (kernels/cpu/pair_tile.h). Block 2 p + o: scale d[o][p]; half h: elements 16 h .., their sum times d is
/// sums[o][4 h + p], four of them from 4 t on stand in lane 4 h + p of q[o][t].
struct [[gnu::packed]] X8Group {
  float d[2][4];
  float sums[2][8];
  int8_t q[2][4][8][4];
};
static_assert(sizeof(X8Group) == 8 * 44);

/// What is left of a row, less than eight blocks, one after the other.
struct [[gnu::packed]] X8Rest {
  float d;
  float sums[2];
  int8_t q[32];
};
static_assert(sizeof(X8Rest) == 44);

}  // namespace moxie
