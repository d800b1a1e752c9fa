// A random product x w^T in any weight format, whose rows end where memory ends, and how to run a kernel set on it.
#pragma once

#include <algorithm>
#include <memory>

#include "format/block.h"
#include "format/fp8.h"
#include "format/packed.h"
#include "kernels/support.h"

namespace moxie::test {

constexpr FormatId kFormats[] = {
    FormatId::f32,     FormatId::bf16,  FormatId::f16,    FormatId::mxfp4,   FormatId::f8_e4m3,     FormatId::q4_0,
    FormatId::q4_1,    FormatId::q5_0,  FormatId::q5_1,   FormatId::q8_0,    FormatId::q2_k,        FormatId::q3_k,
    FormatId::q4_k,    FormatId::q5_k,  FormatId::q6_k,   FormatId::iq2_xxs, FormatId::iq2_xs,      FormatId::iq2_s,
    FormatId::iq3_xxs, FormatId::iq3_s, FormatId::iq4_nl, FormatId::iq4_xs,  FormatId::mxfp4_block, FormatId::nvfp4};

/// k, or the next number that is whole blocks.
inline int64_t whole_blocks(FormatId format, int64_t k) {
  const int64_t elems = format_info(format).block_elems;
  return (k + elems - 1) / elems * elems;
}

struct ProductShape {
  FormatId format = FormatId::f32;
  int64_t num_x_rows = 1, n = 1, k = 1;
  int64_t misalign = 0;  // bytes by which rows of w stand off their element's alignment
  bool gap = false;      // rows of w and x have bytes of others between them
};

/// Weights, their scales, and x in f32 already rounded to bf16 where asked, so that all sets see the same numbers.
class Product {
 public:
  Product(const ProductShape& shape, uint64_t seed) : shape_(shape), random_(seed) {
    const int64_t used = row_bytes(shape.format, shape.k);
    row_bytes_ = used + (shape.gap ? 10 : 0);
    // The last row must end where memory ends: the gap stands before it.
    w_ = std::make_unique<GuardedBytes>((shape.n - 1) * row_bytes_ + used + shape.misalign);
    for (size_t i = 0; i < w_->size(); ++i) w_->data()[i] = 0;
    for (int64_t n = 0; n < shape.n; ++n) fill_row(w_->data() + n * row_bytes_);
    scale_row_bytes_ = shape.k / 32;
    if (shape.format == FormatId::mxfp4) {
      scales_ = std::make_unique<GuardedBytes>(shape.n * scale_row_bytes_);
      for (size_t i = 0; i < scales_->size(); ++i) scales_->data()[i] = static_cast<char>(120 + random_.below(10));
    }
    if (shape.format == FormatId::f8_e4m3) {
      scale_row_bytes_ = (shape.k + kFp8Block - 1) / kFp8Block * 4;
      scales_ = std::make_unique<GuardedBytes>((scale_row(shape.format, shape.n - 1) + 1) * scale_row_bytes_);
      for (size_t i = 0; i < scales_->size() / 4; ++i) scales_->floats()[i] = 0.01f * (1 + random_.normal() / 16);
    }
    x_ = normals(shape.num_x_rows * shape.k, seed + 1);
    if (is_block_format(shape.format)) {  // numbers that int8 blocks hold exactly: 127 eighths in each
      for (size_t i = 0; i < x_.size(); ++i) x_[i] = i % 32 == 5 ? 127.0f / 8 : std::round(x_[i] * 30) / 8;
    }
    if (shape.format == FormatId::bf16) {
      for (float& v : x_) v = bf16_to_f32(f32_to_bf16(v));
    }
    bias_ = normals(shape.n, seed + 2);
  }

  const ProductShape& shape() const { return shape_; }
  std::vector<float>& x() { return x_; }
  std::vector<float>& bias() { return bias_; }  // empty: none
  char* w_row(int64_t n) { return w_->data() + n * row_bytes_; }

  /// From here on run() takes the weights as packed rows; n must be a multiple of 32.
  void pack() {
    packed_ = std::make_unique<GuardedBytes>(shape_.n * row_bytes(shape_.format, shape_.k));
    for (int64_t n = 0; n < shape_.n; n += kPackedRows) {
      pack_rows(shape_.format, w_row(n), row_bytes_, shape_.k,
                packed_->data() + n * row_bytes(shape_.format, shape_.k));
    }
  }

  WeightRef weights() const {
    if (packed_) {
      return {.data = packed_->data(),
              .row_bytes = row_bytes(shape_.format, shape_.k),
              .format = shape_.format,
              .packed = true};
    }
    return {.data = w_->data(),
            .row_bytes = row_bytes_,
            .format = shape_.format,
            .scales = scales_ ? scales_->data() : nullptr,
            .scale_row_bytes = scales_ ? scale_row_bytes_ : 0};
  }

