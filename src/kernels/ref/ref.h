// The reference kernels: plain loops in double precision, the truth the other sets are tested against. Not fast.
#pragma once

#include "kernels/kernels.h"

namespace moxie::ref {

FormatId activation_format(FormatId weight) noexcept;
void encode_row(FormatId to, const float* x, int64_t k, void* out) noexcept;
void decode_row(FormatId from, const void* row, const void* scales, int64_t k, float* out) noexcept;
int64_t gemm_scratch_bytes(int64_t num_rows, int64_t k) noexcept;
void gemm(const GemmArgs& args) noexcept;
void gemm_in_major(const float* x, int64_t x_stride, int64_t num_rows, const WeightRef& w, int64_t k, int64_t n,
                   float* y, int64_t y_stride) noexcept;
int64_t attention_scratch_bytes(int64_t k_dim, int64_t v_dim) noexcept;
void attention(const AttentionArgs& args) noexcept;
void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* y) noexcept;
void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t n, float* y) noexcept;
void rope(float* x, const float* cos, const float* sin, int64_t dim, bool interleaved) noexcept;
void glu(const GluArgs& args, const float* gate, const float* up, int64_t n, float* h) noexcept;
void add_scaled(const float* x, float scale, int64_t n, float* y) noexcept;
void scale(const float* x, float scale, int64_t n, float* y) noexcept;
void softmax(float* x, int64_t n) noexcept;

int64_t matmul_scratch_bytes() noexcept;
void matmul(const MatmulArgs& args) noexcept;
void rms_norm_backward(const float* x, const float* weight, float eps, const float* dy, int64_t n, float* dx,
                       float* d_weight) noexcept;
void layer_norm_backward(const float* x, const float* weight, float eps, const float* dy, int64_t n, float* dx,
                         float* d_weight, float* d_bias) noexcept;
float glu_backward(const GluArgs& args, const float* gate, const float* up, const float* dh, float weight, int64_t n,
                   float* d_gate, float* d_up, float* h) noexcept;
float softmax_backward(const float* p, const float* dp, float scale, int64_t n, float* ds) noexcept;
float cross_entropy(float* logits, int64_t n, int64_t target, float scale) noexcept;
float dot(const float* x, const float* y, int64_t n) noexcept;
void adamw(const AdamwArgs& args) noexcept;

extern const KernelSet kSet;

}  // namespace moxie::ref
