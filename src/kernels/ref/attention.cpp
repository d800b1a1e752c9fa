// Reference attention: two passes over the visible keys of each query, in double.
#include <algorithm>
#include <cmath>

#include "kernels/ref/ref.h"

namespace moxie::ref {
namespace {

double score(const AttentionArgs& args, const float* q, int64_t position) noexcept {
  const void* part = args.k_pages[position / kKeyBlock];
  double sum = 0;
  for (int64_t d = 0; d < args.k_dim; ++d) {
    sum += static_cast<double>(q[d]) * load_key(args.format, part, args.k_dim, position % kKeyBlock, d);
  }
  return sum * args.scale;
}

double value(const AttentionArgs& args, int64_t position, int64_t d) noexcept {
  const int64_t page = position / kKeyBlock, slot = position % kKeyBlock;
  return args.v_pages == nullptr ? load_key(args.format, args.k_pages[page], args.k_dim, slot, d)
                                 : load_value(args.format, args.v_pages[page], args.v_dim, slot, d);
}

void attend(const AttentionArgs& args, const float* q, const float* sink, int64_t begin, int64_t end,
            float* out) noexcept {
  double max = sink != nullptr ? *sink : -INFINITY;
  for (int64_t p = begin; p < end; ++p) max = std::max(max, score(args, q, p));
  double total = sink != nullptr ? std::exp(*sink - max) : 0;
  auto* sum = static_cast<double*>(args.scratch);
  std::fill_n(sum, args.v_dim, 0.0);
  for (int64_t p = begin; p < end; ++p) {
    const double weight = std::exp(score(args, q, p) - max);
    total += weight;
    for (int64_t d = 0; d < args.v_dim; ++d) sum[d] += weight * value(args, p, d);
  }
  for (int64_t d = 0; d < args.v_dim; ++d) out[d] = static_cast<float>(sum[d] / total);
}

}  // namespace

int64_t attention_scratch_bytes(int64_t, int64_t v_dim) noexcept {
  return v_dim * static_cast<int64_t>(sizeof(double));
}

void attention(const AttentionArgs& args) noexcept {
  for (int64_t i = 0; i < args.num_queries; ++i) {
    const int64_t end = args.position[i] + 1;
    const int64_t begin = args.window > 0 ? std::max<int64_t>(0, end - args.window) : 0;
    for (int64_t g = 0; g < args.group; ++g) {
      attend(args, args.q + i * args.q_stride + g * args.q_head_stride,
             args.sinks == nullptr ? nullptr : args.sinks + g, begin, end,
             args.out + i * args.out_stride + g * args.out_head_stride);
    }
  }
}

}  // namespace moxie::ref
