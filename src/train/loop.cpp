#include "train/loop.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <deque>
#include <numeric>

#include "base/file.h"
#include "plan/training_cost.h"
#include "train/checkpoint.h"
#include "train/metrics.h"
#include "train/run_directory.h"
#include "train/run_lines.h"
#include "train/tensorboard.h"

namespace moxie {
namespace {

constexpr int kFailedSaves = 3;      // in a row, before a run stops
constexpr size_t kSpeedWindow = 10;  // steps that tokens_per_second is taken over

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool due(int64_t step, int64_t every) {
  return every > 0 && step % every == 0;
}

class Run {
 public:
  Run(const TrainConfig& config, const TrainRequest& request, const KernelSet& kernels, ThreadPool& pool,
      TrainObserver& observer, TrainSignals& signals)
      : config_(config),
        request_(request),
        kernels_(kernels),
        pool_(pool),
        observer_(observer),
        signals_(signals),
        directory_(config.train.out),
        store_(directory_.checkpoints()),
        resumed_(choose_checkpoint()),
        data_(config.data, config.train.seq_len, config.train.seed, config.spec.vocab_size),
        stepper_(config, data_, kernels, pool),
        evaluator_(config, data_),
        files_{.config = config.model, .tokenizer = data_.tokenizer_files(config.spec.max_position)},
        flops_per_token_(train_flops_per_token(config.spec, config.train.seq_len).total()) {
    const LoopConfig& train = config.train;
    eval_every_ = train.eval_every == 0 ? std::max<int64_t>(1, train.steps / 10) : train.eval_every;
    checkpoint_every_ = train.checkpoint_every == 0 ? eval_every_ : train.checkpoint_every;
    if (!directory_.stale_owner().empty()) {
      observer_.say(fmt::format("{}: {} ended without leaving; its lock is taken over", directory_.path().string(),
                                directory_.stale_owner()));
    }
    if (evaluator_.empty()) {
      observer_.say("no text is kept for validation: no evaluation, no best checkpoint");
    } else if (train.keep_best && checkpoint_every_ > 0 && checkpoint_every_ < train.steps && !evaluates_a_save()) {
      observer_.say(
          fmt::format("train.keep_best keeps nothing: no checkpoint before the last is saved at an evaluated step "
                      "(checkpoint_every "
                      "{}, eval_every {})",
                      checkpoint_every_, eval_every_));
    }
  }

  TrainSummary execute() {
    resumed_ > 0 ? resume() : start();
    while (state_.step < config_.train.steps && signals_.stop.load() == 0) one_step();
    finish();
    return summary_;
  }

 private:
  /// Before the last step.
  bool evaluates_a_save() const {
    return eval_every_ > 0 && std::lcm(checkpoint_every_, eval_every_) < config_.train.steps;
  }

  int64_t choose_checkpoint() {
    const std::vector<int64_t> steps = store_.steps();
    if (request_.resume == "auto") {
      const int64_t good = store_.newest_good([this](const std::string& line) { observer_.say(line); });
      if (good > 0 || steps.empty()) return good;
      throw invalid({.where = directory_.checkpoints().string(),
                     .expected = "a checkpoint that is whole",
                     .got = "none (see above)",
                     .hint = "Start anew with another --out."});
    }
    if (request_.resume == "none") {
      if (steps.empty()) return 0;
      throw make_error(ErrorCode::usage,
                       "{} holds a run with checkpoints up to step {}: go on with --resume auto, or "
                       "give another --out",
                       directory_.path().string(), steps.front());
    }
    int64_t step = 0;
    const std::string& word = request_.resume;
    const auto read = std::from_chars(word.data(), word.data() + word.size(), step);
    if (read.ec != std::errc() || read.ptr != word.data() + word.size() || step < 1) {
      throw make_error(ErrorCode::usage, "--resume {}: expected auto, none or the step of a checkpoint",
                       printable(word));
    }
    if (std::find(steps.begin(), steps.end(), step) == steps.end()) {
      throw make_error(ErrorCode::usage, "--resume {}: {} has {}", step, directory_.checkpoints().string(),
                       steps.empty() ? "no checkpoint" : fmt::format("those of steps {}", fmt::join(steps, ", ")));
    }
    store_.verify(step);
    return step;
  }

  void start() {
    state_.config = to_toml(config_);
    state_.data = data_.fingerprint();
    state_.kernels = kernels_.name;
    std::error_code ignored;
    std::filesystem::remove(directory_.metrics(), ignored);  // of a run that was killed before its first checkpoint
    write_config();
    open_logs();
    metrics_->append(run_line(config_, data_, kernels_, pool_.size()));
  }

