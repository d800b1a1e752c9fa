// What an op needs to run: a kernel set, threads and scratch. An argument, never a global.
#pragma once

#include "base/arena.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "tensor/tensor.h"

namespace moxie {

struct Exec {
  const KernelSet& kernels;
  ThreadPool& pool;
  Arena& arena;
};

/// The kernels' form of a weight view [N, K] (or [K, N] for in-major products).
inline WeightRef weight_ref(const View& view) {
  return {.data = view.data,
          .row_bytes = view.row_bytes,
          .format = view.format,
          .scales = view.scales,
          .scale_row_bytes = view.scale_row_bytes};
}

}  // namespace moxie
