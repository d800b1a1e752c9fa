// The rows of one tensor to be written, wherever they lie: in one view or stacked from many, in another order, or as
// the columns of another matrix. Reads only; does not choose a format.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "tensor/tensor.h"

namespace moxie {

/// Holds views, not bytes: what they point to must live on. Cheap to copy. Safe to read from several threads.
class RowSource {
 public:
  /// No rows: of a tensor whose weights are not there.
  RowSource() = default;

  /// Rows of `parts`, one after the other; each has the same number of rows and of columns, a vector is one row. Row i
  /// of the tensor is row `order(i)` of theirs; without `order`, row i.
  explicit RowSource(std::vector<View> parts, std::function<int64_t(int64_t)> order = {});
  explicit RowSource(const View& view) : RowSource(std::vector<View>{view}) {}

  /// A vector of its own.
  static RowSource of_values(std::vector<float> values);

  /// Of a matrix of heads [heads * stride, columns] the first `rows` rows of each head, transposed:
  /// [heads, columns, rows].
  static RowSource transposed_heads(const View& matrix, int64_t stride, int64_t rows);

  bool empty() const { return parts_.empty(); }
  /// Of the parts together.
  int64_t num_rows() const { return empty() ? 0 : static_cast<int64_t>(parts_.size()) * parts_[0].num_rows(); }
  int64_t columns() const { return empty() ? 0 : parts_[0].shape.back(); }

  /// Whether every row stands somewhere in that format already, so that copy() will do. MXFP4 with its scales apart
  /// counts as mxfp4_block: the same numbers.
  bool stands_as(FormatId format) const;

  /// The one format that all rows stand in, as GGUF has it (or f32 where they differ, stand in blocks the other way, or
  /// in a format that GGUF has not).
  FormatId stored_format() const;

  /// Rows [begin, end) as they stand, at `out` without gaps. Asks for stands_as(format) (CHECKed).
  void copy(FormatId format, int64_t begin, int64_t end, char* out) const;

  /// Rows [begin, end) as f32 [end - begin, columns], exactly.
  void decode(int64_t begin, int64_t end, float* out) const;

 private:
  struct Row {
    const View* view;
    int64_t index;  // in it
  };
  Row row(int64_t index) const;
  void decode_transposed(int64_t begin, int64_t end, float* out) const;

  std::vector<View> parts_;
  std::function<int64_t(int64_t)> order_;
  int64_t stride_ = 0, taken_ = 0;  // of transposed heads
  std::shared_ptr<const std::vector<float>> values_;
};

}  // namespace moxie
