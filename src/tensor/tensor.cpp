#include "tensor/tensor.h"

#include <cstdlib>
#include <cstring>

#include "format/fp8.h"
#include "format/packed.h"

namespace moxie {
namespace {

// Those of a part that begins at row `begin`: where rows share scales, not amid them.
const void* scales_from(const View& view, int64_t begin) {
  MOXIE_CHECK(view.format != FormatId::f8_e4m3 || begin % kFp8Block == 0);
  if (view.scales == nullptr) return nullptr;
  return static_cast<const char*>(view.scales) + scale_row(view.format, begin) * view.scale_row_bytes;
}

}  // namespace

int64_t Shape::num_elems() const {
  int64_t n = 1;
  for (const int64_t dim : dims()) n *= dim;
  return n;
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(dims().begin(), dims().end(), other.dims().begin());
}

std::string Shape::str() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += (i > 0 ? ", " : "") + std::to_string((*this)[i]);
  return text + "]";
}

int64_t View::num_bytes() const {
  const int64_t rows = num_rows(), scale_rows = scales == nullptr || rows == 0 ? 0 : scale_row(format, rows - 1) + 1;
  return rows * moxie::row_bytes(format, shape.back()) + scale_rows * scale_row_bytes;
}

View View::rows(int64_t begin, int64_t end) const {
  MOXIE_CHECK(shape.rank() == 2 && 0 <= begin && begin <= end && end <= shape[0]);
  MOXIE_CHECK(!packed || (begin % kPackedRows == 0 && end % kPackedRows == 0));
  View view = *this;
  view.shape = {end - begin, shape[1]};
  view.data = static_cast<const char*>(data) + begin * row_bytes;
  view.scales = scales_from(*this, begin);
  return view;
}

View View::operator[](int64_t index) const {
  MOXIE_CHECK(shape.rank() >= 2 && 0 <= index && index < shape[0]);
  View view = *this;
  view.shape = Shape(shape.dims().subspan(1));
  const int64_t rows_each = view.num_rows();
  MOXIE_CHECK(!packed || rows_each % kPackedRows == 0);
  view.data = static_cast<const char*>(data) + index * rows_each * row_bytes;
  view.scales = scales_from(*this, index * rows_each);
  return view;
}

View dense_view(const void* data, FormatId format, Shape shape) {
  return {.data = data, .format = format, .shape = shape, .row_bytes = row_bytes(format, shape.back())};
}

std::pair<Tensor, float*> Tensor::zeros_f32(Shape shape) {
  const size_t bytes = (static_cast<size_t>(shape.num_elems()) * sizeof(float) + 63) / 64 * 64;
  void* data = std::aligned_alloc(64, bytes > 0 ? bytes : 64);
  if (data == nullptr) throw make_error(ErrorCode::does_not_fit, "no memory for a tensor of {} bytes", bytes);
  std::memset(data, 0, bytes);
  Tensor tensor{dense_view(data, FormatId::f32, shape), std::shared_ptr<const void>(data, &std::free)};
  return {tensor, static_cast<float*>(data)};
}

}  // namespace moxie
