#include "ops/matmul.h"

#include <algorithm>
#include <cstring>

namespace moxie {
namespace {

constexpr int64_t kBlockRows = 264, kBlockColumns = 512;  // of one work item: what it packs fits into L2

struct PlannedJob {
  const MatmulJob* job;
  int64_t rows, columns;  // of an item
  int64_t column_items;
  int64_t item_begin;
};

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Blocks of nearly equal size, whole register tiles.
int64_t even_block(int64_t n, int64_t largest, int64_t multiple) {
  const int64_t blocks = std::max<int64_t>(1, ceil_div(n, largest));
  return std::max(multiple, ceil_div(ceil_div(n, blocks), multiple) * multiple);
}

}  // namespace

void matmul(Exec& exec, Precision precision, std::span<const MatmulJob> jobs) {
  Arena::Scope scope(exec.arena);
  PlannedJob* planned = exec.arena.alloc<PlannedJob>(static_cast<int64_t>(jobs.size()));
  int64_t num_items = 0;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const MatmulJob& job = jobs[i];
    PlannedJob& p = planned[i];
    p = {&job, even_block(job.m, kBlockRows, 24), even_block(job.n, kBlockColumns, 32), 0, num_items};
    p.column_items = ceil_div(job.n, p.columns);
    num_items += ceil_div(job.m, p.rows) * p.column_items;
  }
  const int64_t scratch_bytes = (exec.kernels.matmul_scratch_bytes() + 63) / 64 * 64;
  char* scratch = static_cast<char*>(exec.arena.alloc_bytes(static_cast<size_t>(scratch_bytes * exec.pool.size())));
  exec.pool.run(num_items, [&](int64_t item, int worker) {
    const PlannedJob* p = std::upper_bound(planned, planned + jobs.size(), item,
                                           [](int64_t i, const PlannedJob& each) { return i < each.item_begin; }) -
                          1;
    const MatmulJob& job = *p->job;
    const int64_t m = (item - p->item_begin) / p->column_items * p->rows;
    const int64_t n = (item - p->item_begin) % p->column_items * p->columns;
    exec.kernels.matmul({.a = job.a,
                         .b = job.b,
                         .m_begin = m,
                         .m_end = std::min(m + p->rows, job.m),
                         .n_begin = n,
                         .n_end = std::min(n + p->columns, job.n),
                         .k = job.k,
                         .precision = precision,
                         .accumulate = job.accumulate,
                         .bias = job.bias,
                         .c = job.c,
                         .c_stride = job.c_stride,
                         .scratch = scratch + worker * scratch_bytes});
  });
}

MatmulJob linear_forward(const float* x, int64_t num_rows, int64_t k, const float* w, int64_t n, const float* bias,
                         float* y) {
  return {.a = {.data = x, .stride = k},
          .b = {.data = w, .stride = k},
          .m = num_rows,
          .n = n,
          .k = k,
          .c = y,
          .c_stride = n,
          .bias = bias};
}

MatmulJob linear_input_gradient(const float* dy, int64_t num_rows, int64_t n, const float* w, int64_t k, float* dx,
                                bool accumulate) {
  return {.a = {.data = dy, .stride = n},
          .b = {.data = w, .stride = k, .k_major = true},
          .m = num_rows,
          .n = k,
          .k = n,
          .c = dx,
          .c_stride = k,
          .accumulate = accumulate};
}

MatmulJob linear_weight_gradient(const float* dy, int64_t num_rows, const float* x, const View& w,
                                 const Gradients& gradients) {
  const int64_t n = w.shape[0], k = w.shape[1];
  return {.a = {.data = dy, .stride = n, .k_major = true},
          .b = {.data = x, .stride = k, .k_major = true},
          .m = n,
          .n = k,
          .k = num_rows,
          .c = gradients.of(w),
          .c_stride = k,
          .accumulate = !gradients.anew};
}

void add_column_sums(Exec& exec, const float* dy, int64_t num_rows, int64_t n, float* db) {
  constexpr int64_t kColumns = 64;
  exec.pool.run(ceil_div(n, kColumns), [&](int64_t block, int) {
    const int64_t begin = block * kColumns, count = std::min(kColumns, n - begin);
    for (int64_t row = 0; row < num_rows; ++row) {
      exec.kernels.add_scaled(dy + row * n + begin, 1.0f, count, db + begin);
    }
  });
}

}  // namespace moxie
