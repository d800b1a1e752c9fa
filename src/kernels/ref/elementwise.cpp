// Reference norms, rotary embedding, activations and vector helpers, in double.
#include <algorithm>
#include <cmath>

#include "kernels/ref/ref.h"

namespace moxie::ref {

void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* y) noexcept {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  const double factor = 1 / std::sqrt(sum / static_cast<double>(n) + static_cast<double>(eps));
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(x[i] * factor * weight[i]);
}

void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t n, float* y) noexcept {
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += x[i];
  mean /= static_cast<double>(n);
  double variance = 0;
  for (int64_t i = 0; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean);
  const double factor = 1 / std::sqrt(variance / static_cast<double>(n) + static_cast<double>(eps));
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>((x[i] - mean) * factor * weight[i] + bias[i]);
}

void rope(float* x, const float* cos, const float* sin, int64_t dim, bool interleaved) noexcept {
  const int64_t half = dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    float& a = interleaved ? x[2 * i] : x[i];
    float& b = interleaved ? x[2 * i + 1] : x[i + half];
    const double c = cos[i], s = sin[i], a0 = a, b0 = b;
    a = static_cast<float>(a0 * c - b0 * s);
    b = static_cast<float>(b0 * c + a0 * s);
  }
}

void glu(const GluArgs& args, const float* gate, const float* up, int64_t n, float* h) noexcept {
  const double alpha = args.alpha, limit = args.limit;
  for (int64_t i = 0; i < n; ++i) {
    double g = gate[i], u = up[i];
    switch (args.kind) {
      case GluKind::swiglu:
        h[i] = static_cast<float>(g / (1 + std::exp(-g)) * u);
        break;
      case GluKind::clamped_swiglu:
        g = std::min(g, limit);
        u = std::clamp(u, -limit, limit);
        h[i] = static_cast<float>(g / (1 + std::exp(-alpha * g)) * (u + 1));
        break;
      case GluKind::geglu: {
        const double inner = std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g);
        h[i] = static_cast<float>(0.5 * g * (1 + std::tanh(inner)) * u);
        break;
      }
    }
  }
}

void add_scaled(const float* x, float factor, int64_t n, float* y) noexcept {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(y[i] + static_cast<double>(factor) * x[i]);
}

void scale(const float* x, float factor, int64_t n, float* y) noexcept {
  for (int64_t i = 0; i < n; ++i) y[i] = factor * x[i];
}

void softmax(float* x, int64_t n) noexcept {
  const double max = *std::max_element(x, x + n);
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += std::exp(x[i] - max);
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<float>(std::exp(x[i] - max) / total);
}

const KernelSet kSet = {
    .name = "ref",
    .summary = "plain loops in double precision: the truth, slow",
    .activation_format = activation_format,
    .encode_row = encode_row,
    .decode_row = decode_row,
    .gemm_scratch_bytes = gemm_scratch_bytes,
    .gemm = gemm,
    .tile_rows = [](FormatId) noexcept { return int64_t{1}; },
    .gemm_in_major = gemm_in_major,
    .attention_scratch_bytes = attention_scratch_bytes,
    .attention = attention,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .rope = rope,
    .glu = glu,
    .add_scaled = add_scaled,
    .scale = scale,
    .softmax = softmax,
    .matmul_scratch_bytes = matmul_scratch_bytes,
    .matmul = matmul,
    .rms_norm_backward = rms_norm_backward,
    .layer_norm_backward = layer_norm_backward,
    .glu_backward = glu_backward,
    .softmax_backward = softmax_backward,
    .cross_entropy = cross_entropy,
    .dot = dot,
    .adamw = adamw,
};

}  // namespace moxie::ref
