#include "model/train_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/train_attention.h"
#include "model/train_head.h"
#include "ops/norm.h"
#include "spec/rope.h"

namespace moxie {
namespace {

enum Stream : uint64_t { kRouterStream = 1, kDropoutStream = 2 };

// Numbers the dropout masks of a batch.
int64_t embedding_mask() {
  return 0;
}
int64_t attention_mask(int64_t layer) {
  return 2 * layer + 1;
}
int64_t ffn_mask(int64_t layer) {
  return 2 * layer + 2;
}

void refuse(const ModelSpec& spec, const std::string& part) {
  throw invalid({.where = fmt::format("a model of the family {}", spec.family),
                 .expected = "an architecture that can be trained",
                 .got = part});
}

struct LayerSaved {
  float* x_in = nullptr;   // [T, H]
  float* x_mid = nullptr;  // [T, H] after attention
  AttentionSaved attention;
  MoeSaved ffn;
};

}  // namespace

struct TrainModel::Impl {
  Impl(const Parameters& all, const KernelSet& set, ThreadPool& threads)
      : parameters(all), spec(all.spec()), weights(all.weights()), kernels(set), pool(threads) {
    const AttentionSpec& a = spec.attention;
    if (a.clip_qkv && a.qk_norm == QkNorm::per_head) refuse(spec, "clip_qkv beside norms of single heads");
    if (a.kind == AttentionKind::mla && (a.qkv_bias || a.sinks || a.qk_norm != QkNorm::none || a.clip_qkv)) {
      refuse(spec, "latent attention with biases, sinks, query and key norms or clip_qkv");
    }
    for (const LayerSpec& layer : spec.layers) {
      if (layer.ffn.is_dense()) continue;
      ++num_moe_layers;
      if (num_experts == 0) num_experts = layer.ffn.num_experts;
      if (num_experts != layer.ffn.num_experts) refuse(spec, "layers with different numbers of experts");
    }
  }

  const Parameters& parameters;
  const ModelSpec& spec;
  const ModelWeights& weights;
  const KernelSet& kernels;
  ThreadPool& pool;
  Arena arena;
  int64_t num_moe_layers = 0, num_experts = 0;
  std::vector<LayerSaved> saved;
  std::vector<int64_t> joined_counts;
  std::vector<float> cos, sin, negative_sin;
  int64_t table_length = 0;
};

namespace {

// One call of the model: what its parts share.
struct Run {
  Exec& exec;
  const TrainBatch& batch;
  const TrainOptions& options;
  const ModelSpec& spec;
  const ModelWeights& weights;
  TrainSequences sequences;
  TrainContext context;
  Rng dropout;
  float* normed;  // [T, H] the input of the block at work, the same place in forward and backward
  float* y;       // [T, H] its output, or the gradient of its input

