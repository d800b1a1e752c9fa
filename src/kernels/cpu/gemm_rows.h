// y = x w^T over rows of k as they lie in a checkpoint: sums in k-lane order, whatever the shape of the call.
//
// Few rows of x: weights stream straight through registers, once. Many rows: blocks of x and w are copied (widened,
// gathered, padded) to where a register tile of rows x columns finds them in order in L1 and L2. In both, lane j of a
// sum takes k = j, j + lanes, ... in order and the lanes are added by Isa::sum4: the bits are the same.
#pragma once

#include <cstdint>

#include "format/fp8.h"
#include "kernels/cpu/dot.h"
#include "kernels/kernels.h"

namespace moxie::cpu {
namespace {

constexpr int64_t kBlockSteps = 64;  // steps of k copied at once: a panel of w stays in L1 beside a tile of x
constexpr int64_t kBlockRows = 128;  // rows of x copied at once, and
constexpr int64_t kBlockCols = 192;  // columns whose sums wait for the next block of k: together about L2

inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
inline int64_t min_of(int64_t a, int64_t b) {
  return a < b ? a : b;
}

inline const char* x_row(const GemmArgs& args, int64_t m) {
  return static_cast<const char*>(args.x) + (args.x_rows != nullptr ? args.x_rows[m] : m) * args.x_row_bytes;
}

inline WeightRow w_row(const GemmArgs& args, int64_t n) {
  return {static_cast<const char*>(args.w.data) + n * args.w.row_bytes,
          static_cast<const char*>(args.w.scales) + scale_row(args.w.format, n) * args.w.scale_row_bytes};
}

/// Adds the lanes of a tile of sums and the bias, and stores the results: row m, column n of the call.
template <class Isa, int kRows, int kCols>
[[gnu::always_inline]] inline void finish_tile(const GemmArgs& args, const typename Isa::F (&sum)[kRows * kCols],
                                               int64_t m, int64_t n) {
  constexpr int kSums = kRows * kCols;
  float result[(kSums + 3) / 4 * 4];
#pragma GCC unroll 8
  for (int i = 0; i < kSums; i += 4) {
    const auto& last = sum[kSums - 1];
    _mm_storeu_ps(result + i, Isa::sum4(sum[i], i + 1 < kSums ? sum[i + 1] : last, i + 2 < kSums ? sum[i + 2] : last,
                                        i + 3 < kSums ? sum[i + 3] : last));
  }
  for (int r = 0; r < kRows; ++r) {
    float* y = args.y + (m + r) * args.y_stride + n - args.n_begin;
    for (int c = 0; c < kCols; ++c) {
      y[c] = args.bias == nullptr ? result[r * kCols + c] : result[r * kCols + c] + args.bias[n + c];
    }
  }
}

// ---- few rows ----

template <class Dot, int kRows, int kCols>
void direct_tile(const GemmArgs& args, int64_t m, int64_t n) {
  using Isa = typename Dot::Isa;
  typename Isa::F sum[kRows * kCols];
  const char* x[kRows];
  WeightRow w[kCols];
  const char* next[kCols];  // the columns after these: asked for here, they come as one steady stream from memory
#pragma GCC unroll 32
  for (int i = 0; i < kRows * kCols; ++i) sum[i] = Isa::zero();
  for (int r = 0; r < kRows; ++r) x[r] = x_row(args, m + r);
  for (int c = 0; c < kCols; ++c) {
    w[c] = w_row(args, n + c);
    next[c] = w_row(args, min_of(n + kCols + c, args.n_end - 1)).data;
  }
  const int64_t whole = args.k / Dot::kStep * Dot::kStep;
  for (int64_t k = 0; k < whole; k += Dot::kStep) {
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) {
      const auto wk = Dot::load_w(w[c], k);
      _mm_prefetch(next[c] + Dot::weight_bytes(k), _MM_HINT_T1);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) sum[r * kCols + c] = Dot::dot(sum[r * kCols + c], Dot::load_x(x[r], k), wk);
    }
  }
  if (whole < args.k) {
    const int64_t rest = args.k - whole;
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) {
      const auto wk = Dot::load_w_part(w[c], whole, rest);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        sum[r * kCols + c] = Dot::dot(sum[r * kCols + c], Dot::load_x_part(x[r], whole, rest), wk);
      }
    }
  }
  finish_tile<Isa, kRows, kCols>(args, sum, m, n);
}

