// The table of kernels: raw pointers in, raw pointers out; noexcept, no allocation, one thread. One set an instruction
// set, chosen at run time. Kernels trust their arguments: callers have checked them.
//
// The same-bits law. What an output element gets depends on its own inputs only: never on how many rows stand beside
// it, on n_begin/n_end, on gather order or on threads. Products over k follow the set's "k-lane order": lane j of a
// fixed number of lanes sums the terms k = j (mod lanes) in order, the lanes are added by one fixed tree, nothing else.
// Integer rows times block formats: exact integer sums within a block or part of it, then f32 sums from block to block
// in order.
// Attention walks keys in fixed blocks of kKeyBlock positions from position 0 on; a score sums its elements in order,
// lanes over positions.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "format/block.h"
#include "kernels/kv_page.h"

namespace moxie {

inline constexpr int64_t kDirectRows = 16;  // up to here gemm reads weights where they lie; beyond, it copies blocks

/// Most columns of one gemm call when a product is split over threads. Many rows: wide, since a call copies its rows of
/// x, which at 192 columns costs 2%. Few rows: narrow, so that threads end together; block formats wider, since a call
/// prefetches its later panels, never its first.
inline int64_t gemm_column_block(int64_t num_rows, FormatId weight) {
  if (is_block_format(weight)) return 256;
  return num_rows <= kDirectRows ? 72 : 192;
}

/// Columns that a gemm call takes at a time: calls should have a multiple of it.
inline int64_t gemm_column_tile(FormatId weight) {
  return is_block_format(weight) ? 32 : 24;
}

/// A weight matrix [N, K] in the checkpoint's own layout: row n at data + n * row_bytes. Packed: 32 rows from a
/// multiple of 32 on stand there together (format/packed.h), and products begin and end at such multiples.
struct WeightRef {
  const void* data = nullptr;
  int64_t row_bytes = 0;
  FormatId format = FormatId::f32;  // f32, bf16, f16, mxfp4, f8_e4m3, block formats (format/block.h)
  const void* scales = nullptr;     // mxfp4: one e8m0 byte a block of 32; f8_e4m3: format/fp8.h
  int64_t scale_row_bytes = 0;
  bool packed = false;
};

/// y[m, n - n_begin] = sum_k x[m, k] w[n, k] + bias[n], n in [n_begin, n_end).
struct GemmArgs {
  const void* x = nullptr;  // row i at x + i * x_row_bytes
  FormatId x_format =
      FormatId::f32;  // f32 always works (exact: the router asks for it); else activation_format(w.format)
  int64_t x_row_bytes = 0;
  const int32_t* x_rows = nullptr;  // [num_rows] which row of x feeds output row m; null: row m itself
  int64_t num_rows = 0;             // M
  WeightRef w;
  const float* bias = nullptr;  // [N] or null, indexed by n
  int64_t n_begin = 0, n_end = 0;
  int64_t k = 0;
  float* y = nullptr;
  int64_t y_stride = 0;     // floats from one output row to the next
  void* scratch = nullptr;  // gemm_scratch_bytes, 64-byte aligned, one per thread
};

/// One sequence, one layer, one KV head: attention of `num_queries` query rows of `group` heads over cached keys, which
/// lie in pages as kv_page.h says. Query i stands at position[i] and sees the keys max(0, position[i] - window + 1) ..
/// position[i] (window 0: all from 0).
struct AttentionArgs {
  const float* q = nullptr;  // query i, head g at q + i * q_stride + g * q_head_stride: [k_dim]
  int64_t q_stride = 0, q_head_stride = 0;
  const int32_t* position = nullptr;  // [num_queries], ascending
  int64_t num_queries = 0;
  int64_t group = 1;  // query heads that share this KV head
  int64_t k_dim = 0, v_dim = 0;
  FormatId format = FormatId::f32;       // of keys and values
  const void* const* k_pages = nullptr;  // part of page p, of positions [p * kKeyBlock, (p + 1) * kKeyBlock)
  const void* const* v_pages = nullptr;  // 64 bytes behind a part may be read; null: the first v_dim elements of keys
  int64_t window = 0;
  float scale = 1;
  const float* sinks = nullptr;  // [group] or null: a logit that joins the softmax of each head and has no value
  float* out = nullptr;          // out + i * out_stride + g * out_head_stride: [v_dim]
  int64_t out_stride = 0, out_head_stride = 0;
  void* scratch = nullptr;  // attention_scratch_bytes, 64-byte aligned, one per thread
};

/// h = activation(gate, up), element by element.
enum class GluKind { swiglu, clamped_swiglu, geglu };
struct GluArgs {
  GluKind kind = GluKind::swiglu;
  float alpha = 1.702f, limit = 7.0f;
};

// ---- training ----

/// How a training product multiplies: f32, or operands rounded to bf16 (nearest, ties to even) with products summed in
/// f32.
enum class Precision { f32, bf16 };

/// One operand of a training product: element (i, k) of a matrix [I, K], stored f32 either way round. Stored row r
/// lies at data + (rows ? rows[r] : r) * stride.
struct MatmulOperand {
  const float* data = nullptr;
  int64_t stride = 0;             // floats from one stored row to the next
  bool k_major = false;           // false: stored row i holds element (i, k) at k; true: stored row k holds it at i
  const int32_t* rows = nullptr;  // gather; null: stored row r itself
};

/// c(m, n) = [c(m, n) +] sum_k a(m, k) b(n, k) [+ bias(n)], for m in [m_begin, m_end), n in [n_begin, n_end).
/// k is summed in order, one accumulator an element, whatever the shape of the call (the same-bits law): with bf16 in
/// order of pairs (2j, 2j + 1). Forward y = x w^T: a = x, b = w. Gradient of x: a = dy, b = w k-major. Gradient of w:
/// a = dy k-major, b = x k-major.
struct MatmulArgs {
  MatmulOperand a, b;
  int64_t m_begin = 0, m_end = 0, n_begin = 0, n_end = 0, k = 0;
  Precision precision = Precision::f32;
  bool accumulate = false;
  const float* bias = nullptr;  // [N], indexed by n, or null
  float* c = nullptr;           // element (m, n) at c + m * c_stride + n
  int64_t c_stride = 0;
  void* scratch = nullptr;  // matmul_scratch_bytes(), 64-byte aligned, one per thread
};

/// One step of AdamW with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101) over n parameters:
/// g = grad * grad_scale; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
/// w = w (1 - lr * weight_decay) - lr (m / bias1) / (sqrt(v / bias2) + eps).
struct AdamwArgs {
  float* weight = nullptr;
  const float* grad = nullptr;
  float *m = nullptr, *v = nullptr;
  int64_t n = 0;
  float lr = 0, beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f, weight_decay = 0;
  float grad_scale = 1;        // of clipping
  float bias1 = 1, bias2 = 1;  // 1 - beta^step
};

struct KernelSet {
  std::string_view name;     // "ref", "avx2", "avx512", "avx512vnni", "avx512bf16"
  std::string_view summary;  // one line for `doctor`

