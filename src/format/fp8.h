// FP8 weights as DeepSeek-V3 ships them: f8_e4m3 with one f32 scale for each 128 x 128 elements, in a matrix of its
// own. Where a scale stands; the codec of an element is in codec.h.
#pragma once

#include <cstdint>

#include "format/format.h"

namespace moxie {

inline constexpr int64_t kFp8Block = 128;  // rows and columns that share a scale; the last of either may be fewer

/// The row of scales that belongs to a row of elements: FP8 shares it, other formats have one a row (if any).
inline int64_t scale_row(FormatId format, int64_t row) {
  return format == FormatId::f8_e4m3 ? row / kFp8Block : row;
}

}  // namespace moxie
