#include "ops/linear.h"

#include <algorithm>

namespace moxie {
namespace {

constexpr int64_t kItemsPerThread = 8;

}  // namespace

ColumnCut column_cut(int64_t num_rows, FormatId weight) {
  return {gemm_column_tile(weight), gemm_column_block(num_rows, weight)};
}

int64_t column_block(const Exec& exec, int64_t num_columns, int64_t num_jobs, ColumnCut cut) {
  const int64_t items = std::max<int64_t>(1, kItemsPerThread * exec.pool.size() / num_jobs);
  const int64_t block = (num_columns + items - 1) / items;
  const int64_t most = std::max(cut.tile, cut.most / cut.tile * cut.tile);
  return std::clamp((block + cut.tile - 1) / cut.tile * cut.tile, cut.tile, most);
}

Rows::Encoded Rows::as(Exec& exec, FormatId format) {
  if (format == FormatId::f32) return {x_, k_ * static_cast<int64_t>(sizeof(float))};
  const auto form = std::find_if(forms_.begin(), forms_.end(),
                                 [&](const Form& each) { return each.rows.data == nullptr || each.format == format; });
  MOXIE_CHECK(form != forms_.end());
  if (form->rows.data == nullptr) {
    const int64_t bytes = aligned_row_bytes(format, k_);
    auto* out = static_cast<char*>(exec.arena.alloc_bytes(static_cast<size_t>(num_rows_ * bytes)));
    const auto encode = [&](int64_t row, int) {
      exec.kernels.encode_row(format, x_ + row * k_, k_, out + row * bytes);
    };
    for_rows(exec, num_rows_, encode);
    *form = {format, {out, bytes}};
  }
  return form->rows;
}

void linear(Exec& exec, Rows& x, std::span<const LinearJob> jobs, bool exact) {
  struct Part {
    const LinearJob* job;
    FormatId x_format;
    Rows::Encoded x;
    int64_t block;
    int64_t item_begin;
  };
  Part* parts = exec.arena.alloc<Part>(static_cast<int64_t>(jobs.size()));
  int64_t num_items = 0;
  for (size_t i = 0; i < jobs.size(); ++i) {
    const View& w = jobs[i].w;
    MOXIE_CHECK(w.shape.rank() == 2 && w.shape[1] == x.k());
    const int64_t block =
        column_block(exec, w.shape[0], static_cast<int64_t>(jobs.size()), column_cut(x.num_rows(), w.format));
    const FormatId format = exact ? FormatId::f32 : exec.kernels.activation_format(w.format);
    parts[i] = {&jobs[i], format, x.as(exec, format), block, num_items};
    num_items += (w.shape[0] + block - 1) / block;
  }
  Arena::Scope scope(exec.arena);
  const int64_t scratch_bytes = exec.kernels.gemm_scratch_bytes(x.num_rows(), x.k());
  char* scratch = static_cast<char*>(exec.arena.alloc_bytes(static_cast<size_t>(scratch_bytes * exec.pool.size())));
  exec.pool.run(num_items, [&](int64_t item, int worker) {
    const Part* part = parts + jobs.size() - 1;
    while (item < part->item_begin) --part;
    const LinearJob& job = *part->job;
    const int64_t begin = (item - part->item_begin) * part->block;
    const int64_t end = std::min(begin + part->block, job.w.shape[0]);
    exec.kernels.gemm({.x = part->x.data,
                       .x_format = part->x_format,
                       .x_row_bytes = part->x.row_bytes,
                       .num_rows = x.num_rows(),
                       .w = weight_ref(job.w),
                       .bias = job.bias,
                       .n_begin = begin,
                       .n_end = end,
                       .k = x.k(),
                       .y = job.y + begin,
                       .y_stride = job.y_stride,
                       .scratch = scratch + worker * scratch_bytes});
  });
}

}  // namespace moxie
