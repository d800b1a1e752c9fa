#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/attention.h"
#include "spec/rope.h"

namespace moxie {
namespace {

void norm_row(Exec& exec, const ModelSpec& spec, const NormWeights& norm, const float* x, float* y) {
  const auto eps = static_cast<float>(spec.norm_eps);
  if (spec.norm == Norm::rms) {
    exec.kernels.rms_norm(x, norm.weight, eps, spec.hidden_size, y);
  } else {
    exec.kernels.layer_norm(x, norm.weight, norm.bias, eps, spec.hidden_size, y);
  }
}

void norm_rows(Exec& exec, const ModelSpec& spec, const NormWeights& norm, const float* x, int64_t num_rows, float* y) {
  const int64_t h = spec.hidden_size;
  for_rows(exec, num_rows, [&](int64_t row, int) { norm_row(exec, spec, norm, x + row * h, y + row * h); });
}

// x += the branch's result y, then the next norm of it while it is in cache.
void add_and_norm(Exec& exec, const ModelSpec& spec, const NormWeights& norm, const float* y, int64_t num_rows,
                  float* x, float* normed) {
  const int64_t h = spec.hidden_size;
  const auto branch = static_cast<float>(spec.residual_multiplier);
  for_rows(exec, num_rows, [&](int64_t row, int) {
    exec.kernels.add_scaled(y + row * h, branch, h, x + row * h);
    norm_row(exec, spec, norm, x + row * h, normed + row * h);
  });
}

int64_t count_logits(std::span<const StepSequence> sequences) {
  int64_t rows = 0;
  for (const StepSequence& s : sequences) rows += s.num_logits;
  return rows;
}

// Moves the rows that logits are wanted of to the front. Each stands at its place or further back.
void keep_logit_rows(std::span<const StepSequence> sequences, int64_t width, float* x) {
  int64_t row = 0, end = 0;
  for (const StepSequence& s : sequences) {
    end += static_cast<int64_t>(s.tokens.size());
    std::memmove(x + row * width, x + (end - s.num_logits) * width,
                 static_cast<size_t>(s.num_logits * width) * sizeof(float));
    row += s.num_logits;
  }
}

void record(Tap* tap, int64_t layer, std::string_view name, const float* data, int64_t rows, int64_t columns) {
  if (tap == nullptr) return;
  const View view = dense_view(data, FormatId::f32, {rows, columns});
  tap->record(layer < 0 ? std::string(name) : fmt::format("layers.{}.{}", layer, name), view);
}

}  // namespace

Model Model::load(const std::filesystem::path& path, int64_t max_context) {
  return load(ModelSource::open(path), max_context);
}

Model Model::load(const ModelSource& source, int64_t max_context) {
  Model model;
  model.spec_ = source.spec();
  const int64_t limit = model.spec_.max_position;
  if (max_context > limit) {
    throw make_error(ErrorCode::usage, "a context of {} tokens: {} was made for at most {}", max_context,
                     source.path().string(), limit);
  }
  model.max_context_ = max_context > 0 ? max_context : limit;
  const RopeSpec& rope = model.spec_.rope;
  const auto original = static_cast<int64_t>(rope.original_max_position);
  if (max_context == 0 && rope.scaling == RopeScaling::longrope && limit > original) {
    model.max_context_ = original;
    model.spec_.notices.push_back(fmt::format(
        "longrope: a context of {}, with the factors for short texts; --ctx up to {} takes those for long ones",
        original, limit));
  }
  if (model.max_context_ > INT32_MAX) {
    throw make_error(ErrorCode::does_not_fit, "a context of {} tokens: this build counts positions up to {}; set --ctx",
                     model.max_context_, INT32_MAX);
  }
  model.inverse_frequencies_ = rope_inverse_frequencies(model.spec_.rope, model.max_context_);
  model.rope_factor_ = static_cast<float>(rope_attention_factor(model.spec_.rope, model.max_context_));
  model.checkpoint_ = std::make_unique<Checkpoint>(source.checkpoint(model.spec_));
  model.weights_ = bind_weights(model.spec_, *model.checkpoint_);
  return model;
}

AttentionStep Model::begin_step(Exec& exec, std::span<const StepSequence> sequences) const {
  AttentionStep step{.sequences = sequences};
  for (const StepSequence& s : sequences) {
    const int64_t end = s.start + static_cast<int64_t>(s.tokens.size());
    MOXIE_CHECK(!s.tokens.empty() && end <= max_context_);
    MOXIE_CHECK(static_cast<int64_t>(s.pages.size()) * kKeyBlock >= end);
    MOXIE_CHECK(s.num_logits <= static_cast<int64_t>(s.tokens.size()));
    step.num_tokens += static_cast<int64_t>(s.tokens.size());
  }
  const int64_t half = static_cast<int64_t>(inverse_frequencies_.size());
  auto* position = exec.arena.alloc<int32_t>(step.num_tokens);
  auto* sequence = exec.arena.alloc<int32_t>(step.num_tokens);
  auto* cos = exec.arena.alloc<float>(step.num_tokens * half);
  auto* sin = exec.arena.alloc<float>(step.num_tokens * half);
  int64_t t = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    for (size_t i = 0; i < sequences[s].tokens.size(); ++i, ++t) {
      position[t] = static_cast<int32_t>(sequences[s].start + static_cast<int64_t>(i));
      sequence[t] = static_cast<int32_t>(s);
    }
  }
  // angle in f32, as transformers has it
  for_rows(exec, step.num_tokens, [&](int64_t row, int) {
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position[row]) * inverse_frequencies_[static_cast<size_t>(i)];
      cos[row * half + i] = std::cos(angle) * rope_factor_;
      sin[row * half + i] = std::sin(angle) * rope_factor_;
    }
  });
  step.position = position;
  step.sequence = sequence;
  step.cos = cos;
  step.sin = sin;
  return step;
}

