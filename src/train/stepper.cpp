#include "train/stepper.h"

#include <bit>
#include <cmath>

namespace moxie {

Stepper::Stepper(const TrainConfig& config, const TrainData& data, const KernelSet& kernels, ThreadPool& pool)
    : config_(config),
      data_(data),
      kernels_(kernels),
      pool_(pool),
      parameters_(config.spec, config.router.noise == RouterNoise::gaussian),
      model_(parameters_, kernels, pool),
      optimizer_(parameters_),
      gradients_(parameters_.new_block()),
      stats_(static_cast<size_t>(config.spec.num_layers)),
      tokens_(static_cast<size_t>(config.train.batch_size * config.train.seq_len)),
      targets_(tokens_.size()) {
  initialise(parameters_, config.train.seed, static_cast<float>(config.train.init_std));
  if (!config.train.init_from.empty()) parameters_.load(config.train.init_from);
}

int64_t Stepper::tokens_per_step() const {
  return static_cast<int64_t>(tokens_.size()) * config_.train.grad_accum;
}

bool Stepper::Pass::finite() const {
  return std::isfinite(loss) && std::isfinite(norm);
}

bool Stepper::Pass::same_bits(const Pass& other) const {
  return std::bit_cast<uint64_t>(loss) == std::bit_cast<uint64_t>(other.loss) &&
         std::bit_cast<uint64_t>(norm) == std::bit_cast<uint64_t>(other.norm);
}

void Stepper::fill_micro_batch(int64_t first_sample) {
  const int64_t length = config_.train.seq_len;
  for (int64_t b = 0; b < config_.train.batch_size; ++b) {
    data_.train_window(first_sample + b, tokens_.data() + b * length, targets_.data() + b * length);
  }
}

Stepper::Pass Stepper::compute(int64_t step) {
  const LoopConfig& train = config_.train;
  for (size_t layer = 0; layer < stats_.size(); ++layer) {
    const MoeSpec& ffn = config_.spec.layers[layer].ffn;
    stats_[layer].reset(ffn.routed ? ffn.num_experts : 0);
  }
  Pass pass;
  int64_t num_targets = 0;
  for (int64_t micro = 0; micro < train.grad_accum; ++micro) {
    fill_micro_batch(((step - 1) * train.grad_accum + micro) * train.batch_size);
    const TrainResult result = model_.forward_backward(
        {.batch = train.batch_size, .length = train.seq_len, .tokens = tokens_, .targets = targets_},
        {.precision = train.precision,
         .router = config_.router,
         .aux = config_.aux,
         .dropout = static_cast<float>(train.dropout),
         .seed = train.seed,
         .step = step,
         .micro_batch = micro,
         .num_micro_batches = train.grad_accum,
         .loss_scale = 1 / static_cast<double>(tokens_per_step())},
        gradients_.get(), stats_);
    pass.loss += result.loss_sum;
    num_targets += result.num_targets;
    pass.aux += result.aux / static_cast<double>(train.grad_accum);
    pass.z += result.z / static_cast<double>(train.grad_accum);
    pass.dropped += result.dropped;
    pass.rerouted += result.rerouted;
  }
  pass.loss /= static_cast<double>(std::max<int64_t>(num_targets, 1));
  pass.norm = optimizer_.gradient_norm(pool_, gradients_.get());
  return pass;
}

std::string Stepper::samples(int64_t step) const {
  const int64_t count = config_.train.grad_accum * config_.train.batch_size;
  return fmt::format("samples {} to {}", (step - 1) * count, step * count - 1);
}

std::string Stepper::first_fault() const {
  if (const std::string name = model_.first_not_finite(parameters_.values()); !name.empty()) return "weight " + name;
  const std::string name = model_.first_not_finite(gradients_.get());
  return name.empty() ? "the loss, no tensor" : "gradient of " + name;
}

bool Stepper::judge(const TrainState& state, int64_t step, Pass& pass, StepResult& result) {
  const std::optional<std::string> spike = pass.finite() ? loss_spike(state, pass.loss) : std::nullopt;
  if (pass.finite() && !spike) return true;
  const std::string what =
      spike ? *spike
            : fmt::format("loss {}, gradient norm {}; first not finite: {}", pass.loss, pass.norm, first_fault());
  const Pass again = compute(step);
  const std::string verdict = pass.same_bits(again)
                                  ? "computed again: the same bits, so it comes from the data or the weights"
                                  : "computed again: OTHER BITS. The machine miscalculates; do not trust this run";
  pass = again;
  std::string text = fmt::format("{}; {}; {}", what, samples(step), verdict);
  if (!pass.finite()) text += ". The step is skipped";
  result.events.push_back({spike ? "spike" : "bad_step", std::move(text)});
  return pass.finite();
}

void Stepper::balance(int64_t step) {
  if (config_.bias.rule == BiasRule::none) return;
  BiasUpdate update = config_.bias;
  if (update.schedule == BiasSchedule::lr) update.rate *= static_cast<float>(rate_decay(config_.train, step));
  for (const Parameter& parameter : parameters_.list()) {
    if (parameter.kind != ParameterKind::selection_bias) continue;
    const MoeStats& stats = stats_[static_cast<size_t>(parameter.layer)];
    update_selection_bias(update, stats.tokens_per_expert.data(), parameter.shape.num_elems(),
                          parameters_.values() + parameter.offset);
  }
}

StepResult Stepper::run(TrainState& state) {
  const int64_t step = state.step + 1;
  const LoopConfig& train = config_.train;
  StepResult result;
  Pass pass = compute(step);
  const bool good = judge(state, step, pass, result);
  result.loss = pass.loss;
  result.aux = pass.aux;
  result.z = pass.z;
  result.grad_norm = pass.norm;
  result.lr = learning_rate(train, step);
  result.dropped = pass.dropped;
  result.rerouted = pass.rerouted;
  for (const LayerSpec& layer : config_.spec.layers) {
    if (layer.ffn.routed) result.assignments += layer.ffn.top_k * tokens_per_step();
  }
  state.step = step;
  state.tokens += tokens_per_step();
  if (!good) {
    if (++state.bad_steps < train.max_bad_steps) return result;
    throw make_error(ErrorCode::runtime,
                     "step {}: {} steps in a row were not finite: {}. Lower train.lr, or look at the "
                     "data; the last checkpoint is from before.",
                     step, state.bad_steps, result.events.back().text);
  }
  state.bad_steps = 0;
  ++state.updates;
  remember_loss(state, pass.loss);
  optimizer_.step(kernels_, pool_,
                  {.lr = result.lr,
                   .beta1 = train.beta1,
                   .beta2 = train.beta2,
                   .eps = train.eps,
                   .weight_decay = train.weight_decay,
                   .grad_scale = clip_scale(pass.norm, train.clip),
                   .update = state.updates},
                  gradients_.get());
  balance(step);
  for (RunEvent& event : watch_collapse(state, config_, stats_)) result.events.push_back(std::move(event));
  return result;
}

}  // namespace moxie
