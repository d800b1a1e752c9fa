// Training products c = a b^T with either operand stored either way round: blocks of both are copied to panels in the
// order in which a register tile reads them, transposed, gathered and rounded to bf16 on the way as need be.
//
// Lanes own outputs and k is summed in order, one accumulator an element; sums wait in c between blocks of k. What an
// element gets therefore depends on its own row of a and of b alone.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"

namespace moxie::cpu {
namespace {

constexpr int64_t kPanelSteps = 192;     // steps of k copied at once: a panel of b stays in L1
constexpr int64_t kMatmulRows = 264;     // of a, and
constexpr int64_t kMatmulColumns = 512;  // of b, copied at once: together they stay in L2

// How a product multiplies: a step is one 32-bit unit of each operand.

/// f32: a step is one k.
template <class IsaT>
struct FmaProduct {
  using Isa = IsaT;
  static constexpr int64_t kStep = 1;
  static typename Isa::F from_f32(typename Isa::F v) { return v; }
  static typename Isa::F dot(typename Isa::F sum, float a, typename Isa::F b) { return Isa::fma(Isa::set1(a), b, sum); }
};

/// bf16 operands where there is no bf16 product: rounded, then as f32.
template <class IsaT>
struct RoundedProduct : FmaProduct<IsaT> {
  static typename IsaT::F from_f32(typename IsaT::F v) { return IsaT::round_bf16(v); }
};

template <class Product>
struct Panel {
  using Isa = typename Product::Isa;
  using F = typename Isa::F;

  static const float* stored_row(const MatmulOperand& x, int64_t row) {
    return x.data + (x.rows != nullptr ? x.rows[row] : row) * x.stride;
  }

  /// Lanes [i, i + count) of step s of a k-major operand.
  static F k_major_step(const MatmulOperand& x, int64_t i, int64_t count, int64_t k, int64_t k_end) {
    const auto load = [&](int64_t row) {
      const float* p = stored_row(x, row) + i;
      return count == Isa::kLanes ? Isa::load(p) : Isa::load_part(p, count);
    };
    if constexpr (Product::kStep == 1) {
      return Product::from_f32(load(k));
    } else {
      return Product::pair_rows(load(k), k + 1 < k_end ? load(k + 1) : Isa::zero());
    }
  }

  /// kLanes steps from k on of one stored row of an i-major operand, in order.
  static F row_steps(const float* row, int64_t k, int64_t k_end) {
    const auto load = [&](int64_t from) {
      const int64_t left = k_end - from;
      return left >= Isa::kLanes ? Isa::load(row + from) : left > 0 ? Isa::load_part(row + from, left) : Isa::zero();
    };
    if constexpr (Product::kStep == 1) {
      return Product::from_f32(load(k));
    } else {
      return Product::pair_within(load(k), load(k + Isa::kLanes));
    }
  }

