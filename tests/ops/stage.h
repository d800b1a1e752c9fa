// What tests of ops and moe share: somewhere to run, and matrices in any computable format whose values are known.
#pragma once

#include "format/codec.h"
#include "kernels/support.h"
#include "ops/exec.h"

namespace moxie::test {

inline constexpr FormatId kComputableFormats[] = {FormatId::f32, FormatId::bf16, FormatId::f16, FormatId::mxfp4};

/// Whether a set multiplies weights of this format by unrounded f32 activations.
inline bool is_exact(const KernelSet& set, FormatId weight) {
  return set.activation_format(weight) == FormatId::f32;
}

struct Stage {
  explicit Stage(const KernelSet& kernels = ref(), int threads = 2) : pool(threads), exec{kernels, pool, arena} {}
  ThreadPool pool;
  Arena arena;
  Exec exec;
};

/// A random [rows, columns] matrix; the values that its bytes stand for are decoded here, scalar by scalar.
class Matrix {
 public:
  Matrix(FormatId format, int64_t rows, int64_t columns, uint64_t seed)
      : columns_(columns), bytes_(static_cast<size_t>(rows * row_bytes(format, columns))) {
    Random random(seed);
    const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(columns)));
    if (format == FormatId::mxfp4) scales_.resize(static_cast<size_t>(rows * columns / 32));
    for (uint8_t& s : scales_) s = static_cast<uint8_t>(121 + random.below(4));
    for (int64_t i = 0; i < rows * columns; ++i) values_.push_back(put(format, i, random.normal() * scale, random));
    view_ = dense_view(bytes_.data(), format, {rows, columns});
    if (format == FormatId::mxfp4) {
      view_.scales = scales_.data();
      view_.scale_row_bytes = columns / 32;
    }
  }
  Matrix(const Matrix&) = delete;
  Matrix& operator=(const Matrix&) = delete;

  const View& view() const { return view_; }
  double at(int64_t row, int64_t column) const { return values_[static_cast<size_t>(row * columns_ + column)]; }

 private:
  // Stores something near `value`; returns what was stored.
  float put(FormatId format, int64_t i, float value, Random& random) {
    char* at = bytes_.data() + (format == FormatId::mxfp4 ? i / 2 : i * row_bytes(format, 1));
    if (format == FormatId::f32) {
      std::memcpy(at, &value, 4);
      return value;
    }
    if (format == FormatId::mxfp4) {
      const auto nibble = static_cast<uint8_t>(random.below(16));
      *at = static_cast<char>(i % 2 == 0 ? nibble : static_cast<uint8_t>(*at) | nibble << 4);
      return e2m1_to_f32(nibble) * e8m0_to_f32(scales_[static_cast<size_t>(i / 32)]);
    }
    // f16: exponents from 2^-6 to 2^-3, any sign and mantissa
    const auto bits = static_cast<uint16_t>(
        format == FormatId::bf16 ? f32_to_bf16(value) : (random.bits() & 0x83ff) | (0x2400 + 0x400 * random.below(4)));
    std::memcpy(at, &bits, 2);
    return format == FormatId::bf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
  }

  int64_t columns_;
  std::vector<char> bytes_;
  std::vector<uint8_t> scales_;
  std::vector<float> values_;
  View view_;
};

}  // namespace moxie::test
