// How keys and values lie in a page of the KV cache: the layout, and its scalar encode and decode. No attention.
//
// A page part holds kKeyBlock positions of one KV head. In a part of keys lanes own positions, in a part of values they
// own elements, so neither a score nor a weighted sum of values needs a sum across lanes. With D = dim, B = kKeyBlock:
//   f32, f16   keys [D][B], values [B][D]
//   bf16       in pairs, as bf16 dot products read them: keys [ceil(D / 2)][B][2], values [B / 2][D][2]
//   q8_0       the numbers of that block format along each row; int8 as f32 above, then the f16 scales of 32 elements:
//              keys [ceil(D / 32)][B], values [B][ceil(D / 32)]
#pragma once

#include <cstdint>

#include "format/format.h"

namespace moxie {

struct KernelSet;

inline constexpr int64_t kKeyBlock = 64;  // positions of one KV page and of one attention block

/// What the layout pairs or scales together along a row of `dim` elements, counted up.
constexpr int64_t kv_pairs(int64_t dim) {
  return (dim + 1) / 2;
}
constexpr int64_t kv_scales(int64_t dim) {
  return (dim + 31) / 32;
}

/// What a cache is kept in where nobody says otherwise. Of the two formats of half the bytes, the one with an eighth of
/// the rounding error.
inline constexpr FormatId kDefaultKvFormat = FormatId::f16;

/// Whether a cache can be kept in that format: f32, f16, bf16, q8_0.
bool is_kv_format(FormatId format);

/// Bytes of a part of keys, or of values; a multiple of 64.
int64_t key_part_bytes(FormatId format, int64_t dim);
int64_t value_part_bytes(FormatId format, int64_t dim);

/// Writes the key, or value, x [dim] of position `slot` of the page. Rounds to nearest, ties to even (f16 and bf16 by
/// `kernels`); what q8_0 does with numbers out of its range encode_blocks says. Touches nothing of other positions.
void store_key(const KernelSet& kernels, FormatId format, const float* x, int64_t dim, int64_t slot,
               void* part) noexcept;
void store_value(const KernelSet& kernels, FormatId format, const float* x, int64_t dim, int64_t slot,
                 void* part) noexcept;

/// Element d of position `slot`, exactly. The definition that kernels are tested against.
float load_key(FormatId format, const void* part, int64_t dim, int64_t slot, int64_t d) noexcept;
float load_value(FormatId format, const void* part, int64_t dim, int64_t slot, int64_t d) noexcept;

}  // namespace moxie