  /// out[s * kWidth + j] = step s of element (i + j, .), zero from i_end and k_end on; out has kLanes floats to spare.
  template <int kWidth>
  static void copy(const MatmulOperand& x, int64_t i, int64_t i_end, int64_t k, int64_t k_end, float* out) {
    const int64_t num_steps = (k_end - k + Product::kStep - 1) / Product::kStep;
    for (int64_t part = 0; part < kWidth; part += Isa::kLanes) {
      const int64_t left = i_end - i - part;
      const int64_t count = left < 0 ? 0 : left < Isa::kLanes ? left : Isa::kLanes;
      float* to = out + part;
      if (x.k_major) {
        for (int64_t s = 0; s < num_steps; ++s) {
          Isa::store(to + s * kWidth, k_major_step(x, i + part, count, k + s * Product::kStep, k_end));
        }
        continue;
      }
      const float* rows[Isa::kLanes];
      for (int64_t j = 0; j < Isa::kLanes; ++j) rows[j] = stored_row(x, j < count ? i + part + j : i);
      for (int64_t s = 0; s < num_steps; s += Isa::kLanes) {
        F block[Isa::kLanes];
#pragma GCC unroll 16
        for (int j = 0; j < Isa::kLanes; ++j) {
          block[j] = j < count ? row_steps(rows[j], k + s * Product::kStep, k_end) : Isa::zero();
        }
        Isa::transpose(block);
        if (s + Isa::kLanes <= num_steps) {
#pragma GCC unroll 16
          for (int j = 0; j < Isa::kLanes; ++j) Isa::store(to + (s + j) * kWidth, block[j]);
        } else {
          for (int64_t j = 0; j < num_steps - s; ++j) Isa::store(to + (s + j) * kWidth, block[j]);
        }
      }
    }
  }
};

/// Where a block of k stands in the sum.
struct Turn {
  bool load;  // c holds a part of the sum already
  bool last;  // the bias comes on top
};

/// kRows rows (num_rows of them wanted) x num_columns columns at c, over num_steps of packed panels.
template <class Product, int kRows, int kMaxRows>
void matmul_tile(const float* a, const float* b, int64_t num_steps, int64_t num_rows, int64_t num_columns, float* c,
                 int64_t c_stride, Turn turn, const float* bias) {
  using Isa = typename Product::Isa;
  using F = typename Isa::F;
  constexpr int kLanes = Isa::kLanes;
  F sum[kRows][2];
  const int64_t first = num_columns < kLanes ? num_columns : kLanes, second = num_columns - first;
  const bool whole = num_columns == 2 * kLanes;
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    if (turn.load && r < num_rows) {
      const float* row = c + r * c_stride;
      sum[r][0] = whole ? Isa::load(row) : Isa::load_part(row, first);
      sum[r][1] = whole ? Isa::load(row + kLanes) : second > 0 ? Isa::load_part(row + kLanes, second) : Isa::zero();
    } else {
      sum[r][0] = sum[r][1] = Isa::zero();
    }
  }
  for (int64_t s = 0; s < num_steps; ++s, a += kMaxRows, b += 2 * kLanes) {
    const F b0 = Isa::load(b), b1 = Isa::load(b + kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      sum[r][0] = Product::dot(sum[r][0], a[r], b0);
      sum[r][1] = Product::dot(sum[r][1], a[r], b1);
    }
  }
  F bias0 = Isa::zero(), bias1 = Isa::zero();
  if (turn.last && bias != nullptr) {
    bias0 = Isa::load_part(bias, first);
    if (second > 0) bias1 = Isa::load_part(bias + kLanes, second);
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    if (r >= num_rows) continue;
    float* row = c + r * c_stride;
    if (turn.last && bias != nullptr) {
      sum[r][0] = Isa::add(sum[r][0], bias0);
      sum[r][1] = Isa::add(sum[r][1], bias1);
    }
    if (whole) {
      Isa::store(row, sum[r][0]);
      Isa::store(row + kLanes, sum[r][1]);
    } else {
      Isa::store_part(row, sum[r][0], first);
      if (second > 0) Isa::store_part(row + kLanes, sum[r][1], second);
    }
  }
}

template <class Isa>
constexpr int64_t kMatmulScratch = (kMatmulRows + kMatmulColumns) * kPanelSteps + 4 * Isa::kLanes;

template <class Isa>
int64_t matmul_scratch_bytes() noexcept {
  return kMatmulScratch<Isa> * static_cast<int64_t>(sizeof(float));
}

/// Rows [m, m_end) x columns [n, n_end) of one block of k.
template <class Product>
void matmul_block(const MatmulArgs& args, int64_t m, int64_t m_end, int64_t n, int64_t n_end, int64_t k,
                  int64_t k_end) {
  using Isa = typename Product::Isa;
  constexpr int kRows = Isa::kOuterRows, kColumns = 2 * Isa::kLanes;
  static_assert(kMatmulRows % kRows == 0 && kMatmulColumns % kColumns == 0);
  const int64_t num_steps = (k_end - k + Product::kStep - 1) / Product::kStep;
  float* b = static_cast<float*>(args.scratch);
  float* a = b + kMatmulColumns * kPanelSteps + 2 * Isa::kLanes;
  for (int64_t i = n; i < n_end; i += kColumns) {
    Panel<Product>::template copy<kColumns>(args.b, i, n_end, k, k_end, b + (i - n) * num_steps);
  }
  for (int64_t i = m; i < m_end; i += kRows) {
    Panel<Product>::template copy<kRows>(args.a, i, m_end, k, k_end, a + (i - m) * num_steps);
  }
  const Turn turn{k > 0 || args.accumulate, k_end == args.k};
  for (int64_t i = n; i < n_end; i += kColumns) {
    const float* panel = b + (i - n) * num_steps;
    const int64_t columns = n_end - i < kColumns ? n_end - i : kColumns;
    const float* bias = args.bias == nullptr ? nullptr : args.bias + i;
    for (int64_t j = m; j < m_end; j += kRows) {
      const float* tile = a + (j - m) * num_steps;
      const int64_t rows = m_end - j;
      float* c = args.c + j * args.c_stride + i;
      if (rows > kRows * 2 / 3) {
        matmul_tile<Product, kRows, kRows>(tile, panel, num_steps, rows, columns, c, args.c_stride, turn, bias);
      } else if (rows > kRows / 3) {
        matmul_tile<Product, kRows * 2 / 3, kRows>(tile, panel, num_steps, rows, columns, c, args.c_stride, turn, bias);
      } else {
        matmul_tile<Product, kRows / 3, kRows>(tile, panel, num_steps, rows, columns, c, args.c_stride, turn, bias);
      }
    }
  }
}

template <class Product>
void matmul_of(const MatmulArgs& args) {
  const int64_t num_steps = (args.k + Product::kStep - 1) / Product::kStep;
  const int64_t num_blocks = num_steps <= kPanelSteps ? 1 : (num_steps + kPanelSteps - 1) / kPanelSteps;
  const int64_t block = (num_steps + num_blocks - 1) / num_blocks * Product::kStep;  // of nearly equal size
  for (int64_t m = args.m_begin; m < args.m_end; m += kMatmulRows) {
    const int64_t m_end = m + kMatmulRows < args.m_end ? m + kMatmulRows : args.m_end;
    for (int64_t n = args.n_begin; n < args.n_end; n += kMatmulColumns) {
      const int64_t n_end = n + kMatmulColumns < args.n_end ? n + kMatmulColumns : args.n_end;
      int64_t k = 0;
      do {  // once for k = 0, too: it writes zeros
        const int64_t k_end = k + block < args.k ? k + block : args.k;
        matmul_block<Product>(args, m, m_end, n, n_end, k, k_end);
        k = k_end;
      } while (k < args.k);
    }
  }
}

/// Bf16Product: how bf16 units are multiplied; void where the set has no way to.
template <class Isa, class Bf16Product>
void matmul(const MatmulArgs& args) noexcept {
  if (args.precision == Precision::f32) return matmul_of<FmaProduct<Isa>>(args);
  if constexpr (__is_same(Bf16Product, void)) {
    matmul_of<RoundedProduct<Isa>>(args);
  } else {
    matmul_of<Bf16Product>(args);
  }
}

}  // namespace
}  // namespace moxie::cpu
