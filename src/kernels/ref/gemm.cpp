// Reference products and row codecs: every weight element is decoded by its scalar codec and summed in double.
#include <cstring>

#include "format/block.h"
#include "format/codec.h"
#include "format/fp8.h"
#include "format/packed.h"
#include "kernels/ref/ref.h"

namespace moxie::ref {
namespace {

template <typename T>
T load(const void* data, int64_t i) noexcept {
  T value;  // rows in a file may be misaligned
  std::memcpy(&value, static_cast<const char*>(data) + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

const void* at(const void* base, int64_t bytes) noexcept {
  return static_cast<const char*>(base) + bytes;
}

float element(FormatId format, const void* row, const void* scales, int64_t i) noexcept {
  switch (format) {
    case FormatId::f32:
      return load<float>(row, i);
    case FormatId::bf16:
      return bf16_to_f32(load<uint16_t>(row, i));
    case FormatId::f16:
      return f16_to_f32(load<uint16_t>(row, i));
    case FormatId::mxfp4: {
      const uint8_t byte = load<uint8_t>(row, i / 2);
      const uint8_t nibble = i % 2 == 0 ? byte & 15 : byte >> 4;
      return e2m1_to_f32(nibble) * e8m0_to_f32(load<uint8_t>(scales, i / 32));
    }
    case FormatId::f8_e4m3:
      return f8_e4m3_to_f32(load<uint8_t>(row, i)) * load<float>(scales, i / kFp8Block);
    default:
      return 0;  // block formats are decoded by the block
  }
}

// sum_k x[k] w[n, k].
double product(const float* x, const WeightRef& weight, int64_t n, int64_t k) noexcept {
  const FormatId format = weight.format;
  const void* w = at(weight.data, n * weight.row_bytes);
  double sum = 0;
  if (!is_block_format(format)) {
    const void* scales =
        weight.scales == nullptr ? nullptr : at(weight.scales, scale_row(format, n) * weight.scale_row_bytes);
    for (int64_t i = 0; i < k; ++i) sum += static_cast<double>(load<float>(x, i)) * element(format, w, scales, i);
    return sum;
  }
  const FormatInfo& info = format_info(format);
  const int64_t row = weight.packed ? n % kPackedRows : 0;
  float block[256];
  for (int64_t i = 0; i < k; i += info.block_elems) {
    if (weight.packed) {
      const int64_t packed = (n - row) * weight.row_bytes + i / info.block_elems * kPackedRows * info.block_bytes;
      decode_packed_row(format, at(weight.data, packed), row, info.block_elems, block);
    } else {
      decode_blocks(format, at(w, i / info.block_elems * info.block_bytes), info.block_elems, block);
    }
    for (int64_t j = 0; j < info.block_elems; ++j) sum += static_cast<double>(load<float>(x, i + j)) * block[j];
  }
  return sum;
}

}  // namespace

FormatId activation_format(FormatId) noexcept {
  return FormatId::f32;
}

void encode_row(FormatId to, const float* x, int64_t k, void* out) noexcept {
  if (to == FormatId::f32) {
    std::memcpy(out, x, static_cast<size_t>(k) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < k; ++i) {
    const uint16_t bits = to == FormatId::f16 ? f32_to_f16(x[i]) : f32_to_bf16(x[i]);
    std::memcpy(static_cast<char*>(out) + 2 * i, &bits, 2);
  }
}

void decode_row(FormatId from, const void* row, const void* scales, int64_t k, float* out) noexcept {
  if (is_block_format(from)) return decode_blocks(from, row, k, out);
  for (int64_t i = 0; i < k; ++i) out[i] = element(from, row, scales, i);
}

int64_t gemm_scratch_bytes(int64_t, int64_t) noexcept {
  return 0;
}

void gemm(const GemmArgs& args) noexcept {
  for (int64_t m = 0; m < args.num_rows; ++m) {
    const void* x = at(args.x, (args.x_rows != nullptr ? args.x_rows[m] : m) * args.x_row_bytes);
    for (int64_t n = args.n_begin; n < args.n_end; ++n) {
      double sum = product(static_cast<const float*>(x), args.w, n, args.k);
      if (args.bias != nullptr) sum += args.bias[n];
      args.y[m * args.y_stride + n - args.n_begin] = static_cast<float>(sum);
    }
  }
}

void gemm_in_major(const float* x, int64_t x_stride, int64_t num_rows, const WeightRef& w, int64_t k, int64_t n,
                   float* y, int64_t y_stride) noexcept {
  for (int64_t m = 0; m < num_rows; ++m) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i) {
        sum += static_cast<double>(x[m * x_stride + i]) * element(w.format, at(w.data, i * w.row_bytes), nullptr, j);
      }
      y[m * y_stride + j] = static_cast<float>(sum);
    }
  }
}

}  // namespace moxie::ref
