// moxie train: trains a model from text as a configuration says, or goes on with a run that was interrupted.
#include <signal.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "cli/train_plan.h"
#include "cli/train_progress.h"

namespace moxie::cli {
namespace {

TrainSignals signals;  // written by the signal handlers alone

void on_stop(int signal) {
  if (signals.stop.exchange(signal) != 0) ::_exit(128 + signal);  // the second one leaves at once
}

void on_save(int) {
  signals.save = true;
}

struct TrainFlags {
  std::string config, twin, out;
  CLI::Option* twin_option = nullptr;
  std::string resume = "none";
  std::optional<int64_t> steps;
  int threads = 0;
  bool dry_run = false, as_json = false;
};

// What CLI11 left over: --section.key=value, or --section.key value.
std::vector<std::string> overrides_of(const TrainFlags& flags, const std::vector<std::string>& words) {
  std::vector<std::string> overrides;
  for (size_t i = 0; i < words.size(); ++i) {
    std::string word = words[i];
    const size_t equals = word.find('=');
    if (!word.starts_with("--") || word.substr(0, equals).find('.') == std::string::npos) {
      throw make_error(ErrorCode::usage,
                       "train: {} is no flag of train; a value of the configuration is changed with "
                       "--section.key=value",
                       printable(word));
    }
    word.erase(0, 2);
    if (equals == std::string::npos && i + 1 < words.size()) word += "=" + words[++i];
    overrides.push_back(std::move(word));
  }
  if (!flags.out.empty()) overrides.push_back("train.out=" + flags.out);
  if (flags.steps) overrides.push_back(fmt::format("train.steps={}", *flags.steps));
  if (flags.threads > 0) overrides.push_back(fmt::format("train.threads={}", flags.threads));
  return overrides;
}

struct Plan {
  TrainConfig config;
  std::optional<TwinSizes> twin;
};

Plan make_plan(const TrainFlags& flags, const std::vector<std::string>& words) {
  const bool twin = flags.twin_option->count() > 0;
  if (flags.config.empty() == flags.twin.empty()) {
    throw make_error(ErrorCode::usage, "train: give one of --config FILE and --twin FILE");
  }
  const std::string file = flags.config.empty() ? flags.twin : flags.config;
  Plan plan{.config = load_train_config(file, overrides_of(flags, words))};
  if (twin) {
    TrainConfig dense = dense_twin(plan.config);
    plan.twin = twin_sizes(plan.config.spec, dense.spec);
    if (!flags.out.empty()) dense.train.out = plan.config.train.out;  // said, not derived
    plan.config = std::move(dense);
  }
  if (plan.config.train.out.empty()) {
    throw make_error(ErrorCode::usage, "train: where to? Give --out DIR, or train.out in {}", file);
  }
  return plan;
}

void install_signals() {
  struct sigaction action {};
  action.sa_flags = SA_RESTART;
  action.sa_handler = on_stop;
  for (const int signal : {SIGINT, SIGTERM}) ::sigaction(signal, &action, nullptr);
  action.sa_handler = on_save;
  ::sigaction(SIGUSR1, &action, nullptr);
}

json::Value summary_json(const TrainConfig& config, const TrainSummary& summary) {
  json::Value out;
  out.set("schema_version", 1).set("run", config.train.out).set("step", summary.step).set("tokens", summary.tokens);
  out.set("loss", summary.loss).set("valid_loss", summary.valid_loss).set("nats_per_byte", summary.nats_per_byte);
  out.set("max_vio_global", summary.max_vio).set("seconds", summary.seconds);
  out.set("tokens_per_second", summary.tokens_per_second);
  out.set("model", summary.model.empty() ? json::Value() : json::Value(summary.model.string()));
  out.set("checkpoint", summary.checkpoint.empty() ? json::Value() : json::Value(summary.checkpoint.string()));
  return out.set("stopped_by", summary.stopped_by);
}

void print_summary(const TrainSummary& summary) {
  fmt::print("loss        ");
  if (std::isfinite(summary.valid_loss)) {
    fmt::print("{:.4f} validation, {:.4f} nats/byte; ", summary.valid_loss, summary.nats_per_byte);
  }
  fmt::print("{:.4f} on the last step\n", summary.loss);
  fmt::print("time        {} for {} tokens in {} steps, {:.0f} tokens/s\n", duration_text(summary.seconds),
             summary.tokens, summary.step, summary.tokens_per_second);
  fmt::print("model       {}\n\nmoxie run {} \"...\"\n", summary.model.string(), summary.model.string());
}

void tell_stopped(const TrainConfig& config, const TrainSummary& summary) {
  if (summary.checkpoint.empty()) {
    say("stopped before the first step: nothing was there to save");
    return;
  }
  say(fmt::format("stopped after step {}; saved {}\ngo on with: moxie train --config {} --resume auto", summary.step,
                  summary.checkpoint.string(), (std::filesystem::path(config.train.out) / "config.toml").string()));
}

void run_training(const TrainFlags& flags, const std::vector<std::string>& words) {
  const Plan plan = make_plan(flags, words);
  const TrainConfig& config = plan.config;
  for (const std::string& notice : config.spec.notices) say("note: " + notice);
  if (plan.twin) say(plan.twin->text());
  const double peak = train_peak_flops(config);
  if (flags.dry_run) {
    flags.as_json ? print_json(train_plan_json(config, peak)) : print_train_plan(config, peak);
    return;
  }
  check_train_memory(config);
  install_signals();
  ThreadPool pool(train_threads(config), true);
  TrainSummary summary;
  {
    TrainProgress progress(flags.as_json);
    summary = train(config, {.resume = flags.resume, .peak_flops = peak}, choose_kernel_set(), pool, progress, signals);
  }
  if (flags.as_json) print_json(summary_json(config, summary));
  if (summary.stopped_by != 0) {
    tell_stopped(config, summary);
    throw Interrupted{128 + summary.stopped_by};
  }
  if (!flags.as_json) print_summary(summary);
}

}  // namespace

void add_train(CLI::App& app) {
  CLI::App* verb =
      app.add_subcommand("train", "Train a model from text; --section.key=value changes the configuration");
  auto flags = std::make_shared<TrainFlags>();
  verb->allow_extras();
  verb->add_option("--config", flags->config, "Configuration (TOML; configs/README.md lists its keys)");
  flags->twin_option =
      verb->add_option("--twin", flags->twin,
                       "Train the dense model of equal active parameters instead; of FILE, or of --config")
          ->expected(0, 1);
  verb->add_option("--resume", flags->resume,
                   "auto: go on from the newest whole checkpoint; or a step (default: none)");
  verb->add_option("--out", flags->out, "Run directory (default: train.out)");
  verb->add_option("--steps", flags->steps, "Steps in all (default: train.steps)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  verb->add_option("-t,--threads", flags->threads, "Threads")->check(CLI::Range(1, 1024))->envname("MOXIE_THREADS");
  verb->add_flag("--dry-run", flags->dry_run, "Print what it would cost, and train nothing");
  verb->add_flag("--json", flags->as_json, "Print one JSON object");
  verb->callback([flags, verb] { run_training(*flags, verb->remaining()); });
}

}  // namespace moxie::cli