  /// y for the rows `x_rows` (empty: all) and columns [n_begin, n_end); y has a gap after each row, which must survive.
  std::vector<float> run(const KernelSet& set, std::vector<int32_t> x_rows, int64_t n_begin, int64_t n_end,
                         FormatId to) const {
    const int64_t x_row = row_bytes(to, shape_.k), stride = x_row + (shape_.gap ? 6 : 0);
    GuardedBytes x(static_cast<size_t>((shape_.num_x_rows - 1) * stride + x_row));
    for (int64_t m = 0; m < shape_.num_x_rows; ++m) {
      set.encode_row(to, x_.data() + m * shape_.k, shape_.k, x.data() + m * stride);
    }
    const int64_t num_rows = x_rows.empty() ? shape_.num_x_rows : static_cast<int64_t>(x_rows.size());
    const int64_t width = n_end - n_begin;
    constexpr float kUntouched = 12345;
    std::vector<float> y(static_cast<size_t>(num_rows * (width + 1)), kUntouched);
    Scratch scratch(set.gemm_scratch_bytes(num_rows, shape_.k));
    set.gemm({.x = x.data(),
              .x_format = to,
              .x_row_bytes = stride,
              .x_rows = x_rows.empty() ? nullptr : x_rows.data(),
              .num_rows = num_rows,
              .w = weights(),
              .bias = bias_.empty() ? nullptr : bias_.data(),
              .n_begin = n_begin,
              .n_end = n_end,
              .k = shape_.k,
              .y = y.data(),
              .y_stride = width + 1,
              .scratch = scratch.get()});
    std::vector<float> dense;
    for (int64_t m = 0; m < num_rows; ++m) {
      EXPECT_EQ(y[static_cast<size_t>(m * (width + 1) + width)], kUntouched);
      dense.insert(dense.end(), y.begin() + m * (width + 1), y.begin() + m * (width + 1) + width);
    }
    return dense;
  }

  std::vector<float> run(const KernelSet& set, std::vector<int32_t> x_rows, int64_t n_begin, int64_t n_end) const {
    return run(set, std::move(x_rows), n_begin, n_end, set.activation_format(shape_.format));
  }

  /// sum |x w| + |bias| of one output: what rounding errors are measured against.
  double magnitude(int64_t m, int64_t n) const {
    std::vector<float> w(static_cast<size_t>(shape_.k));
    const char* scales = scales_ ? scales_->data() + scale_row(shape_.format, n) * scale_row_bytes_ : nullptr;
    ref().decode_row(shape_.format, w_->data() + n * row_bytes_, scales, shape_.k, w.data());
    double sum = std::abs(static_cast<double>(bias_[static_cast<size_t>(n)]));
    for (int64_t k = 0; k < shape_.k; ++k) {
      sum += std::abs(static_cast<double>(x_[static_cast<size_t>(m * shape_.k + k)]) * w[static_cast<size_t>(k)]);
    }
    return sum;
  }

 private:
  void fill_row(char* row) {
    if (is_block_format(shape_.format)) return fill_blocks(row);
    for (int64_t i = 0; i < shape_.k; ++i) {
      const float v = random_.normal();
      const uint32_t bits = std::bit_cast<uint32_t>(v);
      const uint16_t bf16 = f32_to_bf16(v);
      // Normal f16 numbers between 2^-2 and 2^1, subnormal ones now and then.
      const uint16_t f16 = static_cast<uint16_t>(random_.below(16) == 0
                                                     ? random_.below(0x400)
                                                     : (random_.bits() & 0x83ff) | (0x3400 + 0x400 * random_.below(3)));
      switch (shape_.format) {
        case FormatId::f32:
          std::memcpy(row + 4 * i, &bits, 4);
          break;
        case FormatId::bf16:
          std::memcpy(row + 2 * i, &bf16, 2);
          break;
        case FormatId::f16:
          std::memcpy(row + 2 * i, &f16, 2);
          break;
        case FormatId::f8_e4m3:
          row[i] = static_cast<char>((random_.bits() & 0x80) | random_.below(0x7f));
          break;
        default:
          row[i / 2] = static_cast<char>(random_.bits());
      }
    }
  }

  void fill_blocks(char* row) {
    if (can_encode(shape_.format)) {
      std::vector<float> v(static_cast<size_t>(shape_.k));
      for (float& each : v) each = random_.normal();
      return encode_blocks(shape_.format, v.data(), shape_.k, nullptr, row);
    }
    const FormatInfo& info = format_info(shape_.format);
    for (int64_t block = 0; block < shape_.k / info.block_elems; ++block, row += info.block_bytes) {
      for (int i = 2; i < info.block_bytes; ++i) row[i] = static_cast<char>(random_.bits());
      const uint16_t d = f32_to_f16(0.01f * (1 + random_.normal() / 16));  // these formats have d first
      std::memcpy(row, &d, 2);
    }
  }

  ProductShape shape_;
  Random random_;
  int64_t row_bytes_ = 0, scale_row_bytes_ = 0;
  std::unique_ptr<GuardedBytes> w_, scales_, packed_;
  std::vector<float> x_, bias_;
};

}  // namespace moxie::test