  /// The format a row of x must be in when the weight has that format (bf16 where the set has a bf16 dot, an x8 form
  /// where it multiplies block formats by integers).
  FormatId (*activation_format)(FormatId weight) noexcept;
  /// A row of f32 into an activation format or f16 (f32: a copy; others: nearest, ties to even).
  void (*encode_row)(FormatId to, const float* x, int64_t k, void* out) noexcept;
  /// A row of any computable format (f32, bf16, f16, mxfp4 and f8_e4m3 with their scales, blocks) into f32, exactly.
  void (*decode_row)(FormatId from, const void* row, const void* scales, int64_t k, float* out) noexcept;

  /// A multiple of 64; more rows or a longer k need no less.
  int64_t (*gemm_scratch_bytes)(int64_t num_rows, int64_t k) noexcept;
  void (*gemm)(const GemmArgs& args) noexcept;
  /// Rows of x that gemm holds in registers at once for a weight of that format: fewer leave some of its work undone.
  /// For statistics.
  int64_t (*tile_rows)(FormatId weight) noexcept;
  /// y[m, n] = sum_k x[m, k] w[k, n] for w [K, N] row-major f32/bf16/f16: lanes own outputs, k in order. x is f32.
  void (*gemm_in_major)(const float* x, int64_t x_stride, int64_t num_rows, const WeightRef& w, int64_t k, int64_t n,
                        float* y, int64_t y_stride) noexcept;

