#include "model/train_layers.h"

#include <algorithm>
#include <cstring>

#include "ops/norm.h"

namespace moxie {
namespace {

int64_t attention_mask(int64_t layer) {
  return 2 * layer + 1;
}
int64_t ffn_mask(int64_t layer) {
  return 2 * layer + 2;
}

float residual(const TrainRun& run) {
  return static_cast<float>(run.spec.residual_multiplier);
}

NormParams params(const TrainRun& run, const NormWeights& norm) {
  return {.weight = norm.weight, .bias = norm.bias, .eps = static_cast<float>(run.spec.norm_eps)};
}

}  // namespace

void add_branch(const TrainRun& run, const float* x, const float* y, float factor, int64_t mask, float* out) {
  const float rate = run.dropout_rate, kept = factor / (1 - rate);
  const Rng rng = run.dropout.at(static_cast<uint64_t>(mask));
  const int64_t h = run.spec.hidden_size;
  const KernelSet& kernels = run.exec.kernels;
  for_rows(run.exec, run.num_tokens(), [&](int64_t t, int) {
    const int64_t begin = t * h;
    if (rate == 0) {
      if (x == nullptr) {
        kernels.scale(y + begin, factor, h, out + begin);
      } else {
        if (out != x) std::memcpy(out + begin, x + begin, static_cast<size_t>(h) * sizeof(float));
        kernels.add_scaled(y + begin, factor, h, out + begin);
      }
      return;
    }
    for (int64_t i = begin; i < begin + h; ++i) {
      const float part = rng.uniform(static_cast<uint64_t>(i)) < rate ? 0.0f : kept * y[i];
      out[i] = x == nullptr ? part : x[i] + part;
    }
  });
}

void norm_rows(const TrainRun& run, const NormWeights& norm, const float* x, float* y) {
  norm_forward(run.exec, params(run, norm), x, run.spec.hidden_size, run.num_tokens(), run.spec.hidden_size, y,
               run.spec.hidden_size);
}

void norm_rows_backward(const TrainRun& run, const NormWeights& norm, const float* x, const float* dy,
                        const Gradients& gradients, float* dx) {
  norm_backward(run.exec, params(run, norm), x, run.spec.hidden_size, dy, run.spec.hidden_size, run.num_tokens(),
                run.spec.hidden_size, dx, run.spec.hidden_size, gradients.of(norm.weight), gradients.of(norm.bias));
}

void layer_forward(const TrainRun& run, int64_t layer, TrainLayerSaved& saved, float* x_out) {
  const LayerWeights& weights = run.weights.layers[static_cast<size_t>(layer)];
  norm_rows(run, weights.attention_norm, saved.x_in, run.normed);
  saved.attention =
      train_attention_forward(run.exec, run.sequences, run.spec, layer, weights.attention, run.normed, run.y);
  add_branch(run, saved.x_in, run.y, residual(run), attention_mask(layer), saved.x_mid);
  norm_rows(run, weights.ffn_norm, saved.x_mid, run.normed);
  saved.ffn = moe_forward(run.context, run.ffn(layer), weights.ffn, layer, run.normed, run.y);
  add_branch(run, saved.x_mid, run.y, residual(run), ffn_mask(layer), x_out);
}

void layer_backward(const TrainRun& run, int64_t layer, const TrainLayerSaved& saved, float* d_logits,
                    const Gradients& gradients, float* dx) {
  const LayerWeights& weights = run.weights.layers[static_cast<size_t>(layer)];
  const bool plain = run.dropout_rate == 0 && residual(run) == 1;
  float* dy = plain ? dx : run.exec.arena.alloc<float>(run.floats());
  if (!plain) add_branch(run, nullptr, dx, residual(run), ffn_mask(layer), dy);
  norm_rows(run, weights.ffn_norm, saved.x_mid, run.normed);
  std::fill_n(run.y, run.floats(), 0.0f);
  moe_backward(run.context, run.ffn(layer), weights.ffn, layer, saved.ffn, run.normed, dy, d_logits, gradients, run.y);
  norm_rows_backward(run, weights.ffn_norm, saved.x_mid, run.y, gradients, dx);

  if (!plain) add_branch(run, nullptr, dx, residual(run), attention_mask(layer), dy);
  norm_rows(run, weights.attention_norm, saved.x_in, run.normed);
  train_attention_backward(run.exec, run.sequences, run.spec, layer, weights.attention, saved.attention, run.normed, dy,
                           gradients, run.y);
  norm_rows_backward(run, weights.attention_norm, saved.x_in, run.y, gradients, dx);
}

}  // namespace moxie