  void resume() {
    state_ = store_.load_state(resumed_);
    const std::string toml = to_toml(config_);
    if (const std::string what = config_difference(state_.config, toml); !what.empty()) {
      throw invalid({.where = directory_.path().string() + ": the configuration has changed",
                     .got = what,
                     .hint = "Start a new run with another --out, or go on with --config RUN/config.toml."});
    }
    if (const std::string what = data_difference(state_.data, data_.fingerprint()); !what.empty()) {
      throw invalid({.where = directory_.path().string() + ": the data have changed",
                     .got = what,
                     .hint = "Bring the file back, or start a new run with another --out."});
    }
    state_.config = toml;  // steps and cadences may be new
    if (!state_.kernels.empty() && state_.kernels != kernels_.name) {
      observer_.say(fmt::format("the run used the {} kernels, now they are {}: last bits will differ", state_.kernels,
                                kernels_.name));
    }
    state_.kernels = kernels_.name;
    store_.load(resumed_, stepper_.parameters(), stepper_.optimizer(), eval_ids_);
    for (const int64_t step : request_.resume == "auto" ? std::vector<int64_t>{} : store_.remove_after(resumed_)) {
      observer_.say(fmt::format("checkpoint of step {} is removed: the run goes on from step {}", step, resumed_));
    }
    if (const std::string damage = cut_metrics(directory_.metrics(), resumed_); !damage.empty()) {
      observer_.say("left out of the log: " + damage);
    }
    write_config();
    open_logs();
    saved_step_ = resumed_;
    summary_.checkpoint = store_.path(resumed_);
    tell_saved();
    event({"resume", fmt::format("goes on from {}", store_.path(resumed_).filename().string())});
  }

  void write_config() {
    AtomicFile file(directory_.config());
    file.write(state_.config);
    file.commit();
  }

  void open_logs() {
    metrics_.emplace(directory_.metrics());
    events_.emplace(directory_.tensorboard());
  }

  void event(const RunEvent& event) {
    metrics_->append(event_line(state_.step, event));
    if (event.kind != "checkpoint") observer_.say(event.kind + ": " + event.text);
  }

  void one_step() {
    const double start = wall_seconds();
    StepResult result;
    try {
      result = stepper_.run(state_);
    } catch (const Error& error) {
      metrics_->append(event_line(state_.step, {"stop", error.text()}));
      throw;
    }
    const double seconds = wall_seconds() - start;
    state_.seconds += seconds;
    recent_seconds_.push_back(seconds);
    if (recent_seconds_.size() > kSpeedWindow) recent_seconds_.pop_front();
    const StepReport report = report_of(result);
    summary_.loss = result.loss;
    const bool last = state_.step == config_.train.steps;
    if (due(state_.step, config_.train.log_every) || state_.step == 1 || last) {
      metrics_->append(step_line(report, flops_per_token_));
      metrics_->append(routing_line(state_.step, stepper_.stats()));
      events_->add(state_.step, step_scalars(report));
    }
    for (const RunEvent& each : result.events) event(each);
    observer_.on_step(report);
    const bool evaluated = !evaluator_.empty() && (due(state_.step, eval_every_) || last);
    if (evaluated) evaluate(report, last);
    const bool asked = signals_.save.exchange(false);
    if (due(state_.step, checkpoint_every_) || last || asked) save(evaluated);
  }

  StepReport report_of(const StepResult& result) const {
    double seconds = 0;
    for (const double each : recent_seconds_) seconds += each;
    const double steps = static_cast<double>(recent_seconds_.size());
    const double rate = static_cast<double>(stepper_.tokens_per_step()) * steps / std::max(seconds, 1e-9);
    return {.step = state_.step,
            .steps = config_.train.steps,
            .tokens = state_.tokens,
            .result = result,
            .load = summarise(stepper_.stats()),
            .seconds = state_.seconds,
            .tokens_per_second = rate,
            .mfu = request_.peak_flops > 0 ? rate * flops_per_token_ / request_.peak_flops : 0};
  }

  void evaluate(const StepReport& report, bool last) {
    const EvalReport eval = evaluator_.evaluate(stepper_.model(), eval_ids_);
    metrics_->append(eval_line(report, eval, flops_per_token_, last));
    events_->add(state_.step, eval_scalars(eval));
    observer_.on_eval(state_.step, eval);
    summary_.valid_loss = eval.loss;
    summary_.nats_per_byte = eval.nats_per_byte;
    summary_.max_vio = eval.max_vio;
  }

