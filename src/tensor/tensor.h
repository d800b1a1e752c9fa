// Shape, View and Tensor: what lies where. A View owns nothing; a Tensor keeps its bytes alive. No arithmetic here.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "base/error.h"
#include "format/format.h"

namespace moxie {

/// Up to kMaxRank dimensions, outermost first. Rank 0 is a scalar of one element.
class Shape {
 public:
  static constexpr int kMaxRank = 8;
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
    MOXIE_CHECK(dims.size() <= kMaxRank);
    std::copy(dims.begin(), dims.end(), dims_.begin());
  }

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return dims_[static_cast<size_t>(i)]; }
  int64_t back() const { return rank_ == 0 ? 1 : dims_[static_cast<size_t>(rank_ - 1)]; }
  std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  int64_t num_elems() const;
  bool operator==(const Shape& other) const;

  /// "[8, 4096]".
  std::string str() const;

 private:
  int rank_ = 0;
  std::array<int64_t, kMaxRank> dims_{};
};

/// Elements of one format at an address: rows of the last dimension, `row_bytes` apart, read only.
/// `scales` stands beside `data` for formats that keep them apart (mxfp4: one e8m0 byte a block; FP8: format/fp8.h).
/// `packed`: rows stand in groups of 32 (format/packed.h), so that a row alone has no address.
struct View {
  const void* data = nullptr;
  FormatId format = FormatId::f32;
  Shape shape;
  int64_t row_bytes = 0;
  const void* scales = nullptr;
  int64_t scale_row_bytes = 0;
  bool packed = false;

  bool empty() const { return data == nullptr; }
  int64_t num_rows() const { return shape.back() == 0 ? 0 : shape.num_elems() / shape.back(); }

  /// Bytes of the elements themselves, scales included.
  int64_t num_bytes() const;

  /// The same rows from `begin` to `end` of a matrix, or of entry `index` of the outermost dimension.
  View rows(int64_t begin, int64_t end) const;
  View operator[](int64_t index) const;

  const float* f32() const {
    MOXIE_CHECK(format == FormatId::f32);
    return static_cast<const float*>(data);
  }
};

/// A dense view: rows without gaps.
View dense_view(const void* data, FormatId format, Shape shape);

/// A view and whatever keeps its bytes alive (a mapped file, or its own buffer).
struct Tensor {
  View view;
  std::shared_ptr<const void> owner;

  /// A new zeroed f32 tensor, 64-byte aligned, and where to write it.
  static std::pair<Tensor, float*> zeros_f32(Shape shape);
};

}  // namespace moxie
