#include "format/packed.h"

#include <cstring>
#include <span>

#include "format/block.h"

namespace moxie {
namespace {

constexpr int64_t kHalf = kPackedRows / 2;

struct Field {
  int64_t bytes, unit;
};

std::span<const Field> fields_of(FormatId format) noexcept {
  static constexpr Field kHalfAndNibbles[] = {{2, 2}, {16, 4}}, kTwoHalves[] = {{4, 2}, {16, 4}};
  static constexpr Field kQ50[] = {{2, 2}, {20, 4}}, kQ51[] = {{4, 2}, {20, 4}}, kQ80[] = {{2, 2}, {32, 4}};
  static constexpr Field kMxfp4[] = {{1, 1}, {16, 4}}, kQ6K[] = {{208, 4}, {2, 2}}, kQ3K[] = {{108, 4}, {2, 2}};
  static constexpr Field kQ2K[] = {{84, 4}}, kQ4K[] = {{144, 4}}, kQ5K[] = {{176, 4}}, kIq4Xs[] = {{136, 4}};
  switch (format) {
    case FormatId::q4_0:
    case FormatId::iq4_nl:
      return kHalfAndNibbles;
    case FormatId::q4_1:
      return kTwoHalves;
    case FormatId::q5_0:
      return kQ50;
    case FormatId::q5_1:
      return kQ51;
    case FormatId::q8_0:
      return kQ80;
    case FormatId::mxfp4_block:
      return kMxfp4;
    case FormatId::q2_k:
      return kQ2K;
    case FormatId::q3_k:
      return kQ3K;
    case FormatId::q4_k:
      return kQ4K;
    case FormatId::q5_k:
      return kQ5K;
    case FormatId::q6_k:
      return kQ6K;
    case FormatId::iq4_xs:
      return kIq4Xs;
    default:
      return {};
  }
}

// Calls move(byte in a packed half, byte in the block, bytes) for each unit of row r of 16.
template <typename Move>
void for_units(std::span<const Field> fields, int64_t r, Move&& move) {
  int64_t at = 0;
  for (const Field& field : fields) {
    for (int64_t u = 0; u * field.unit < field.bytes; ++u) {
      move(kHalf * at + (kHalf * u + r) * field.unit, at + u * field.unit, field.unit);
    }
    at += field.bytes;
  }
}

}  // namespace

void unpack_block(FormatId format, const void* packed, int64_t row, int64_t block, void* out) noexcept {
  const int64_t bytes = format_info(format).block_bytes;
  const char* half = static_cast<const char*>(packed) + (2 * block + row / kHalf) * kHalf * bytes;
  for_units(fields_of(format), row % kHalf, [&](int64_t from, int64_t to, int64_t unit) {
    if (unit == 4) {  // a size that is known costs no call
      std::memcpy(static_cast<char*>(out) + to, half + from, 4);
    } else {
      std::memcpy(static_cast<char*>(out) + to, half + from, static_cast<size_t>(unit));
    }
  });
}

bool can_pack(FormatId format) noexcept {
  return !fields_of(format).empty();
}

void pack_rows(FormatId format, const void* rows, int64_t row_bytes, int64_t num_elems, void* out) noexcept {
  const FormatInfo& info = format_info(format);
  const std::span<const Field> fields = fields_of(format);
  for (int64_t row = 0; row < kPackedRows; ++row) {
    for (int64_t block = 0; block < num_elems / info.block_elems; ++block) {
      const char* from = static_cast<const char*>(rows) + row * row_bytes + block * info.block_bytes;
      char* half = static_cast<char*>(out) + (2 * block + row / kHalf) * kHalf * info.block_bytes;
      for_units(fields, row % kHalf, [&](int64_t to, int64_t at, int64_t unit) {
        std::memcpy(half + to, from + at, static_cast<size_t>(unit));
      });
    }
  }
}

void unpack_row(FormatId format, const void* packed, int64_t row, int64_t num_elems, void* out) noexcept {
  const FormatInfo& info = format_info(format);
  for (int64_t block = 0; block < num_elems / info.block_elems; ++block) {
    unpack_block(format, packed, row, block, static_cast<char*>(out) + block * info.block_bytes);
  }
}

void decode_packed_row(FormatId format, const void* packed, int64_t row, int64_t num_elems, float* out) noexcept {
  const FormatInfo& info = format_info(format);
  char bytes[kMostBlockBytes];
  for (int64_t block = 0; block < num_elems / info.block_elems; ++block) {
    unpack_block(format, packed, row, block, bytes);
    decode_blocks(format, bytes, info.block_elems, out + block * info.block_elems);
  }
}

}  // namespace moxie