  /// `evaluated`: at this very step, so that it may be the best.
  void save(bool evaluated) {
    if (saved_step_ == state_.step) return;
    const double best_loss = state_.best_loss;
    const int64_t best_step = state_.best_step;
    const bool best =
        evaluated && std::isfinite(summary_.valid_loss) && (best_step == 0 || summary_.valid_loss < best_loss);
    if (best) {
      state_.best_loss = summary_.valid_loss;
      state_.best_step = state_.step;
    }
    try {
      metrics_->sync();
      store_.save({stepper_.parameters(), stepper_.optimizer(), state_, files_, eval_ids_});
    } catch (const Error& error) {
      state_.best_loss = best_loss;
      state_.best_step = best_step;
      if (++failed_saves_ >= kFailedSaves) {
        throw make_error(ErrorCode::runtime, "{} Three saves in a row failed: the run stops at step {}", error.text(),
                         state_.step);
      }
      observer_.say("error: " + error.text());
      return;
    }
    failed_saves_ = 0;
    saved_step_ = state_.step;
    summary_.checkpoint = store_.path(state_.step);
    tell_saved();
    store_.prune(saved_step_, config_.train.keep_last, config_.train.keep_best ? state_.best_step : 0);
  }

  void tell_saved() { event({"checkpoint", store_.path(saved_step_).filename().string()}); }

  void finish() {
    const LoopConfig& train = config_.train;
    summary_.step = state_.step;
    summary_.tokens = state_.tokens;
    summary_.seconds = state_.seconds;
    summary_.tokens_per_second = static_cast<double>(state_.tokens) / std::max(state_.seconds, 1e-9);
    if (state_.step == 0) {  // stopped before the first step: nothing to save
      summary_.stopped_by = signals_.stop.load();
      return;
    }
    if (state_.step < train.steps) {
      summary_.stopped_by = signals_.stop.load();
      save(false);
      if (saved_step_ != state_.step)
        throw make_error(ErrorCode::runtime, "stopped, but step {} is not saved", state_.step);
      event({"stop", fmt::format("by signal {} after step {}", summary_.stopped_by, state_.step)});
      metrics_->sync();
      return;
    }
    if (resumed_ == state_.step) tell_finished();
    metrics_->sync();
    export_model(directory_.model(), stepper_.parameters(), files_,
                 train.weights == "bf16" ? FormatId::bf16 : FormatId::f32);
    summary_.model = directory_.model();
  }

  /// A run that was complete already: its numbers once more, and nothing written of them.
  void tell_finished() {
    observer_.say(fmt::format("all {} steps are done already", state_.step));
    if (!state_.recent_losses.empty()) summary_.loss = state_.recent_losses.back();
    if (evaluator_.empty()) return;
    std::vector<int32_t> ids;
    const EvalReport eval = evaluator_.evaluate(stepper_.model(), ids);
    summary_.valid_loss = eval.loss;
    summary_.nats_per_byte = eval.nats_per_byte;
    summary_.max_vio = eval.max_vio;
  }

  const TrainConfig& config_;
  const TrainRequest& request_;
  const KernelSet& kernels_;
  ThreadPool& pool_;
  TrainObserver& observer_;
  TrainSignals& signals_;
  RunDirectory directory_;
  CheckpointStore store_;
  int64_t resumed_;  // step of the checkpoint we start from; 0: none
  TrainData data_;
  Stepper stepper_;
  Evaluator evaluator_;
  ModelFiles files_;
  double flops_per_token_;
  int64_t eval_every_ = 0, checkpoint_every_ = 0;
  TrainState state_;
  std::vector<int32_t> eval_ids_;
  std::optional<MetricsFile> metrics_;
  std::optional<EventFile> events_;
  std::deque<double> recent_seconds_;
  int64_t saved_step_ = 0;
  int failed_saves_ = 0;
  TrainSummary summary_;
};

}  // namespace

LoadSummary summarise(const std::vector<MoeStats>& stats) {
  LoadSummary summary{.entropy = 0};
  double layers = 0;
  for (const MoeStats& load : stats) {
    if (load.tokens_per_expert.empty()) continue;
    ++layers;
    summary.max_vio += load.max_vio();
    summary.entropy += load.entropy();
    summary.max_over_mean = std::max(summary.max_over_mean, load.max_over_mean());
    summary.dead += load.dead_experts();
  }
  if (layers == 0) return {};
  summary.max_vio /= layers;
  summary.entropy /= layers;
  return summary;
}

TrainSummary train(const TrainConfig& config, const TrainRequest& request, const KernelSet& kernels, ThreadPool& pool,
                   TrainObserver& observer, TrainSignals& signals) {
  Run run(config, request, kernels, pool, observer, signals);
  return run.execute();
}

}  // namespace moxie
