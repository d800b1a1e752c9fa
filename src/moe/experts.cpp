#include "moe/experts.h"

#include <algorithm>
#include <numeric>

#include "kernels/activation.h"

namespace moxie {
namespace {

constexpr int64_t kRowChunk = 256;  // rows whose gate and up columns wait in cache for the activation

// The rows of x as one weight wants them.
struct Input {
  Rows::Encoded rows;
  FormatId format;
};

// A run with what both regions need to know of it.
struct PlannedRun {
  const ExpertRun* run;
  Input gate_x, up_x;  // gate and up need not be stored alike
  char* hidden;        // [num_rows, F] in hidden_format
  FormatId hidden_format;
  int64_t hidden_row_bytes;
  int64_t block;       // columns an item computes, of F in the first region, of H in the second
  int64_t item_begin;  // of the region's list
};

struct Scratch {
  char* base;
  int64_t gemm_bytes;
  int64_t bytes;  // a worker
  char* of(int worker) const { return base + worker * bytes; }
};

// Cuts `columns(run)` of each run in blocks of whole `tile(run)`; returns the number of work items.
template <typename Columns, typename Cut>
int64_t plan_items(const Exec& exec, std::span<PlannedRun> runs, Columns columns, Cut cut) {
  int64_t num_items = 0;
  for (PlannedRun& run : runs) {
    const int64_t n = columns(run);
    run.block = column_block(exec, n, static_cast<int64_t>(runs.size()), cut(run));
    run.item_begin = num_items;
    num_items += (n + run.block - 1) / run.block;
  }
  return num_items;
}

const PlannedRun& run_of_item(std::span<const PlannedRun> runs, int64_t item) {
  const auto after = std::upper_bound(runs.begin(), runs.end(), item,
                                      [](int64_t i, const PlannedRun& run) { return i < run.item_begin; });
  return *(after - 1);
}

Input input_for(Exec& exec, Rows& x, const View& weight) {
  const FormatId format = exec.kernels.activation_format(weight.format);
  return {x.as(exec, format), format};
}

// The product of rows [first, first + num_rows) of a run with gate or up, whose columns [begin, end) go to y side by
// side.
GemmArgs hidden_product(const ExpertRun& run, const Input& x, const View& weight, int64_t first, int64_t num_rows,
                        int64_t begin, int64_t end) {
  const char* data = static_cast<const char*>(x.rows.data);
  return {.x = run.rows != nullptr ? data : data + first * x.rows.row_bytes,
          .x_format = x.format,
          .x_row_bytes = x.rows.row_bytes,
          .x_rows = run.rows != nullptr ? run.rows + first : nullptr,
          .num_rows = num_rows,
          .w = weight_ref(weight),
          .n_begin = begin,
          .n_end = end,
          .k = weight.shape[1],
          .y_stride = end - begin};
}

// Columns [begin, end) of the hidden rows of one run: gate and up side by side, then the activation, chunk by chunk of
// rows, so that the products are still in cache when the activation reads them.
void hidden_columns(const Exec& exec, const PlannedRun& planned, const GluArgs& activation, int64_t begin, int64_t end,
                    char* scratch, int64_t gemm_bytes) {
  const ExpertRun& run = *planned.run;
  const Expert& expert = *run.expert;
  const int64_t width = end - begin;
  const int64_t chunk = std::min(run.num_rows, kRowChunk);
  float* gate = reinterpret_cast<float*>(scratch + gemm_bytes);
  float* up = gate + chunk * width;
  for (int64_t first = 0; first < run.num_rows; first += chunk) {
    const int64_t rows = std::min(chunk, run.num_rows - first);
    GemmArgs gate_args = hidden_product(run, planned.gate_x, expert.gate, first, rows, begin, end);
    gate_args.bias = expert.gate_bias;
    gate_args.y = gate;
    gate_args.scratch = scratch;
    exec.kernels.gemm(gate_args);
    GemmArgs up_args = hidden_product(run, planned.up_x, expert.up, first, rows, begin, end);
    up_args.bias = expert.up_bias;
    up_args.y = up;
    up_args.scratch = scratch;
    exec.kernels.gemm(up_args);
    for (int64_t m = 0; m < rows; ++m) {
      exec.kernels.glu(activation, gate + m * width, up + m * width, width, gate + m * width);
      char* hidden = planned.hidden + (first + m) * planned.hidden_row_bytes + row_bytes(planned.hidden_format, begin);
      exec.kernels.encode_row(planned.hidden_format, gate + m * width, width, hidden);
    }
  }
}

}  // namespace

void run_experts(Exec& exec, Rows& x, std::span<const ExpertRun> expert_runs, const GluArgs& activation) {
  for (const ExpertRun& run : expert_runs) {
    input_for(exec, x, run.expert->gate);
    input_for(exec, x, run.expert->up);
  }
  Arena::Scope scope(exec.arena);  // what x keeps outlives it
  std::span<PlannedRun> runs(exec.arena.alloc<PlannedRun>(static_cast<int64_t>(expert_runs.size())),
                             expert_runs.size());
  int64_t most_rows = 0, largest_k = x.k();
  for (size_t i = 0; i < runs.size(); ++i) {
    const ExpertRun& run = expert_runs[i];
    const Expert& expert = *run.expert;
    const int64_t hidden_size = expert.gate.shape[0];
    MOXIE_CHECK(expert.gate.shape[1] == x.k() && expert.up.shape == expert.gate.shape);
    MOXIE_CHECK(expert.down.shape[1] == hidden_size);
    const FormatId hidden_format = exec.kernels.activation_format(expert.down.format);
    const int64_t hidden_row_bytes = aligned_row_bytes(hidden_format, hidden_size);
    char* hidden = static_cast<char*>(exec.arena.alloc_bytes(static_cast<size_t>(run.num_rows * hidden_row_bytes)));
    runs[i] = {&run,
               input_for(exec, x, expert.gate),
               input_for(exec, x, expert.up),
               hidden,
               hidden_format,
               hidden_row_bytes,
               0,
               0};
    most_rows = std::max(most_rows, run.num_rows);
    largest_k = std::max(largest_k, hidden_size);
  }

  int64_t num_items = plan_items(
      exec, runs, [](const PlannedRun& run) { return run.run->expert->gate.shape[0]; },
      [](const PlannedRun& run) {  // an item writes whole pieces of the hidden rows
        const ColumnCut gate = column_cut(run.run->num_rows, run.run->expert->gate.format);
        const ColumnCut up = column_cut(run.run->num_rows, run.run->expert->up.format);
        return ColumnCut{std::lcm(std::max(gate.tile, up.tile), piece_columns(run.hidden_format)),
                         std::max(gate.most, up.most)};
      });
  int64_t widest = 0;
  for (const PlannedRun& run : runs) widest = std::max(widest, run.block);
  Scratch scratch{};
  scratch.gemm_bytes = exec.kernels.gemm_scratch_bytes(most_rows, largest_k);
  scratch.bytes =
      scratch.gemm_bytes + 2 * std::min(most_rows, kRowChunk) * widest * static_cast<int64_t>(sizeof(float));
  scratch.base = static_cast<char*>(exec.arena.alloc_bytes(static_cast<size_t>(scratch.bytes * exec.pool.size())));

  exec.pool.run(num_items, [&](int64_t item, int worker) {
    const PlannedRun& run = run_of_item(runs, item);
    const int64_t begin = (item - run.item_begin) * run.block;
    const int64_t end = std::min(begin + run.block, run.run->expert->gate.shape[0]);
    hidden_columns(exec, run, activation, begin, end, scratch.of(worker), scratch.gemm_bytes);
  });

  num_items = plan_items(
      exec, runs, [](const PlannedRun& run) { return run.run->expert->down.shape[0]; },
      [](const PlannedRun& run) { return column_cut(run.run->num_rows, run.run->expert->down.format); });
  exec.pool.run(num_items, [&](int64_t item, int worker) {
    const PlannedRun& run = run_of_item(runs, item);
    const View& down = run.run->expert->down;
    const int64_t begin = (item - run.item_begin) * run.block;
    const int64_t end = std::min(begin + run.block, down.shape[0]);
    exec.kernels.gemm({.x = run.hidden,
                       .x_format = run.hidden_format,
                       .x_row_bytes = run.hidden_row_bytes,
                       .num_rows = run.run->num_rows,
                       .w = weight_ref(down),
                       .bias = run.run->expert->down_bias,
                       .n_begin = begin,
                       .n_end = end,
                       .k = down.shape[1],
                       .y = run.run->out + begin,
                       .y_stride = down.shape[0],
                       .scratch = scratch.of(worker)});
  });
}

}  // namespace moxie
