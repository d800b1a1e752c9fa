#include "model/train_model.h"

#include <algorithm>
#include <cmath>

#include "model/train_head.h"
#include "model/train_layers.h"
#include "spec/rope.h"

namespace moxie {
namespace {

enum Stream : uint64_t { kRouterStream = 1, kDropoutStream = 2 };

void refuse(const ModelSpec& spec, const std::string& part) {
  throw invalid({.where = fmt::format("a model of the family {}", spec.family),
                 .expected = "an architecture that can be trained",
                 .got = part});
}

void check_ids(const ModelSpec& spec, std::span<const int32_t> ids, int32_t lowest, std::string_view what) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= lowest && ids[i] < spec.vocab_size) continue;
    throw invalid({.where = fmt::format("{} {} of a batch", what, i),
                   .expected = fmt::format("an id from {} to {}", lowest, spec.vocab_size - 1),
                   .got = fmt::format("{}", ids[i])});
  }
}

void check_batch(const ModelSpec& spec, const TrainBatch& batch) {
  MOXIE_CHECK(batch.batch > 0 && batch.length > 0);
  const auto rows = static_cast<size_t>(batch.batch * batch.length);
  MOXIE_CHECK(batch.tokens.size() == rows && (batch.targets.empty() || batch.targets.size() == rows));
  if (batch.length > spec.max_position) {
    throw make_error(ErrorCode::usage, "sequences of {} tokens: the model was made for at most {}", batch.length,
                     spec.max_position);
  }
  check_ids(spec, batch.tokens, 0, "token");
  check_ids(spec, batch.targets, -1, "target");
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

bool has_router_losses(const TrainOptions& options) {
  return options.router.choice != RouterChoice::hash && (options.aux.form != AuxForm::none || options.aux.z_coef != 0);
}

}  // namespace

