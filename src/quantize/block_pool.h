// Rows of random numbers at the speed of copying: really encoded blocks of normal numbers, from which each row draws.
// Nothing here is secret or of use but for its distribution.
#pragma once

#include <string>

#include "base/rng.h"
#include "format/format.h"

namespace moxie {

/// Number i of a stream, close to standard normal: the sum of twelve uniform numbers of 16 bits. Made of integers, so
/// that it has the same bits on every machine, which logarithms of a library have not.
float near_normal(const Rng& rng, uint64_t i);

/// Some 2^18 numbers N(mean, sigma) in one format, cut in blocks (of 32 numbers where the format has none).
class BlockPool {
 public:
  /// `format`: one that encode_rows takes. Equal arguments give equal bytes. Cost: as encode_blocks, 1 MB of f32.
  BlockPool(FormatId format, float mean, float sigma, uint64_t seed);

  /// A row of `columns` (whole blocks of the format), block i of it drawn by number i of `row`.
  void fill_row(const Rng& row, int64_t columns, char* out) const;

 private:
  int64_t unit_elems_, unit_bytes_, num_units_;
  FormatId format_;
  std::string bytes_;
};

}  // namespace moxie
