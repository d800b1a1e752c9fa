// Reference attention: two passes over the visible keys of each query, in double.
#include <algorithm>
#include <cmath>

#include "kernels/ref/ref.h"

namespace moxie::ref {
namespace {

double score(const AttentionArgs& args, const float* q, int64_t position) noexcept {
  const float* k = args.k_pages[position / kKeyBlock] + (position % kKeyBlock) * args.k_row_stride;
  double sum = 0;
  for (int64_t d = 0; d < args.k_dim; ++d) sum += static_cast<double>(q[d]) * k[d];
  return sum * args.scale;
}

void attend(const AttentionArgs& args, const float* q, const float* sink, int64_t begin, int64_t end,
            float* out) noexcept {
  double max = sink != nullptr ? *sink : -INFINITY;
  for (int64_t p = begin; p < end; ++p) max = std::max(max, score(args, q, p));
  double total = sink != nullptr ? std::exp(*sink - max) : 0;
  for (int64_t p = begin; p < end; ++p) total += std::exp(score(args, q, p) - max);
  for (int64_t d = 0; d < args.v_dim; ++d) {
    double sum = 0;
    for (int64_t p = begin; p < end; ++p) {
      const float* v = args.v_pages[p / kKeyBlock] + (p % kKeyBlock) * args.v_row_stride;
      sum += std::exp(score(args, q, p) - max) * v[d];
    }
    out[d] = static_cast<float>(sum / total);
  }
}

}  // namespace

int64_t attention_scratch_bytes(int64_t, int64_t, int64_t) noexcept {
  return 0;
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