struct TrainModel::Impl {
  Impl(const Parameters& all, const KernelSet& set, ThreadPool& threads)
      : parameters(all), spec(all.spec()), weights(all.weights()), exec{set, threads, arena} {
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

  TrainRun start(const TrainBatch& batch, const TrainOptions& options, bool training);
  void zero_sums(float* gradients);
  void make_tables(int64_t length);
  const float* forward(const TrainRun& run, const TrainBatch& batch, const AuxLoss& aux, std::vector<MoeStats>& stats,
                       TrainResult& result);
  void backward(const TrainRun& run, const TrainOptions& options, const Gradients& gradients,
                const std::vector<MoeStats>& stats, float* dx, TrainResult& result);
  void add_router_losses(const TrainRun& run, const TrainOptions& options, int64_t layer, const MoeStats& stats,
                         float* d_logits, TrainResult& result);
  template <typename Each>
  const float* forward_only(const TrainRun& run, const TrainBatch& batch, Each&& each);

  const Parameters& parameters;
  const ModelSpec& spec;
  const ModelWeights& weights;
  Arena arena;
  Exec exec;
  int64_t num_moe_layers = 0, num_experts = 0;
  std::vector<TrainLayerSaved> saved;  // of the batch at work
  std::vector<int64_t> joined_counts;  // [E] over all layers, for AuxForm::transformers
  std::vector<float> cos, sin, negative_sin;
  int64_t table_length = 0;
};

// Sets cos and sin of every position up to `length`; longrope's depend on the length itself.
void TrainModel::Impl::make_tables(int64_t length) {
  if (length == table_length) return;
  const std::vector<float> frequencies = rope_inverse_frequencies(spec.rope, length);
  const auto factor = static_cast<float>(rope_attention_factor(spec.rope, length));
  cos.clear();
  sin.clear();
  negative_sin.clear();
  for (int64_t position = 0; position < length; ++position) {
    for (const float frequency : frequencies) {
      const float angle = static_cast<float>(position) * frequency;  // in f32, as transformers has it
      cos.push_back(std::cos(angle) * factor);
      sin.push_back(std::sin(angle) * factor);
      negative_sin.push_back(-sin.back());
    }
  }
  table_length = length;
}

// Starts a call: everything of the last one in the arena is gone.
TrainRun TrainModel::Impl::start(const TrainBatch& batch, const TrainOptions& options, bool training) {
  check_batch(spec, batch);
  MOXIE_CHECK(options.dropout >= 0 && options.dropout < 1);
  if (training && options.router.noise == RouterNoise::gaussian && options.router.choice != RouterChoice::hash) {
    for (const LayerWeights& layer : weights.layers) {  // Parameters(spec, true) has them
      MOXIE_CHECK(layer.ffn.router.empty() || !layer.ffn.router_noise.empty());
    }
  }
  arena.reset();
  make_tables(batch.length);
  const auto stream = [&](Stream use) {
    return Rng(options.seed, use)
        .at(static_cast<uint64_t>(options.step))
        .at(static_cast<uint64_t>(options.micro_batch));
  };
  const int64_t num_tokens = batch.batch * batch.length;
  return {.exec = exec,
          .spec = spec,
          .weights = weights,
          .sequences = {.batch = batch.batch,
                        .length = batch.length,
                        .precision = options.precision,
                        .cos = cos.data(),
                        .sin = sin.data(),
                        .negative_sin = negative_sin.data()},
          .context = {.exec = exec,
                      .precision = options.precision,
                      .router = options.router,
                      .num_tokens = num_tokens,
                      .sequence_length = batch.length,
                      .token_ids = batch.tokens.data(),
                      .rng = stream(kRouterStream),
                      .training = training},
          .dropout = stream(kDropoutStream),
          .dropout_rate = training ? options.dropout : 0,
          .normed = arena.alloc<float>(num_tokens * spec.hidden_size),
          .y = arena.alloc<float>(num_tokens * spec.hidden_size)};
}

// Zeroes what is added up in pieces, or left out (a router, by hash): all gradients but those that a product writes.
void TrainModel::Impl::zero_sums(float* gradients) {
  constexpr int64_t kPiece = 1 << 16;
  for (const Parameter& parameter : parameters.list()) {
    const bool product =
        parameter.kind == ParameterKind::embedding ? spec.tie_word_embeddings : parameter.kind == ParameterKind::matrix;
    if (product) continue;
    const int64_t size = parameter.shape.num_elems();
    exec.pool.run((size + kPiece - 1) / kPiece, [&](int64_t piece, int) {
      const int64_t begin = piece * kPiece;
      std::fill_n(gradients + parameter.offset + begin, std::min(kPiece, size - begin), 0.0f);
    });
  }
}

// Embedding and layers, everything kept that backward needs; returns what the last layer gave [T, H].
const float* TrainModel::Impl::forward(const TrainRun& run, const TrainBatch& batch, const AuxLoss& aux,
                                       std::vector<MoeStats>& stats, TrainResult& result) {
  float* x = arena.alloc<float>(run.floats());
  embed_forward(exec, spec, weights, batch.tokens, x);
  if (run.dropout_rate > 0) add_branch(run, nullptr, x, 1, kEmbeddingMask, x);
  saved.assign(static_cast<size_t>(spec.num_layers), {});
  joined_counts.assign(static_cast<size_t>(num_experts), 0);
  for (int64_t layer = 0; layer < spec.num_layers; ++layer) {
    TrainLayerSaved& of_layer = saved[static_cast<size_t>(layer)];
    of_layer.x_in = x;
    of_layer.x_mid = arena.alloc<float>(run.floats());
    x = arena.alloc<float>(run.floats());
    layer_forward(run, layer, of_layer, x);
    if (run.ffn(layer).is_dense()) continue;
    MoeStats& layer_stats = stats[static_cast<size_t>(layer)];
    add_stats(of_layer.ffn, layer_stats, result);
    for (size_t e = 0; e < joined_counts.size(); ++e) {
      joined_counts[e] +=
          aux.scope == AuxScope::global_batch ? layer_stats.tokens_per_expert[e] : of_layer.ffn.demand[e];
    }
  }
  return x;
}

// The balance losses of one layer, as router_losses takes them.
void TrainModel::Impl::add_router_losses(const TrainRun& run, const TrainOptions& options, int64_t layer,
                                         const MoeStats& stats, float* d_logits, TrainResult& result) {
  const MoeSaved& of_layer = saved[static_cast<size_t>(layer)].ffn;
  const bool global = options.aux.scope == AuxScope::global_batch;
  RouterLossInput input{.logits = of_layer.logits,
                        .routing = of_layer.chosen,
                        .counts = global ? stats.tokens_per_expert.data() : of_layer.demand,
                        .count_tokens = static_cast<double>(global ? stats.num_tokens : run.num_tokens()),
                        .sequence_length = run.sequences.length,
                        .num_moe_layers = num_moe_layers};
  if (options.aux.form == AuxForm::transformers) {
    input.counts = joined_counts.data();
    input.count_tokens *= static_cast<double>(num_moe_layers);
  }
  const RouterLosses losses = router_losses(exec, run.ffn(layer), options.aux, input,
                                            1 / static_cast<float>(options.num_micro_batches), d_logits);
  result.aux += losses.aux;
  result.z += losses.z;
}

// dx [T, H]: gradient of what the last layer gave, then of the embedding's rows.
void TrainModel::Impl::backward(const TrainRun& run, const TrainOptions& options, const Gradients& gradients,
                                const std::vector<MoeStats>& stats, float* dx, TrainResult& result) {
  for (int64_t layer = spec.num_layers - 1; layer >= 0; --layer) {
    Arena::Scope scope(arena);
    float* d_logits = nullptr;
    if (!run.ffn(layer).is_dense()) {
      d_logits = arena.alloc<float>(run.num_tokens() * num_experts);
      std::fill_n(d_logits, run.num_tokens() * num_experts, 0.0f);
      if (has_router_losses(options)) {
        add_router_losses(run, options, layer, stats[static_cast<size_t>(layer)], d_logits, result);
      }
    }
    layer_backward(run, layer, saved[static_cast<size_t>(layer)], d_logits, gradients, dx);
  }
  if (run.dropout_rate > 0) add_branch(run, nullptr, dx, 1, kEmbeddingMask, dx);
}

// Embedding and all layers, keeping nothing, and the last norm; each(layer, MoeSaved) sees every MoE layer.
template <typename Each>
const float* TrainModel::Impl::forward_only(const TrainRun& run, const TrainBatch& batch, Each&& each) {
  float* x = arena.alloc<float>(run.floats());
  embed_forward(exec, spec, weights, batch.tokens, x);
  for (int64_t layer = 0; layer < spec.num_layers; ++layer) {
    Arena::Scope scope(arena);
    TrainLayerSaved of_layer{.x_in = x, .x_mid = x};
    layer_forward(run, layer, of_layer, x);
    if (!run.ffn(layer).is_dense()) each(layer, of_layer.ffn);
  }
  norm_rows(run, weights.final_norm, x, run.normed);
  return run.normed;
}

TrainModel::TrainModel(const Parameters& parameters, const KernelSet& kernels, ThreadPool& pool)
    : impl_(std::make_unique<Impl>(parameters, kernels, pool)) {}

TrainModel::~TrainModel() = default;

TrainResult TrainModel::forward_backward(const TrainBatch& batch, const TrainOptions& options, float* gradients,
                                         std::vector<MoeStats>& stats) {
  Impl& m = *impl_;
  MOXIE_CHECK(stats.size() == static_cast<size_t>(m.spec.num_layers) && !batch.targets.empty());
  const TrainRun run = m.start(batch, options, true);
  Gradients into = m.parameters.gradients(gradients);
  into.anew = options.micro_batch == 0;
  if (into.anew) m.zero_sums(gradients);
  TrainResult result{.num_targets = count_targets(batch.targets)};
  float* dx = m.arena.alloc<float>(run.floats());
  const float* x = m.forward(run, batch, options.aux, stats, result);

  norm_rows(run, m.weights.final_norm, x, run.normed);
  {
    Arena::Scope scope(m.arena);
    float* losses = m.arena.alloc<float>(run.num_tokens());
    const double mean = 1 / std::max(1.0, static_cast<double>(result.num_targets));
    head_loss(m.exec, options.precision, m.spec, m.weights, run.normed,
              {.targets = batch.targets,
               .scale = options.loss_scale != 0 ? options.loss_scale : mean,
               .losses = losses,
               .gradients = &into,
               .d_normed = run.y});
    add_losses(losses, run.num_tokens(), result);
  }
  std::fill_n(dx, run.floats(), 0.0f);
  norm_rows_backward(run, m.weights.final_norm, x, run.y, into, dx);
  m.backward(run, options, into, stats, dx, result);
  embed_backward(m.exec, m.spec, m.weights, batch.tokens, dx, into);
  return result;
}

TrainResult TrainModel::evaluate(const TrainBatch& batch, const TrainOptions& options, std::vector<MoeStats>& stats,
                                 float* losses, RoutingSink* sink) {
  Impl& m = *impl_;
  MOXIE_CHECK(stats.size() == static_cast<size_t>(m.spec.num_layers) && !batch.targets.empty());
  const TrainRun run = m.start(batch, options, false);
  TrainResult result{.num_targets = count_targets(batch.targets)};
  const float* normed = m.forward_only(run, batch, [&](int64_t layer, const MoeSaved& saved) {
    add_stats(saved, stats[static_cast<size_t>(layer)], result);
    if (sink != nullptr) sink->record(layer, saved.routing);
  });
  if (losses == nullptr) losses = m.arena.alloc<float>(run.num_tokens());
  head_loss(m.exec, options.precision, m.spec, m.weights, normed, {.targets = batch.targets, .losses = losses});
  add_losses(losses, run.num_tokens(), result);
  return result;
}

const float* TrainModel::logits(const TrainBatch& batch, const TrainOptions& options) {
  Impl& m = *impl_;
  const TrainRun run = m.start(batch, options, false);
  const float* normed = m.forward_only(run, batch, [](int64_t, const MoeSaved&) {});
  float* logits = m.arena.alloc<float>(run.num_tokens() * m.spec.vocab_size);
  head_logits(m.exec, options.precision, m.spec, m.weights, normed, run.num_tokens(), logits);
  return logits;
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