/// All rows of x against kCols rows of w, which come from memory for the first tile and from cache for the rest.
template <class Dot, int kCols>
void direct_columns(const GemmArgs& args, int64_t n) {
  constexpr int kMax = Dot::Isa::kTileRows;
  int64_t m = 0;
  for (; m + kMax <= args.num_rows; m += kMax) direct_tile<Dot, kMax, kCols>(args, m, n);
  switch (args.num_rows - m) {
    case 3:
      if constexpr (kMax > 3) direct_tile<Dot, 3, kCols>(args, m, n);
      break;
    case 2:
      direct_tile<Dot, 2, kCols>(args, m, n);
      break;
    case 1:
      direct_tile<Dot, 1, kCols>(args, m, n);
      break;
    default:
      break;
  }
}

template <class Dot>
void gemm_direct(const GemmArgs& args) {
  constexpr int kAlone = 8, kCols = Dot::Isa::kTileCols;  // one row of x has registers for more columns
  int64_t n = args.n_begin;
  if (args.num_rows == 1) {
    for (; n + kAlone <= args.n_end; n += kAlone) direct_tile<Dot, 1, kAlone>(args, 0, n);
  } else {
    for (; n + kCols <= args.n_end; n += kCols) direct_columns<Dot, kCols>(args, n);
  }
  for (; n < args.n_end; ++n) direct_columns<Dot, 1>(args, n);
}

// ---- many rows ----

/// Copies steps [step, step + num_steps) of kCount rows: step after step, row after row within a step.
template <class Dot, int kCount, class Load, class LoadPart>
void pack(const Load& load, const LoadPart& load_part, int64_t k_end, int64_t step, int64_t num_steps, char* out) {
  using Isa = typename Dot::Isa;
  const int64_t k_begin = step * Dot::kStep;
  const int64_t whole = min_of(num_steps, (k_end - k_begin) / Dot::kStep);
  for (int64_t s = 0; s < whole; ++s) {
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
      Isa::store(out + (s * kCount + i) * Isa::kBytes, load(i, k_begin + s * Dot::kStep));
    }
  }
  if (whole < num_steps) {
    const int64_t k = k_begin + whole * Dot::kStep;
    for (int i = 0; i < kCount; ++i) {
      Isa::store(out + (whole * kCount + i) * Isa::kBytes, load_part(i, k, k_end - k));
    }
  }
}

template <class Dot, int kRows>
void pack_x(const GemmArgs& args, int64_t m, int64_t step, int64_t num_steps, char* out) {
  const char* x[kRows];
  const char* next[kRows];  // rows of the tile after this one: on their way while this one is copied
  for (int r = 0; r < kRows; ++r) {
    x[r] = x_row(args, m + r);
    next[r] = x_row(args, min_of(m + kRows + r, args.num_rows - 1));
  }
  pack<Dot, kRows>(
      [&](int r, int64_t k) {
        _mm_prefetch(next[r] + (64 / Dot::kStep) * k, _MM_HINT_T0);
        return Dot::load_x(x[r], k);
      },
      [&](int r, int64_t k, int64_t n) { return Dot::load_x_part(x[r], k, n); }, args.k, step, num_steps, out);
}

template <class Dot, int kCols>
void pack_w(const GemmArgs& args, int64_t n, int64_t step, int64_t num_steps, char* out) {
  WeightRow w[kCols];
  for (int c = 0; c < kCols; ++c) w[c] = w_row(args, n + c);
  pack<Dot, kCols>([&](int c, int64_t k) { return Dot::load_w(w[c], k); },
                   [&](int c, int64_t k, int64_t count) { return Dot::load_w_part(w[c], k, count); }, args.k, step,
                   num_steps, out);
}