  int64_t (*attention_scratch_bytes)(int64_t k_dim, int64_t v_dim) noexcept;
  void (*attention)(const AttentionArgs& args) noexcept;

  /// y = x / sqrt(mean(x^2) + eps) * weight. In place is allowed.
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n, float* y) noexcept;
  /// y = (x - mean) / sqrt(var + eps) * weight + bias. In place is allowed.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, int64_t n, float* y) noexcept;
  /// Rotates x [dim] by cos/sin [dim / 2]; interleaved: pairs (2i, 2i+1), else (i, i + dim/2). In place.
  void (*rope)(float* x, const float* cos, const float* sin, int64_t dim, bool interleaved) noexcept;
  void (*glu)(const GluArgs& args, const float* gate, const float* up, int64_t n, float* h) noexcept;
  /// y += scale * x.
  void (*add_scaled)(const float* x, float scale, int64_t n, float* y) noexcept;
  /// y = scale * x.
  void (*scale)(const float* x, float scale, int64_t n, float* y) noexcept;
  /// x = softmax(x), with the row maximum subtracted.
  void (*softmax)(float* x, int64_t n) noexcept;

  // ---- training: backward passes and the optimizer; "+=" adds, all else overwrites ----

  int64_t (*matmul_scratch_bytes)() noexcept;
  void (*matmul)(const MatmulArgs& args) noexcept;
  /// dx += d rms_norm / dx * dy; d_weight += the row's part. x, weight, eps as in the forward pass.
  void (*rms_norm_backward)(const float* x, const float* weight, float eps, const float* dy, int64_t n, float* dx,
                            float* d_weight) noexcept;
  /// dx += ...; d_weight += ...; d_bias += dy.
  void (*layer_norm_backward)(const float* x, const float* weight, float eps, const float* dy, int64_t n, float* dx,
                              float* d_weight, float* d_bias) noexcept;
  /// From gate, up and dh: d_gate, d_up, and h = weight * glu(gate, up) for the gradient of the down matrix; dh counts
  /// as weight * dh. Returns sum_i dh_i glu(gate, up)_i, the gradient of `weight`. d_gate may be gate, d_up may be up,
  /// h may be dh.
  float (*glu_backward)(const GluArgs& args, const float* gate, const float* up, const float* dh, float weight,
                        int64_t n, float* d_gate, float* d_up, float* h) noexcept;
  /// ds = scale * p * (dp - sum_i p_i dp_i): the gradient of a softmax whose result is p. ds may be dp. Returns
  /// sum_i p_i dp_i.
  float (*softmax_backward)(const float* p, const float* dp, float scale, int64_t n, float* ds) noexcept;
  /// logits become scale * (softmax(logits) - onehot(target)); returns -log softmax(logits)[target].
  float (*cross_entropy)(float* logits, int64_t n, int64_t target, float scale) noexcept;
  float (*dot)(const float* x, const float* y, int64_t n) noexcept;
  void (*adamw)(const AdamwArgs& args) noexcept;
};

/// Every set compiled in, slowest first; ref is always there.
std::span<const KernelSet* const> all_kernel_sets();

/// Whether this CPU (and operating system) can run a set.
bool runs_here(const KernelSet& set);

/// The set of that name, or nullptr.
const KernelSet* find_kernel_set(std::string_view name);

/// The best set that runs here; the MOXIE_KERNELS variable forces one. Throws Error{usage} if that one is unknown or
/// cannot run here.
const KernelSet& choose_kernel_set();

}  // namespace moxie
