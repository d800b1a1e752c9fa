// Linear layers on row-major activations: y = x W^T + b, for one or several weights that share their input.
#pragma once

#include <array>
#include <span>

#include "ops/exec.h"

namespace moxie {

/// Bytes from one row of activations in `format` to the next: vectors of a row that begins with a cache line cross
/// none.
inline int64_t aligned_row_bytes(FormatId format, int64_t k) {
  return (row_bytes(format, k) + 63) / 64 * 64;
}

/// Rows of activations [num_rows, k], f32, and their forms in the formats that kernels ask for, each made once and
/// kept in the arena.
class Rows {
 public:
  Rows(const float* x, int64_t num_rows, int64_t k) : x_(x), num_rows_(num_rows), k_(k) {}

  struct Encoded {
    const void* data;
    int64_t row_bytes;
  };
  /// The rows in `format`, an activation format of the kernel set. Cost: one pass on first use. Call before entering a
  /// parallel region.
  Encoded as(Exec& exec, FormatId format);

  const float* f32() const { return x_; }
  int64_t num_rows() const { return num_rows_; }
  int64_t k() const { return k_; }

 private:
  const float* x_;
  int64_t num_rows_;
  int64_t k_;
  struct Form {
    FormatId format = FormatId::f32;
    Encoded rows{nullptr, 0};
  };
  std::array<Form, 3> forms_;  // of bf16 and the integers of a kernel set
};

/// One product: y [num_rows, N] = x W^T + bias.
struct LinearJob {
  View w;                       // [N, K]
  const float* bias = nullptr;  // [N]
  float* y = nullptr;
  int64_t y_stride = 0;  // floats between rows of y
};

/// Runs all jobs on the same rows as one parallel region. CHECKs shapes. `exact`: x stays f32 whatever the weight's
/// format (the router: its ties decide experts).
void linear(Exec& exec, Rows& x, std::span<const LinearJob> jobs, bool exact = false);

/// How the columns of a product may be cut: in multiples of `tile`, at most `most` a piece.
struct ColumnCut {
  int64_t tile, most;
};

/// What the kernels like for num_rows rows and a weight of that format.
ColumnCut column_cut(int64_t num_rows, FormatId weight);

/// Columns that one work item computes when `num_jobs` products with num_columns columns share a parallel region:
/// several items a thread.
int64_t column_block(const Exec& exec, int64_t num_columns, int64_t num_jobs, ColumnCut cut);

}  // namespace moxie