/// One register tile over one block of k. `waiting` holds its sums from the blocks before, and takes them after.
template <class Dot, int kRows, int kCols>
void packed_tile(const GemmArgs& args, const char* x, const char* w, int64_t num_steps, char* waiting, bool first,
                 bool last, int64_t m, int64_t n) {
  using Isa = typename Dot::Isa;
  typename Isa::F sum[kRows * kCols];
#pragma GCC unroll 32
  for (int i = 0; i < kRows * kCols; ++i) sum[i] = first ? Isa::zero() : Isa::load(waiting + i * Isa::kBytes);
  for (int64_t s = 0; s < num_steps; ++s, x += kRows * Isa::kBytes, w += kCols * Isa::kBytes) {
    typename Dot::Operand xs[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) xs[r] = Isa::load(x + r * Isa::kBytes);
#pragma GCC unroll 8
    for (int c = 0; c < kCols; ++c) {
      const auto ws = Isa::load(w + c * Isa::kBytes);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) sum[r * kCols + c] = Dot::dot(sum[r * kCols + c], xs[r], ws);
    }
  }
  if (last) {
    finish_tile<Isa, kRows, kCols>(args, sum, m, n);
  } else {
#pragma GCC unroll 32
    for (int i = 0; i < kRows * kCols; ++i) Isa::store(waiting + i * Isa::kBytes, sum[i]);
  }
}

/// The part of a product that is worked on at once: rows [m, m_end) x columns [n, n_end) x steps [step, + num_steps).
struct Block {
  int64_t m, m_end, n, n_end, step, num_steps;
  bool first, last;
  char *x, *w, *waiting;  // scratch
};

/// Brings the columns of the next panel to L2 bit by bit while the tiles of this one are computed.
template <class Dot, int kCols>
struct Prefetch {
  Prefetch(const GemmArgs& args, const Block& block, int64_t n, int64_t num_tiles)
      : bytes_a_tile(ceil_div(Dot::weight_bytes(block.num_steps * Dot::kStep), num_tiles)) {
    for (int c = 0; c < kCols; ++c) {
      start[c] = w_row(args, min_of(n + c, args.n_end - 1)).data + Dot::weight_bytes(block.step * Dot::kStep);
    }
  }
  void fetch(int64_t tile) const {
    const int64_t first = tile * bytes_a_tile / 64 * 64, end = (tile + 1) * bytes_a_tile / 64 * 64;
    for (int64_t offset = first; offset < end; offset += 64) {
#pragma GCC unroll 8
      for (int c = 0; c < kCols; ++c) _mm_prefetch(start[c] + offset, _MM_HINT_T1);
    }
  }
  int64_t bytes_a_tile;
  const char* start[kCols];
};

/// kCols columns from n on against all rows of the block.
template <class Dot, int kCols>
void packed_panel(const GemmArgs& args, const Block& block, int64_t n) {
  using Isa = typename Dot::Isa;
  constexpr int kMax = Isa::kTileRows;
  pack_w<Dot, kCols>(args, n, block.step, block.num_steps, block.w);
  const int64_t num_tiles = ceil_div(block.m_end - block.m, kMax);
  const int64_t tile_bytes = kMax * block.num_steps * Isa::kBytes;
  const Prefetch<Dot, kCols> next(args, block, n + kCols, num_tiles);
  for (int64_t t = 0; t < num_tiles; ++t) {
    next.fetch(t);
    const int64_t m = block.m + t * kMax;
    const char* x = block.x + t * tile_bytes;
    char* waiting = block.waiting + ((n - block.n) * (block.m_end - block.m + kMax) + t * kMax * kCols) * Isa::kBytes;
    switch (min_of(kMax, block.m_end - m)) {
      case 4:
        if constexpr (kMax == 4) {
          packed_tile<Dot, 4, kCols>(args, x, block.w, block.num_steps, waiting, block.first, block.last, m, n);
        }
        break;
      case 3:
        packed_tile<Dot, 3, kCols>(args, x, block.w, block.num_steps, waiting, block.first, block.last, m, n);
        break;
      case 2:
        packed_tile<Dot, 2, kCols>(args, x, block.w, block.num_steps, waiting, block.first, block.last, m, n);
        break;
      default:
        packed_tile<Dot, 1, kCols>(args, x, block.w, block.num_steps, waiting, block.first, block.last, m, n);
        break;
    }
  }
}

