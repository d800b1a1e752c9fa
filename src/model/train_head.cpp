#include "model/train_head.h"

#include <algorithm>
#include <cstring>

#include "ops/cross_entropy.h"

namespace moxie {
namespace {

constexpr int64_t kLogitFloats = int64_t{16} << 20;  // 64 MiB
constexpr int64_t kFewestRows = 64, kMostRows = 1024;
constexpr int64_t kColumnBlock = 64;  // of the embedding's gradient: a work item's part of every row

}  // namespace

void embed_forward(Exec& exec, const ModelSpec& spec, const ModelWeights& weights, std::span<const int32_t> tokens,
                   float* x) {
  const int64_t h = spec.hidden_size;
  const float* table = weights.embedding.f32();
  for_rows(exec, static_cast<int64_t>(tokens.size()), [&](int64_t t, int) {
    exec.kernels.scale(table + tokens[static_cast<size_t>(t)] * h, static_cast<float>(spec.embedding_multiplier), h,
                       x + t * h);
  });
}

void embed_backward(Exec& exec, const ModelSpec& spec, const ModelWeights& weights, std::span<const int32_t> tokens,
                    const float* dx, const Gradients& gradients) {
  const int64_t h = spec.hidden_size;
  float* d_table = gradients.of(weights.embedding);
  exec.pool.run((h + kColumnBlock - 1) / kColumnBlock, [&](int64_t block, int) {
    const int64_t begin = block * kColumnBlock, count = std::min(kColumnBlock, h - begin);
    for (size_t t = 0; t < tokens.size(); ++t) {
      exec.kernels.add_scaled(dx + static_cast<int64_t>(t) * h + begin, static_cast<float>(spec.embedding_multiplier),
                              count, d_table + tokens[t] * h + begin);
    }
  });
}

void head_logits(Exec& exec, Precision precision, const ModelSpec& spec, const ModelWeights& weights,
                 const float* normed, int64_t num_rows, float* logits) {
  const int64_t v = spec.vocab_size;
  const MatmulJob job =
      linear_forward(normed, num_rows, spec.hidden_size, weights.lm_head.f32(), v, weights.lm_head_bias, logits);
  matmul(exec, precision, {&job, 1});
  if (spec.logits_scaling == 1) return;
  const auto factor = static_cast<float>(1 / spec.logits_scaling);
  for_rows(exec, num_rows,
           [&](int64_t row, int) { exec.kernels.scale(logits + row * v, factor, v, logits + row * v); });
}

void head_loss(Exec& exec, Precision precision, const ModelSpec& spec, const ModelWeights& weights, const float* normed,
               const HeadLoss& loss) {
  Arena::Scope scope(exec.arena);
  const auto num_rows = static_cast<int64_t>(loss.targets.size());
  const int64_t v = spec.vocab_size, h = spec.hidden_size;
  const int64_t most = std::clamp(kLogitFloats / v, kFewestRows, kMostRows);
  const int64_t num_chunks = std::max<int64_t>(1, (num_rows + most - 1) / most);
  const int64_t chunk = (num_rows + num_chunks - 1) / num_chunks;
  float* logits = exec.arena.alloc<float>(chunk * v);
  const auto scale = static_cast<float>(loss.scale / spec.logits_scaling);  // the logits' gradient before scaling
  for (int64_t row = 0; row < num_rows; row += chunk) {
    const int64_t n = std::min(chunk, num_rows - row);
    const float* x = normed + row * h;
    head_logits(exec, precision, spec, weights, x, n, logits);
    cross_entropy(exec, logits, n, v, loss.targets.data() + row, scale, loss.losses + row);
    if (loss.gradients == nullptr) continue;
    if (weights.lm_head_bias != nullptr) {
      add_column_sums(exec, logits, n, v, loss.gradients->of(weights.lm_head_bias));
    }
    Gradients gradients = *loss.gradients;
    gradients.anew = gradients.anew && row == 0;
    const MatmulJob jobs[] = {
        linear_weight_gradient(logits, n, x, weights.lm_head, gradients),
        linear_input_gradient(logits, n, v, weights.lm_head.f32(), h, loss.d_normed + row * h, false)};
    matmul(exec, precision, jobs);
  }
}

}  // namespace moxie
