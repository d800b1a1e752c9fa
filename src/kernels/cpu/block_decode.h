// Rows of block formats as f32, by vectors: bit for bit what decode_blocks of format/block.h gives.
#pragma once

#include <cstdint>

#include "format/block.h"
#include "format/packed.h"

namespace moxie::cpu {
namespace {

/// A sub-block is 16 or 32 elements.
template <class Isa>
void decode_ints(const IntBlock& ints, int elems, float* out) {
  for (int i = 0; i < elems; i += ints.sub_elems) {
    const int sub = i / ints.sub_elems;
    const auto scale = Isa::set1(ints.d * ints.scale[sub]), min = Isa::set1(ints.dmin * ints.min[sub]);
    for (int k = i; k < i + ints.sub_elems; k += Isa::kLanes) {
      Isa::store(out + k, Isa::sub(Isa::mul(scale, Isa::load_i8(ints.value + k)), min));
    }
  }
}

/// block_at(i): block i of the row.
template <class Isa, class BlockAt>
void decode_block_row(FormatId format, int64_t num_elems, float* out, const BlockAt& block_at) {
  const int elems = format_info(format).block_elems;
  const UnpackInts unpack = find_unpacker(format);
  IntBlock ints{};
  for (int64_t i = 0; i < num_elems / elems; ++i) {
    unpack(block_at(i), &ints);
    decode_ints<Isa>(ints, elems, out + i * elems);
  }
}

template <class Isa>
void decode_plain_row(FormatId format, const void* row, int64_t num_elems, float* out) {
  const int64_t block_bytes = format_info(format).block_bytes;
  decode_block_row<Isa>(format, num_elems, out,
                        [&](int64_t i) { return static_cast<const uint8_t*>(row) + i * block_bytes; });
}

/// Row `row` of 32 packed ones.
template <class Isa>
void decode_packed_row(FormatId format, const void* packed, int64_t row, int64_t num_elems, float* out) {
  uint8_t block[kMostBlockBytes];
  decode_block_row<Isa>(format, num_elems, out, [&](int64_t i) {
    unpack_block(format, packed, row, i, block);
    return static_cast<const uint8_t*>(block);
  });
}

}  // namespace
}  // namespace moxie::cpu
