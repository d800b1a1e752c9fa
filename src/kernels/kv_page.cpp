#include "kernels/kv_page.h"

#include <algorithm>

#include "format/block.h"
#include "format/codec.h"
#include "kernels/kernels.h"

namespace moxie {
namespace {

// Where element d of a row stands: `at` in elements, `scale` in scales behind them (q8_0).
struct Place {
  int64_t at, scale;
};

Place key_place(FormatId format, int64_t slot, int64_t d) {
  if (format == FormatId::bf16) return {(d / 2 * kKeyBlock + slot) * 2 + d % 2, 0};
  return {d * kKeyBlock + slot, d / 32 * kKeyBlock + slot};
}

Place value_place(FormatId format, int64_t dim, int64_t slot, int64_t d) {
  if (format == FormatId::bf16) return {(slot / 2 * dim + d) * 2 + slot % 2, 0};
  return {slot * dim + d, slot * kv_scales(dim) + d / 32};
}

// The int8 of q8_0 end where its scales begin.
template <class Byte>
auto scales_of(Byte* part, int64_t dim) {
  using Half = std::conditional_t<std::is_const_v<Byte>, const uint16_t, uint16_t>;
  return reinterpret_cast<Half*>(part + dim * kKeyBlock);
}

template <class PlaceOf>
void store_q8(const float* x, int64_t dim, void* part, PlaceOf&& place_of) {
  struct [[gnu::packed]] Block {
    uint16_t scale;
    int8_t q[32];
  } block;
  static_assert(sizeof(Block) == 34);
  auto* q = static_cast<int8_t*>(part);
  for (int64_t first = 0; first < dim; first += 32) {
    const int64_t count = std::min<int64_t>(32, dim - first);
    float padded[32] = {};
    std::copy_n(x + first, count, padded);
    encode_blocks(FormatId::q8_0, padded, 32, nullptr, &block);
    for (int64_t i = 0; i < count; ++i) q[place_of(first + i).at] = block.q[i];
    scales_of(q, dim)[place_of(first).scale] = block.scale;
  }
}

template <class PlaceOf>
void store_halves(const KernelSet& kernels, FormatId format, const float* x, int64_t dim, void* part,
                  PlaceOf&& place_of) {
  constexpr int64_t kPiece = 256;
  uint16_t piece[kPiece];
  for (int64_t first = 0; first < dim; first += kPiece) {
    const int64_t count = std::min(kPiece, dim - first);
    kernels.encode_row(format, x + first, count, piece);
    for (int64_t i = 0; i < count; ++i) static_cast<uint16_t*>(part)[place_of(first + i).at] = piece[i];
  }
}

template <class PlaceOf>
void store(const KernelSet& kernels, FormatId format, const float* x, int64_t dim, void* part, PlaceOf&& place_of) {
  if (format == FormatId::q8_0) return store_q8(x, dim, part, place_of);
  if (format != FormatId::f32) return store_halves(kernels, format, x, dim, part, place_of);
  for (int64_t d = 0; d < dim; ++d) static_cast<float*>(part)[place_of(d).at] = x[d];
}

float load(FormatId format, const void* part, int64_t dim, const Place& place) {
  const auto* half = static_cast<const uint16_t*>(part);
  const auto* q = static_cast<const int8_t*>(part);
  switch (format) {
    case FormatId::f16:
      return f16_to_f32(half[place.at]);
    case FormatId::bf16:
      return bf16_to_f32(half[place.at]);
    case FormatId::q8_0:
      return f16_to_f32(scales_of(q, dim)[place.scale]) * static_cast<float>(q[place.at]);
    default:
      return static_cast<const float*>(part)[place.at];
  }
}

// Elements, and scales (q8_0), of a whole part.
int64_t part_bytes(FormatId format, int64_t elems, int64_t scales) {
  return format == FormatId::q8_0 ? elems + 2 * scales : elems * format_info(format).block_bytes;
}

}  // namespace

bool is_kv_format(FormatId format) {
  return format == FormatId::f32 || format == FormatId::f16 || format == FormatId::bf16 || format == FormatId::q8_0;
}

int64_t key_part_bytes(FormatId format, int64_t dim) {
  return part_bytes(format, (format == FormatId::bf16 ? 2 * kv_pairs(dim) : dim) * kKeyBlock,
                    kv_scales(dim) * kKeyBlock);
}

int64_t value_part_bytes(FormatId format, int64_t dim) {
  return part_bytes(format, dim * kKeyBlock, kv_scales(dim) * kKeyBlock);
}

void store_key(const KernelSet& kernels, FormatId format, const float* x, int64_t dim, int64_t slot,
               void* part) noexcept {
  store(kernels, format, x, dim, part, [=](int64_t d) { return key_place(format, slot, d); });
  // The last pair of an odd row has no second element: zero, since whole pairs are multiplied.
  if (format == FormatId::bf16 && dim % 2 != 0) {
    static_cast<uint16_t*>(part)[key_place(format, slot, dim).at] = 0;
  }
}

void store_value(const KernelSet& kernels, FormatId format, const float* x, int64_t dim, int64_t slot,
                 void* part) noexcept {
  store(kernels, format, x, dim, part, [=](int64_t d) { return value_place(format, dim, slot, d); });
}

float load_key(FormatId format, const void* part, int64_t dim, int64_t slot, int64_t d) noexcept {
  return load(format, part, dim, key_place(format, slot, d));
}

float load_value(FormatId format, const void* part, int64_t dim, int64_t slot, int64_t d) noexcept {
  return load(format, part, dim, value_place(format, dim, slot, d));
}

}  // namespace moxie
