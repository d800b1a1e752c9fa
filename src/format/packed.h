// Packed rows: the bytes of 32 rows of a block format, sorted so that a vector instruction reads one row a lane. A
// permutation, nothing else: a packed matrix has the size of the plain one, and unpacking gives its bytes back.
//
// Of 32 rows, block after block: first the block of rows 0 .. 15, then that of rows 16 .. 31. Within such a half, what
// stands at byte o of a block begins at byte 16 o, field after field, each with its units (a dword of quants, an f16
// of scale) row after row: unit u, row r at 16 o + (16 u + r) * (bytes of a unit).
#pragma once

#include <cstdint>

#include "format/format.h"

namespace moxie {

inline constexpr int64_t kPackedRows = 32;

/// Whether rows of the format can be packed. The codebooks of iq2 and iq3 gain nothing from it.
bool can_pack(FormatId format) noexcept;

/// Packs 32 rows of `num_elems` (whole blocks), `row_bytes` apart, to `out`: 32 rows without gaps.
void pack_rows(FormatId format, const void* rows, int64_t row_bytes, int64_t num_elems, void* out) noexcept;

/// No block is longer.
inline constexpr int64_t kMostBlockBytes = 256;

/// Block `block` of row `row` of 32 packed ones as it was.
void unpack_block(FormatId format, const void* packed, int64_t row, int64_t block, void* out) noexcept;

/// The whole row.
void unpack_row(FormatId format, const void* packed, int64_t row, int64_t num_elems, void* out) noexcept;

/// The same as floats, bit for bit as decode_blocks.
void decode_packed_row(FormatId format, const void* packed, int64_t row, int64_t num_elems, float* out) noexcept;

}  // namespace moxie
