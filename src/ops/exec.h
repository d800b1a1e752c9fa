// What an op needs to run: a kernel set, threads and scratch. An argument, never a global.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/arena.h"
#include "base/thread_pool.h"
#include "format/fp8.h"
#include "format/packed.h"
#include "kernels/kernels.h"
#include "ops/step_profile.h"
#include "tensor/tensor.h"

namespace moxie {

struct Exec {
  const KernelSet& kernels;
  ThreadPool& pool;
  Arena& arena;
  StepProfile* profile = nullptr;  // null: nobody asks where time goes
};

/// What has been done since the last call of it was `work`.
inline void lap(const Exec& exec, StepWork work) {
  if (exec.profile != nullptr) exec.profile->lap(work);
}

/// Calls body(row, worker) for each row of [0, num_rows): on all threads, unless so few rows are not worth waking them.
/// A thread takes runs of rows: what neighbours write often shares cache lines (keys do).
template <typename Body>
void for_rows(Exec& exec, int64_t num_rows, Body&& body) {
  constexpr int64_t kWorthThreads = 8, kRunsPerThread = 8;
  const auto run_rows = [&](int64_t first, int64_t last, int worker) {
    for (int64_t row = first; row < last; ++row) body(row, worker);
  };
  if (num_rows < kWorthThreads) return run_rows(0, num_rows, 0);
  const int64_t runs = std::min<int64_t>(num_rows, kRunsPerThread * exec.pool.size());
  exec.pool.run(runs,
                [&](int64_t run, int worker) { run_rows(run * num_rows / runs, (run + 1) * num_rows / runs, worker); });
}

/// Row `row` of a matrix in any computable format as f32, exactly; rows of all dimensions but the last are counted
/// through.
inline void decode_row(const KernelSet& kernels, const View& view, int64_t row, float* out) {
  const int64_t first = view.packed ? row / kPackedRows * kPackedRows : row;
  const char* data = static_cast<const char*>(view.data) + first * view.row_bytes;
  if (view.packed) return decode_packed_row(view.format, data, row - first, view.shape.back(), out);
  const auto* scales = static_cast<const char*>(view.scales);
  if (scales != nullptr) scales += scale_row(view.format, row) * view.scale_row_bytes;
  kernels.decode_row(view.format, data, scales, view.shape.back(), out);
}

/// The kernels' form of a weight view [N, K] (or [K, N] for in-major products).
inline WeightRef weight_ref(const View& view) {
  return {.data = view.data,
          .row_bytes = view.row_bytes,
          .format = view.format,
          .scales = view.scales,
          .scale_row_bytes = view.scale_row_bytes,
          .packed = view.packed};
}

}  // namespace moxie