  int64_t t() const { return sequences.num_tokens(); }
  int64_t h() const { return spec.hidden_size; }
  float rate() const { return context.training ? options.dropout : 0; }
  float branch() const { return static_cast<float>(spec.residual_multiplier); }
  NormParams norm(const NormWeights& norm) const {
    return {.weight = norm.weight, .bias = norm.bias, .eps = static_cast<float>(spec.norm_eps)};
  }
};

// out = [x +] factor * y, with y thinned out by mask number `mask`; x null: without it. out may be x or y.
void add_branch(const Run& run, const float* x, const float* y, float factor, int64_t mask, float* out) {
  const float rate = run.rate(), kept = factor / (1 - rate);
  const Rng rng = run.dropout.at(static_cast<uint64_t>(mask));
  const int64_t h = run.h();
  const KernelSet& kernels = run.exec.kernels;
  for_rows(run.exec, run.t(), [&](int64_t t, int) {
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

void norm_rows(const Run& run, const NormWeights& norm, const float* x, float* y) {
  norm_forward(run.exec, run.norm(norm), x, run.h(), run.t(), run.h(), y, run.h());
}

// dx += gradient of the norm's input from dy.
void norm_rows_backward(const Run& run, const NormWeights& norm, const float* x, const float* dy,
                        const Gradients& gradients, float* dx) {
  norm_backward(run.exec, run.norm(norm), x, run.h(), dy, run.h(), run.t(), run.h(), dx, run.h(),
                gradients.of(norm.weight), gradients.of(norm.bias));
}

// x_out = the layer's output for saved.x_in; x_mid and x_out may be x_in where nothing is kept.
void layer_forward(const Run& run, int64_t layer, LayerSaved& saved, float* x_out) {
  const LayerWeights& weights = run.weights.layers[static_cast<size_t>(layer)];
  const MoeSpec& ffn = run.spec.layers[static_cast<size_t>(layer)].ffn;
  norm_rows(run, weights.attention_norm, saved.x_in, run.normed);
  saved.attention =
      train_attention_forward(run.exec, run.sequences, run.spec, layer, weights.attention, run.normed, run.y);
  add_branch(run, saved.x_in, run.y, run.branch(), attention_mask(layer), saved.x_mid);
  norm_rows(run, weights.ffn_norm, saved.x_mid, run.normed);
  saved.ffn = moe_forward(run.context, ffn, weights.ffn, layer, run.normed, run.y);
  add_branch(run, saved.x_mid, run.y, run.branch(), ffn_mask(layer), x_out);
}

// dx [T, H]: gradient of the layer's output, then of its input. d_logits as moe_backward takes it.
void layer_backward(const Run& run, int64_t layer, const LayerSaved& saved, float* d_logits, const Gradients& gradients,
                    float* dx) {
  const LayerWeights& weights = run.weights.layers[static_cast<size_t>(layer)];
  const MoeSpec& ffn = run.spec.layers[static_cast<size_t>(layer)].ffn;
  const bool plain = run.rate() == 0 && run.branch() == 1;
  float* dy = plain ? dx : run.exec.arena.alloc<float>(run.t() * run.h());
  if (!plain) add_branch(run, nullptr, dx, run.branch(), ffn_mask(layer), dy);
  norm_rows(run, weights.ffn_norm, saved.x_mid, run.normed);
  std::fill_n(run.y, run.t() * run.h(), 0.0f);
  moe_backward(run.context, ffn, weights.ffn, layer, saved.ffn, run.normed, dy, d_logits, gradients, run.y);
  norm_rows_backward(run, weights.ffn_norm, saved.x_mid, run.y, gradients, dx);

  if (!plain) add_branch(run, nullptr, dx, run.branch(), attention_mask(layer), dy);
  norm_rows(run, weights.attention_norm, saved.x_in, run.normed);
  train_attention_backward(run.exec, run.sequences, run.spec, layer, weights.attention, saved.attention, run.normed, dy,
                           gradients, run.y);
  norm_rows_backward(run, weights.attention_norm, saved.x_in, run.y, gradients, dx);
}

void check_batch(const ModelSpec& spec, const TrainBatch& batch) {
  MOXIE_CHECK(batch.batch > 0 && batch.length > 0);
  const auto rows = static_cast<size_t>(batch.batch * batch.length);
  MOXIE_CHECK(batch.tokens.size() == rows && (batch.targets.empty() || batch.targets.size() == rows));
  if (batch.length > spec.max_position) {
    throw make_error(ErrorCode::usage, "sequences of {} tokens: the model was made for at most {}", batch.length,
                     spec.max_position);
  }
  const auto known = [&](int32_t id) { return id < spec.vocab_size; };
  for (size_t i = 0; i < rows; ++i) {
    if (batch.tokens[i] >= 0 && known(batch.tokens[i]) && (batch.targets.empty() || known(batch.targets[i]))) continue;
    throw invalid({.where = fmt::format("the training data, token {} of a batch", i),
                   .expected = fmt::format("ids of a vocabulary of {}", spec.vocab_size),
                   .got = fmt::format(
                       "{}", known(batch.tokens[i]) && batch.tokens[i] >= 0 ? batch.targets[i] : batch.tokens[i])});
  }
}

int64_t count_targets(std::span<const int32_t> targets) {
  return std::count_if(targets.begin(), targets.end(), [](int32_t id) { return id >= 0; });
}

void add_losses(const float* losses, int64_t count, TrainResult& result) {
  for (int64_t i = 0; i < count; ++i) result.loss_sum += losses[i];
  result.finite = std::isfinite(result.loss_sum);
}

void add_stats(const MoeSaved& saved, MoeStats& stats, TrainResult& result) {
  stats.add(saved.chosen, saved.dropped, saved.rerouted);
  result.dropped += saved.dropped;
  result.rerouted += saved.rerouted;
}

// The balance losses of one layer; d_logits as router_losses takes it. `demand` [E] is the layer's, `joined` [E] that
// of all layers, `stats` the step's so far.
void add_router_losses(const Run& run, int64_t layer, const MoeSaved& saved, int64_t num_moe_layers,
                       const std::vector<int64_t>& joined, const MoeStats& stats, float* d_logits,
                       TrainResult& result) {
  const AuxLoss& aux = run.options.aux;
  const bool global = aux.scope == AuxScope::global_batch;
  RouterLossInput input{.logits = saved.logits,
                        .routing = saved.chosen,
                        .counts = global ? stats.tokens_per_expert.data() : saved.demand,
                        .count_tokens = static_cast<double>(global ? stats.num_tokens : run.t()),
                        .sequence_length = run.sequences.length,
                        .num_moe_layers = num_moe_layers};
  if (aux.form == AuxForm::transformers) {
    input.counts = joined.data();
    input.count_tokens *= static_cast<double>(num_moe_layers);
  }
  const RouterLosses losses = router_losses(run.exec, run.spec.layers[static_cast<size_t>(layer)].ffn, aux, input,
                                            1 / static_cast<float>(run.options.num_micro_batches), d_logits);
  result.aux += losses.aux;
  result.z += losses.z;
}

bool has_router_losses(const Run& run) {
  const RouterChoice choice = run.options.router.choice;
  return choice != RouterChoice::hash && (run.options.aux.form != AuxForm::none || run.options.aux.z_coef != 0);
}

// Sets cos and sin of every position up to `length`; longrope's depend on the length itself.
template <typename Impl>
void make_tables(Impl& impl, int64_t length) {
  if (length == impl.table_length) return;
  const std::vector<float> frequencies = rope_inverse_frequencies(impl.spec.rope, length);
  const auto factor = static_cast<float>(rope_attention_factor(impl.spec.rope, length));
  impl.cos.clear();
  impl.sin.clear();
  impl.negative_sin.clear();
  for (int64_t position = 0; position < length; ++position) {
    for (const float frequency : frequencies) {
      const float angle = static_cast<float>(position) * frequency;  // in f32, as transformers has it
      impl.cos.push_back(std::cos(angle) * factor);
      impl.sin.push_back(std::sin(angle) * factor);
      impl.negative_sin.push_back(-impl.sin.back());
    }
  }
  impl.table_length = length;
}

// Starts a call: everything of the last one in the arena is gone.
template <typename Impl>
Run start(Impl& impl, Exec& exec, const TrainBatch& batch, const TrainOptions& options, bool training) {
  check_batch(impl.spec, batch);
  if (training && options.router.noise == RouterNoise::gaussian && impl.num_moe_layers > 0 &&
      options.router.choice != RouterChoice::hash) {
    for (const LayerWeights& layer : impl.weights.layers) {
      MOXIE_CHECK(layer.ffn.router.empty() || !layer.ffn.router_noise.empty());  // Parameters(spec, router_noise)
    }
  }
  MOXIE_CHECK(options.dropout >= 0 && options.dropout < 1);
  impl.arena.reset();
  make_tables(impl, batch.length);
  const TrainSequences sequences{.batch = batch.batch,
                                 .length = batch.length,
                                 .precision = options.precision,
                                 .cos = impl.cos.data(),
                                 .sin = impl.sin.data(),
                                 .negative_sin = impl.negative_sin.data()};
  const auto stream = [&](Stream use) {
    return Rng(options.seed, use)
        .at(static_cast<uint64_t>(options.step))
        .at(static_cast<uint64_t>(options.micro_batch));
  };
  const int64_t floats = sequences.num_tokens() * impl.spec.hidden_size;
  return {.exec = exec,
          .batch = batch,
          .options = options,
          .spec = impl.spec,
          .weights = impl.weights,
          .sequences = sequences,
          .context = {.exec = exec,
                      .precision = options.precision,
                      .router = options.router,
                      .num_tokens = sequences.num_tokens(),
                      .sequence_length = batch.length,
                      .token_ids = batch.tokens.data(),
                      .rng = stream(kRouterStream),
                      .training = training},
          .dropout = stream(kDropoutStream),
          .normed = impl.arena.template alloc<float>(floats),
          .y = impl.arena.template alloc<float>(floats)};
}

// Embedding and all layers, keeping nothing; the result lies in the arena.
template <typename Each>
float* forward_only(const Run& run, Each&& each) {
  float* x = run.exec.arena.alloc<float>(run.t() * run.h());
  embed_forward(run.exec, run.spec, run.weights, run.batch.tokens, x);
  for (int64_t layer = 0; layer < run.spec.num_layers; ++layer) {
    Arena::Scope scope(run.exec.arena);
    LayerSaved saved{.x_in = x, .x_mid = x};
    layer_forward(run, layer, saved, x);
    if (!run.spec.layers[static_cast<size_t>(layer)].ffn.is_dense()) each(layer, saved.ffn);
  }
  norm_rows(run, run.weights.final_norm, x, run.normed);
  return run.normed;
}

}  // namespace

TrainModel::TrainModel(const Parameters& parameters, const KernelSet& kernels, ThreadPool& pool)
    : impl_(std::make_unique<Impl>(parameters, kernels, pool)) {}

TrainModel::~TrainModel() = default;

TrainResult TrainModel::forward_backward(const TrainBatch& batch, const TrainOptions& options, float* gradients,
                                         std::vector<MoeStats>& stats) {
  Impl& m = *impl_;
  Exec exec{m.kernels, m.pool, m.arena};
  const Run run = start(m, exec, batch, options, true);
  MOXIE_CHECK(stats.size() == static_cast<size_t>(m.spec.num_layers) && !batch.targets.empty());
  const Gradients into = m.parameters.gradients(gradients);
  const int64_t floats = run.t() * run.h();
  TrainResult result{.num_targets = count_targets(batch.targets)};

  float* dx = m.arena.alloc<float>(floats);
  float* x = m.arena.alloc<float>(floats);
  embed_forward(exec, m.spec, m.weights, batch.tokens, x);
  if (run.rate() > 0) add_branch(run, nullptr, x, 1, embedding_mask(), x);
  m.saved.assign(static_cast<size_t>(m.spec.num_layers), {});
  m.joined_counts.assign(static_cast<size_t>(m.num_experts), 0);
  for (int64_t layer = 0; layer < m.spec.num_layers; ++layer) {
    LayerSaved& saved = m.saved[static_cast<size_t>(layer)];
    saved.x_in = x;
    saved.x_mid = m.arena.alloc<float>(floats);
    x = m.arena.alloc<float>(floats);
    layer_forward(run, layer, saved, x);
    if (m.spec.layers[static_cast<size_t>(layer)].ffn.is_dense()) continue;
    MoeStats& layer_stats = stats[static_cast<size_t>(layer)];
    add_stats(saved.ffn, layer_stats, result);
    for (size_t e = 0; e < m.joined_counts.size(); ++e) {
      m.joined_counts[e] +=
          options.aux.scope == AuxScope::global_batch ? layer_stats.tokens_per_expert[e] : saved.ffn.demand[e];
    }
  }

  norm_rows(run, m.weights.final_norm, x, run.normed);
  {
    Arena::Scope scope(m.arena);
    float* losses = m.arena.alloc<float>(run.t());
    const double scale =
        options.loss_scale != 0 ? options.loss_scale : 1 / std::max(1.0, static_cast<double>(result.num_targets));
    head_loss(exec, options.precision, m.spec, m.weights, run.normed,
              {.targets = batch.targets,
               .scale = static_cast<float>(scale),
               .losses = losses,
               .gradients = &into,
               .d_normed = run.y});
    add_losses(losses, run.t(), result);
  }
  std::fill_n(dx, floats, 0.0f);
  norm_rows_backward(run, m.weights.final_norm, x, run.y, into, dx);

  for (int64_t layer = m.spec.num_layers - 1; layer >= 0; --layer) {
    Arena::Scope scope(m.arena);
    const LayerSaved& saved = m.saved[static_cast<size_t>(layer)];
    float* d_logits = nullptr;
    if (!m.spec.layers[static_cast<size_t>(layer)].ffn.is_dense()) {
      d_logits = m.arena.alloc<float>(run.t() * m.num_experts);
      std::fill_n(d_logits, run.t() * m.num_experts, 0.0f);
      if (has_router_losses(run)) {
        add_router_losses(run, layer, saved.ffn, m.num_moe_layers, m.joined_counts, stats[static_cast<size_t>(layer)],
                          d_logits, result);
      }
    }
    layer_backward(run, layer, saved, d_logits, into, dx);
  }
  if (run.rate() > 0) add_branch(run, nullptr, dx, 1, embedding_mask(), dx);
  embed_backward(exec, m.spec, m.weights, batch.tokens, dx, into);
  return result;
}

TrainResult TrainModel::evaluate(const TrainBatch& batch, const TrainOptions& options, std::vector<MoeStats>& stats,
                                 float* losses, RoutingSink* sink) {
  Impl& m = *impl_;
  Exec exec{m.kernels, m.pool, m.arena};
  const Run run = start(m, exec, batch, options, false);
  MOXIE_CHECK(stats.size() == static_cast<size_t>(m.spec.num_layers) && !batch.targets.empty());
  TrainResult result{.num_targets = count_targets(batch.targets)};
  const float* normed = forward_only(run, [&](int64_t layer, const MoeSaved& saved) {
    add_stats(saved, stats[static_cast<size_t>(layer)], result);
    if (sink != nullptr) sink->record(layer, saved.routing);
  });
  if (losses == nullptr) losses = m.arena.alloc<float>(run.t());
  head_loss(exec, options.precision, m.spec, m.weights, normed, {.targets = batch.targets, .losses = losses});
  add_losses(losses, run.t(), result);
  return result;
}

const float* TrainModel::logits(const TrainBatch& batch, const TrainOptions& options) {
  Impl& m = *impl_;
  Exec exec{m.kernels, m.pool, m.arena};
  const Run run = start(m, exec, batch, options, false);
  const float* normed = forward_only(run, [](int64_t, const MoeSaved&) {});
  float* logits = m.arena.alloc<float>(run.t() * m.spec.vocab_size);
  head_logits(exec, options.precision, m.spec, m.weights, normed, run.t(), logits);
  return logits;
}

size_t TrainModel::scratch_bytes() const {
  return impl_->arena.capacity() +
         (impl_->cos.capacity() + impl_->sin.capacity() + impl_->negative_sin.capacity()) * sizeof(float);
}

std::string TrainModel::first_not_finite(const float* block) const {
  for (const Parameter& parameter : impl_->parameters.list()) {
    const float* values = block + parameter.offset;
    const bool finite =
        std::all_of(values, values + parameter.shape.num_elems(), [](float value) { return std::isfinite(value); });
    if (!finite) return parameter.name;
  }
  return "";
}

}  // namespace moxie
