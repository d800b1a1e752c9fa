// One row of a view, wherever its format keeps the parts: what row codecs take.
#pragma once

#include "format/fp8.h"
#include "tensor/tensor.h"

namespace moxie {

struct RowParts {
  const void* data;
  const void* scales;  // null where the format keeps none apart
};

/// Row `row` of the last dimension, all others counted through. Not of a packed view, whose rows have no address.
inline RowParts row_parts(const View& view, int64_t row) {
  const auto* scales = static_cast<const char*>(view.scales);
  return {static_cast<const char*>(view.data) + row * view.row_bytes,
          scales == nullptr ? nullptr : scales + scale_row(view.format, row) * view.scale_row_bytes};
}

}  // namespace moxie
