#include "cli/train_plan.h"

#include <algorithm>

#include "base/machine.h"
#include "cli/train_progress.h"
#include "kernels/ceilings.h"
#include "plan/accounting.h"
#include "plan/training_cost.h"

namespace moxie::cli {
namespace {

std::string short_number(double number) {
  constexpr const char* kUnits[] = {"", " thousand", " million", " billion", " trillion"};
  size_t unit = 0;
  for (; number >= 1000 && unit + 1 < std::size(kUnits); ++unit) number /= 1000;
  return fmt::format("{:.4g}{}", number, kUnits[unit]);
}

TrainMemory memory_of(const TrainConfig& config) {
  const LoopConfig& train = config.train;
  const TrainShape shape{.batch = train.batch_size,
                         .length = train.seq_len,
                         .router_noise = config.router.noise == RouterNoise::gaussian,
                         .router_jitter = config.router.noise == RouterNoise::jitter,
                         .dropout = train.dropout > 0,
                         .threads = train_threads(config)};
  return train_memory(config.spec, shape);
}

}  // namespace

int train_threads(const TrainConfig& config) {
  return config.train.threads > 0 ? config.train.threads : usable_threads();
}

double train_peak_flops(const TrainConfig& config) {
  Ceilings best;
  for (int i = 0; i < 8; ++i) best = better_of(best, measure_arithmetic(train_threads(config)));
  const bool bf16 = config.train.precision == Precision::bf16 && best.bf16_gflops > 0;
  return 1e9 * (bf16 ? best.bf16_gflops : best.f32_gflops);
}

void check_train_memory(const TrainConfig& config) {
  const std::optional<int64_t> usable = usable_memory(probe_machine());
  const double needed = memory_of(config).total();
  if (!usable || needed <= static_cast<double>(*usable)) return;
  throw make_error(ErrorCode::does_not_fit,
                   "train: this run needs about {:.0f} MiB, and this process can have {} MiB. Smaller micro batches "
                   "(train.batch_size, more train.grad_accum) or a smaller model need less; --dry-run tells the parts",
                   needed / (1 << 20), *usable >> 20);
}

json::Value train_plan_json(const TrainConfig& config, double peak) {
  const LoopConfig& train = config.train;
  const double tokens =
      static_cast<double>(train.steps) * static_cast<double>(train.batch_size * train.seq_len * train.grad_accum);
  const double flops_per_token = train_flops_per_token(config.spec, train.seq_len).total();
  json::Value out;
  out.set("schema_version", 1).set("out", train.out).set("family", config.spec.family);
  out.set("parameters_total", count_parameters(config.spec).total());
  out.set("parameters_active", active_parameters(config.spec).full).set("steps", train.steps);
  out.set("tokens", tokens).set("flops_per_token", flops_per_token).set("flops", flops_per_token * tokens);
  const TrainMemory memory = memory_of(config);
  json::Value parts;
  parts.set("parameters", memory.parameters).set("residual", memory.residual).set("attention", memory.attention);
  parts.set("experts", memory.experts).set("router", memory.router).set("temporary", memory.temporary);
  parts.set("threads", memory.threads).set("process", memory.process);
  out.set("memory_bytes", memory.total()).set("memory", std::move(parts));
  return out.set("seconds_at_half_peak", 2 * flops_per_token * tokens / std::max(peak, 1.0));
}

void print_train_plan(const TrainConfig& config, double peak) {
  const json::Value plan = train_plan_json(config, peak);
  const auto number = [&](const char* key) { return plan.find(key)->as_double(); };
  fmt::print("model       {}, {} parameters, {} active\n", config.spec.family, short_number(number("parameters_total")),
             short_number(number("parameters_active")));
  fmt::print("data        {} tokens in {} steps of {}\n", short_number(number("tokens")), config.train.steps,
             config.train.batch_size * config.train.seq_len * config.train.grad_accum);
  fmt::print("work        {} FLOPs a token, {} in all\n", short_number(number("flops_per_token")),
             short_number(number("flops")));
  std::string parts;
  for (const json::Member& part : plan.find("memory")->members()) {
    parts += fmt::format("{}{} {:.0f}", parts.empty() ? "" : ", ", part.key, part.value.as_double() / (1 << 20));
  }
  fmt::print("memory      {:.0f} MiB at the peak: {}\n", number("memory_bytes") / (1 << 20), parts);
  fmt::print("time        {} at half of the {:.0f} GFLOP/s that {} threads reach here\n",
             duration_text(number("seconds_at_half_peak")), peak / 1e9, train_threads(config));
  fmt::print("run         {}\n", config.train.out);
}

}  // namespace moxie::cli
