// Reference backward passes, training products and AdamW, in double.
#include <algorithm>
#include <cmath>

#include "format/codec.h"
#include "kernels/ref/ref.h"

namespace moxie::ref {
namespace {

double element(const MatmulOperand& operand, Precision precision, int64_t i, int64_t k) noexcept {
  const int64_t row = operand.k_major ? k : i, column = operand.k_major ? i : k;
  const float value = operand.data[(operand.rows != nullptr ? operand.rows[row] : row) * operand.stride + column];
  return precision == Precision::bf16 ? bf16_to_f32(f32_to_bf16(value)) : value;
}

// act(gate) and its derivative, for the two factors of a GLU: h = a(gate) * b(up).
struct Factors {
  double a, da, b, db;
};

Factors factors(const GluArgs& args, double g, double u) noexcept {
  switch (args.kind) {
    case GluKind::swiglu: {
      const double s = 1 / (1 + std::exp(-g));
      return {g * s, s * (1 + g * (1 - s)), u, 1};
    }
    case GluKind::clamped_swiglu: {
      const double limit = args.limit, alpha = args.alpha, c = std::min(g, limit);
      const double s = 1 / (1 + std::exp(-alpha * c));
      const double slope = g <= limit ? s * (1 + alpha * c * (1 - s)) : 0;
      return {c * s, slope, std::clamp(u, -limit, limit) + 1, u >= -limit && u <= limit ? 1.0 : 0.0};
    }
    case GluKind::geglu: {
      const double c = std::sqrt(2 / M_PI), t = std::tanh(c * (g + 0.044715 * g * g * g));
      const double slope = 0.5 * (1 + t) + 0.5 * g * (1 - t * t) * c * (1 + 3 * 0.044715 * g * g);
      return {0.5 * g * (1 + t), slope, u, 1};
    }
  }
  return {};
}

}  // namespace

int64_t matmul_scratch_bytes() noexcept {
  return 0;
}

void matmul(const MatmulArgs& args) noexcept {
  for (int64_t m = args.m_begin; m < args.m_end; ++m) {
    for (int64_t n = args.n_begin; n < args.n_end; ++n) {
      float& c = args.c[m * args.c_stride + n];
      double sum = args.accumulate ? c : 0;
      for (int64_t k = 0; k < args.k; ++k) {
        sum += element(args.a, args.precision, m, k) * element(args.b, args.precision, n, k);
      }
      c = static_cast<float>(args.bias != nullptr ? sum + args.bias[n] : sum);
    }
  }
}

void rms_norm_backward(const float* x, const float* weight, float eps, const float* dy, int64_t n, float* dx,
                       float* d_weight) noexcept {
  double squares = 0, dot_sum = 0;
  for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * x[i];
  const double factor = 1 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(eps));
  for (int64_t i = 0; i < n; ++i) dot_sum += static_cast<double>(dy[i]) * weight[i] * x[i];
  const double along = dot_sum * factor * factor * factor / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    dx[i] = static_cast<float>(dx[i] + static_cast<double>(dy[i]) * weight[i] * factor - along * x[i]);
    d_weight[i] = static_cast<float>(d_weight[i] + dy[i] * x[i] * factor);
  }
}

void layer_norm_backward(const float* x, const float* weight, float eps, const float* dy, int64_t n, float* dx,
                         float* d_weight, float* d_bias) noexcept {
  const auto count = static_cast<double>(n);
  double mean = 0, variance = 0;
  for (int64_t i = 0; i < n; ++i) mean += x[i];
  mean /= count;
  for (int64_t i = 0; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean);
  const double factor = 1 / std::sqrt(variance / count + static_cast<double>(eps));
  double sum = 0, along = 0;  // means of dy * weight, and of it times the normed value
  for (int64_t i = 0; i < n; ++i) {
    const double g = static_cast<double>(dy[i]) * weight[i];
    sum += g / count;
    along += g * (x[i] - mean) * factor / count;
  }
  for (int64_t i = 0; i < n; ++i) {
    const double normed = (x[i] - mean) * factor;
    dx[i] = static_cast<float>(dx[i] + factor * (static_cast<double>(dy[i]) * weight[i] - sum - normed * along));
    d_weight[i] = static_cast<float>(d_weight[i] + dy[i] * normed);
    d_bias[i] += dy[i];
  }
}

float glu_backward(const GluArgs& args, const float* gate, const float* up, const float* dh, float weight, int64_t n,
                   float* d_gate, float* d_up, float* h) noexcept {
  double d_weight = 0;
  for (int64_t i = 0; i < n; ++i) {
    const Factors f = factors(args, gate[i], up[i]);
    const double d = dh[i];
    d_weight += d * f.a * f.b;
    d_gate[i] = static_cast<float>(weight * d * f.da * f.b);
    d_up[i] = static_cast<float>(weight * d * f.a * f.db);
    h[i] = static_cast<float>(weight * f.a * f.b);
  }
  return static_cast<float>(d_weight);
}

float softmax_backward(const float* p, const float* dp, float scale, int64_t n, float* ds) noexcept {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(p[i]) * dp[i];
  for (int64_t i = 0; i < n; ++i) ds[i] = static_cast<float>(static_cast<double>(scale) * p[i] * (dp[i] - sum));
  return static_cast<float>(sum);
}

float cross_entropy(float* logits, int64_t n, int64_t target, float scale) noexcept {
  const double max = *std::max_element(logits, logits + n);
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += std::exp(logits[i] - max);
  const double loss = std::log(total) + max - logits[target];
  for (int64_t i = 0; i < n; ++i) {
    logits[i] = static_cast<float>(scale * (std::exp(logits[i] - max) / total - (i == target ? 1 : 0)));
  }
  return static_cast<float>(loss);
}

float dot(const float* x, const float* y, int64_t n) noexcept {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * y[i];
  return static_cast<float>(sum);
}

void adamw(const AdamwArgs& args) noexcept {
  for (int64_t i = 0; i < args.n; ++i) {
    const double g = static_cast<double>(args.grad[i]) * args.grad_scale;
    const double m = args.beta1 * static_cast<double>(args.m[i]) + (1 - static_cast<double>(args.beta1)) * g;
    const double v = args.beta2 * static_cast<double>(args.v[i]) + (1 - static_cast<double>(args.beta2)) * g * g;
    args.m[i] = static_cast<float>(m);
    args.v[i] = static_cast<float>(v);
    const double kept = args.weight[i] * (1 - static_cast<double>(args.lr) * args.weight_decay);
    args.weight[i] = static_cast<float>(kept - args.lr * (m / args.bias1) / (std::sqrt(v / args.bias2) + args.eps));
  }
}

}  // namespace moxie::ref