void Model::embed(Exec& exec, std::span<const StepSequence> sequences, float* x) const {
  const View& table = weights_.embedding;
  const int64_t h = spec_.hidden_size;
  for (const StepSequence& s : sequences) {
    for (const int32_t id : s.tokens) {
      MOXIE_CHECK(id >= 0 && id < spec_.vocab_size);
      decode_row(exec.kernels, table, id, x);
      if (spec_.embedding_multiplier != 1) {
        exec.kernels.scale(x, static_cast<float>(spec_.embedding_multiplier), h, x);
      }
      x += h;
    }
  }
}

float* Model::head(Exec& exec, const float* rows, int64_t num_rows, Tap* tap) const {
  const int64_t h = spec_.hidden_size;
  float* logits = exec.arena.alloc<float>(num_rows * spec_.vocab_size);
  if (num_rows == 0) return logits;
  record(tap, -1, "final_norm", rows, num_rows, h);
  Rows encoded(rows, num_rows, h);
  const LinearJob job{weights_.lm_head, weights_.lm_head_bias, logits, spec_.vocab_size};
  linear(exec, encoded, {&job, 1});
  if (spec_.logits_scaling != 1) {
    const auto factor = static_cast<float>(1 / spec_.logits_scaling);
    exec.kernels.scale(logits, factor, num_rows * spec_.vocab_size, logits);
  }
  record(tap, -1, "logits", logits, num_rows, spec_.vocab_size);
  return logits;
}

float* Model::forward(Exec& exec, KvCache& cache, std::span<const StepSequence> sequences,
                      const StepSinks& sinks) const {
  checkpoint_->check_unchanged();
  const AttentionStep step = begin_step(exec, sequences);
  const int64_t h = spec_.hidden_size, floats = step.num_tokens * h;
  const bool all_rows = sinks.tap != nullptr || sinks.every_row;
  float* x = exec.arena.alloc<float>(floats);
  float* normed = exec.arena.alloc<float>(floats);
  float* y = exec.arena.alloc<float>(floats);
  embed(exec, sequences, x);
  record(sinks.tap, -1, "embedding", x, step.num_tokens, h);
  norm_rows(exec, spec_, weights_.layers[0].attention_norm, x, step.num_tokens, normed);
  int64_t num_rows = step.num_tokens;
  for (int64_t layer = 0; layer < spec_.num_layers; ++layer) {
    const LayerWeights& weights = weights_.layers[static_cast<size_t>(layer)];
    const MoeSpec& ffn = spec_.layers[static_cast<size_t>(layer)].ffn;
    const bool last = layer + 1 == spec_.num_layers;
    lap(exec, StepWork::rest);
    attention_block(exec, spec_, layer, weights.attention, cache, step, normed, y);
    record(sinks.tap, layer, "attention", y, num_rows, h);
    if (last && !all_rows) {  // what follows is for the logits alone
      num_rows = count_logits(sequences);
      keep_logit_rows(sequences, h, x);
      keep_logit_rows(sequences, h, y);
      if (num_rows == 0) break;
    }
    add_and_norm(exec, spec_, weights.ffn_norm, y, num_rows, x, normed);
    lap(exec, StepWork::rest);
    Arena::Scope scope(exec.arena);
    const MoeStep moe = moe_layer(exec, ffn, weights.ffn, normed, num_rows, y);
    record(sinks.tap, layer, "ffn", y, num_rows, h);
    const NormWeights& next =
        last ? weights_.final_norm : weights_.layers[static_cast<size_t>(layer) + 1].attention_norm;
    add_and_norm(exec, spec_, next, y, num_rows, x, normed);
    record(sinks.tap, layer, "hidden", x, num_rows, h);
    if (ffn.is_dense()) continue;
    record(sinks.tap, layer, "router_logits", moe.router_logits, num_rows, ffn.num_experts);
    if (sinks.routing != nullptr) sinks.routing->record(layer, moe.routing);
    if (sinks.stats != nullptr) (*sinks.stats)[static_cast<size_t>(layer)].add(moe.routing);
  }
  if (all_rows) keep_logit_rows(sequences, h, normed);
  lap(exec, StepWork::rest);
  float* logits = head(exec, normed, count_logits(sequences), sinks.tap);
  lap(exec, StepWork::head);
  return logits;
}

}  // namespace moxie