template <class Dot>
void pack_block_x(const GemmArgs& args, const Block& block) {
  constexpr int kMax = Dot::Isa::kTileRows;
  char* out = block.x;
  for (int64_t m = block.m; m < block.m_end; m += kMax, out += kMax * block.num_steps * Dot::Isa::kBytes) {
    switch (min_of(kMax, block.m_end - m)) {
      case 4:
        if constexpr (kMax == 4) pack_x<Dot, 4>(args, m, block.step, block.num_steps, out);
        break;
      case 3:
        pack_x<Dot, 3>(args, m, block.step, block.num_steps, out);
        break;
      case 2:
        pack_x<Dot, 2>(args, m, block.step, block.num_steps, out);
        break;
      default:
        pack_x<Dot, 1>(args, m, block.step, block.num_steps, out);
        break;
    }
  }
}

template <class Dot>
void packed_block(const GemmArgs& args, const Block& block) {
  constexpr int kMax = Dot::Isa::kTileCols;
  pack_block_x<Dot>(args, block);
  int64_t n = block.n;
  for (; n + kMax <= block.n_end; n += kMax) packed_panel<Dot, kMax>(args, block, n);
  switch (block.n_end - n) {
    case 5:
      if constexpr (kMax > 5) packed_panel<Dot, 5>(args, block, n);
      break;
    case 4:
      if constexpr (kMax > 4) packed_panel<Dot, 4>(args, block, n);
      break;
    case 3:
      packed_panel<Dot, 3>(args, block, n);
      break;
    case 2:
      packed_panel<Dot, 2>(args, block, n);
      break;
    case 1:
      packed_panel<Dot, 1>(args, block, n);
      break;
    default:
      break;
  }
}

template <class Isa>
constexpr int64_t kXBytes = (kBlockRows + Isa::kTileRows) * kBlockSteps* Isa::kBytes;
template <class Isa>
constexpr int64_t kWBytes = Isa::kTileCols* kBlockSteps* Isa::kBytes;

template <class Dot>
void gemm_packed(const GemmArgs& args) {
  using Isa = typename Dot::Isa;
  char* scratch = static_cast<char*>(args.scratch);
  Block block{.x = scratch, .w = scratch + kXBytes<Isa>, .waiting = scratch + kXBytes<Isa> + kWBytes<Isa>};
  const int64_t num_steps = ceil_div(args.k, Dot::kStep);
  const int64_t row_blocks = ceil_div(args.num_rows, kBlockRows);  // of nearly equal size
  const int64_t rows = ceil_div(ceil_div(args.num_rows, row_blocks), Isa::kTileRows) * Isa::kTileRows;
  for (block.n = args.n_begin; block.n < args.n_end; block.n = block.n_end) {
    block.n_end = min_of(block.n + kBlockCols, args.n_end);
    for (block.m = 0; block.m < args.num_rows; block.m = block.m_end) {
      block.m_end = min_of(block.m + rows, args.num_rows);
      for (block.step = 0; block.step < num_steps; block.step += block.num_steps) {
        block.num_steps = min_of(kBlockSteps, num_steps - block.step);
        block.first = block.step == 0;
        block.last = block.step + block.num_steps == num_steps;
        packed_block<Dot>(args, block);
      }
    }
  }
}

template <class Dot>
void gemm_by_rows(const GemmArgs& args) {
  if (args.num_rows <= kDirectRows) {
    gemm_direct<Dot>(args);
  } else {
    gemm_packed<Dot>(args);
  }
}

}  // namespace
}  // namespace moxie::cpu
