#include "model/row_source.h"

#include <cstring>

#include "ops/exec.h"

namespace moxie {
namespace {

// A row of MXFP4 whose nibbles and scales stand apart as blocks: the scale, then 16 bytes of elements j and j + 16.
void join_blocks(const uint8_t* nibbles, const uint8_t* scales, int64_t num_blocks, char* out) {
  for (int64_t b = 0; b < num_blocks; ++b, nibbles += 16) {
    *out++ = static_cast<char>(scales[b]);
    const auto element = [&](int i) { return nibbles[i / 2] >> (i % 2 * 4) & 15; };
    for (int i = 0; i < 16; ++i) *out++ = static_cast<char>(element(i) | element(i + 16) << 4);
  }
}

}  // namespace

RowSource::RowSource(std::vector<View> parts, std::function<int64_t(int64_t)> order)
    : parts_(std::move(parts)), order_(std::move(order)) {
  for (const View& part : parts_) {
    MOXIE_CHECK(part.num_rows() == parts_[0].num_rows() && part.shape.back() == parts_[0].shape.back());
  }
}

RowSource RowSource::of_values(std::vector<float> values) {
  auto kept = std::make_shared<const std::vector<float>>(std::move(values));
  RowSource source(dense_view(kept->data(), FormatId::f32, {static_cast<int64_t>(kept->size())}));
  source.values_ = std::move(kept);
  return source;
}

RowSource RowSource::transposed_heads(const View& matrix, int64_t stride, int64_t rows) {
  RowSource source(matrix);
  source.stride_ = stride;
  source.taken_ = rows;
  return source;
}

RowSource::Row RowSource::row(int64_t index) const {
  if (order_) index = order_(index);
  const int64_t each = parts_[0].num_rows();
  return {&parts_[static_cast<size_t>(index / each)], index % each};
}

bool RowSource::stands_as(FormatId format) const {
  if (stride_ > 0) return false;
  for (const View& part : parts_) {
    const bool repacked = part.format == FormatId::mxfp4 && format == FormatId::mxfp4_block;
    if (part.format != format && !repacked) return false;
  }
  return true;
}

FormatId RowSource::stored_format() const {
  const FormatId first = parts_[0].format == FormatId::mxfp4 ? FormatId::mxfp4_block : parts_[0].format;
  const bool as_one = stride_ > 0 ? format_info(first).block_elems == 1 : stands_as(first);
  return as_one && format_info(first).gguf >= 0 ? first : FormatId::f32;
}

void RowSource::copy(FormatId format, int64_t begin, int64_t end, char* out) const {
  MOXIE_CHECK(stands_as(format));
  const int64_t columns = parts_[0].shape.back();
  const auto bytes = static_cast<size_t>(row_bytes(format, columns));
  for (int64_t i = begin; i < end; ++i, out += bytes) {
    const Row from = row(i);
    const View& view = *from.view;
    const auto* data = static_cast<const uint8_t*>(view.data) + from.index * view.row_bytes;
    if (view.packed) {
      const int64_t in_group = from.index % kPackedRows;
      unpack_row(format, data - in_group * view.row_bytes, in_group, columns, out);
    } else if (view.format == format) {
      std::memcpy(out, data, bytes);
    } else {
      const auto* scales = static_cast<const uint8_t*>(view.scales) + from.index * view.scale_row_bytes;
      join_blocks(data, scales, columns / 32, out);
    }
  }
}

void RowSource::decode(int64_t begin, int64_t end, float* out) const {
  if (stride_ > 0) return decode_transposed(begin, end, out);
  const KernelSet& kernels = choose_kernel_set();
  const int64_t columns = parts_[0].shape.back();
  for (int64_t i = begin; i < end; ++i, out += columns) {
    const Row from = row(i);
    decode_row(kernels, *from.view, from.index, out);
  }
}

// A head at a time, for a column touches all its rows.
void RowSource::decode_transposed(int64_t begin, int64_t end, float* out) const {
  const KernelSet& kernels = choose_kernel_set();
  const int64_t columns = parts_[0].shape.back();
  std::vector<float> head(static_cast<size_t>(taken_ * columns));
  for (int64_t i = begin; i < end;) {
    const int64_t number = i / columns, last = std::min((number + 1) * columns, end);
    for (int64_t r = 0; r < taken_; ++r) {
      const Row from = row(number * stride_ + r);
      decode_row(kernels, *from.view, from.index, head.data() + r * columns);
    }
    for (; i < last; ++i) {
      const float* column = head.data() + i % columns;
      for (int64_t r = 0; r < taken_; ++r) *out++ = column[r * columns];
    }
  }
}

}  // namespace moxie
