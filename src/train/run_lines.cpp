#include "train/run_lines.h"

#include <ctime>

#include "base/machine.h"
#include "plan/accounting.h"
#include "plan/training_cost.h"

namespace moxie {
namespace {

std::string now_utc() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

// 0.01f as 0.01, not as the double nearest to it.
double shortest(float value) {
  return std::stod(fmt::format("{}", value));
}

constexpr std::string_view form_name(AuxForm form) {
  constexpr std::string_view kNames[] = {"none", "switch_top1", "deepseek", "megablocks", "transformers"};
  return kNames[static_cast<size_t>(form)];
}

json::Value balance_json(const TrainConfig& config) {
  constexpr std::string_view kScopes[] = {"sequence", "micro_batch", "global_batch"};
  constexpr std::string_view kRules[] = {"none", "sign", "proportional"};
  const bool aux = config.aux.form != AuxForm::none && config.aux.coef != 0;
  const bool bias = config.bias.rule != BiasRule::none;
  json::Value out;
  out.set("method", aux && bias ? "aux and bias" : aux ? "aux" : bias ? "bias" : "none");
  out.set("form", form_name(config.aux.form)).set("scope", kScopes[static_cast<size_t>(config.aux.scope)]);
  out.set("coef", shortest(config.aux.coef)).set("z_coef", shortest(config.aux.z_coef));
  out.set("bias_rule", kRules[static_cast<size_t>(config.bias.rule)]);
  out.set("bias_rate", shortest(config.bias.rate));
  return out.set("bias_schedule", config.bias.schedule == BiasSchedule::lr ? "lr" : "constant");
}

json::Value router_json(const RouterTraining& router) {
  constexpr std::string_view kChoices[] = {"token", "expert", "hash"};
  constexpr std::string_view kNoises[] = {"none", "jitter", "gaussian"};
  constexpr std::string_view kOverflows[] = {"drop", "next_choice", "least_loaded"};
  json::Value out;
  out.set("choice", kChoices[static_cast<size_t>(router.choice)]);
  out.set("noise", kNoises[static_cast<size_t>(router.noise)]).set("capacity_factor", router.capacity_factor);
  return out.set("overflow", kOverflows[static_cast<size_t>(router.overflow)]);
}

json::Value matrix_json(const std::vector<std::vector<double>>& matrix) {
  json::Value rows{json::Array{}};
  for (const std::vector<double>& row : matrix) {
    json::Value values{json::Array{}};
    for (const double value : row) values.push(value);
    rows.push(std::move(values));
  }
  return rows;
}

}  // namespace

json::Value run_line(const TrainConfig& config, const TrainData& data, const KernelSet& kernels, int threads) {
  json::Value layers{json::Array{}}, domains{json::Array{}}, out;
  const MoeSpec* routed = nullptr;
  for (size_t i = 0; i < config.spec.layers.size(); ++i) {
    if (!config.spec.layers[i].ffn.routed) continue;
    layers.push(static_cast<int64_t>(i));
    if (routed == nullptr) routed = &config.spec.layers[i].ffn;
  }
  for (int64_t i = 0; i < data.num_domains(); ++i) domains.push(data.domain_name(i));
  const LoopConfig& train = config.train;
  out.set("type", "run").set("schema_version", 1);
  out.set("name", std::filesystem::path(train.out).filename().string()).set("family", config.spec.family);
  out.set("started", now_utc()).set("moxie", moxie_version()).set("threads", threads);
  out.set("kernels", kernels.name).set("precision", train.precision == Precision::bf16 ? "bf16" : "f32");
  out.set("parameters_total", count_parameters(config.spec).total());
  out.set("parameters_active", active_parameters(config.spec).full);
  out.set("flops_per_token", train_flops_per_token(config.spec, train.seq_len).total())
      .set("num_layers", config.spec.num_layers);
  out.set("moe_layers", std::move(layers)).set("num_experts", routed == nullptr ? 1 : routed->num_experts);
  out.set("top_k", routed == nullptr ? 1 : routed->top_k).set("seq_len", train.seq_len);
  out.set("tokens_per_step", train.batch_size * train.seq_len * train.grad_accum).set("steps", train.steps);
  out.set("seed", train.seed).set("domains", std::move(domains));
  return out.set("balance", balance_json(config)).set("router", router_json(config.router));
}

json::Value step_line(const StepReport& report, double flops_per_token) {
  const StepResult& result = report.result;
  const double assignments = std::max<double>(1, static_cast<double>(result.assignments));
  json::Value out;
  out.set("type", "step").set("step", report.step).set("tokens", report.tokens);
  out.set("flops", flops_per_token * static_cast<double>(report.tokens)).set("seconds", report.seconds);
  out.set("loss", result.loss).set("aux", result.aux).set("z", result.z).set("grad_norm", result.grad_norm);
  out.set("lr", result.lr).set("tokens_per_second", report.tokens_per_second).set("mfu", report.mfu);
  out.set("max_vio", report.load.max_vio).set("max_over_mean", report.load.max_over_mean);
  out.set("entropy", report.load.entropy).set("dead_experts", report.load.dead);
  out.set("dropped", static_cast<double>(result.dropped) / assignments);
  return out.set("rerouted", static_cast<double>(result.rerouted) / assignments);
}

json::Value routing_line(int64_t step, const std::vector<MoeStats>& stats) {
  json::Value layers{json::Array{}}, out;
  for (size_t i = 0; i < stats.size(); ++i) {
    const MoeStats& load = stats[i];
    if (load.tokens_per_expert.empty()) continue;
    double sum = 0;
    for (const int64_t count : load.tokens_per_expert) sum += static_cast<double>(count);
    json::Value shares{json::Array{}}, layer;
    for (const int64_t count : load.tokens_per_expert) shares.push(static_cast<double>(count) / std::max(sum, 1.0));
    layer.set("layer", static_cast<int64_t>(i)).set("load", std::move(shares)).set("max_vio", load.max_vio());
    layers.push(layer.set("entropy", load.entropy()).set("dead", load.dead_experts()));
  }
  return out.set("type", "routing").set("step", step).set("layers", std::move(layers));
}

json::Value eval_line(const StepReport& at, const EvalReport& report, double flops_per_token, bool last) {
  json::Value domains{json::Array{}}, layers{json::Array{}}, specialisation{json::Array{}}, together{json::Array{}};
  json::Value vocabulary{json::Array{}}, out;
  for (const EvalReport::Domain& domain : report.domains) {
    json::Value entry;
    entry.set("name", domain.name).set("loss", domain.loss);
    domains.push(entry.set("nats_per_byte", domain.nats_per_byte).set("tokens", domain.tokens));
  }
  for (const EvalReport::Layer& layer : report.layers) {
    json::Value entry;
    entry.set("layer", layer.layer).set("max_vio", layer.max_vio).set("entropy", layer.entropy);
    entry.set("dead", layer.dead).set("saturation", layer.saturation ? json::Value(*layer.saturation) : json::Value());
    layers.push(std::move(entry));
    specialisation.push(matrix_json(layer.specialisation));
    if (last) together.push(matrix_json(layer.co_activation));
    vocabulary.push(layer.vocabulary);
  }
  out.set("type", "eval").set("step", at.step).set("tokens", at.tokens);
  out.set("flops", flops_per_token * static_cast<double>(at.tokens)).set("seconds", at.seconds);
  out.set("loss", report.loss).set("nats_per_byte", report.nats_per_byte).set("domains", std::move(domains));
  out.set("max_vio_global", report.max_vio).set("layers", std::move(layers));
  out.set("specialisation", std::move(specialisation)).set("vocabulary", std::move(vocabulary));
  if (last) out.set("co_activation", std::move(together));
  return out;
}

json::Value event_line(int64_t step, const RunEvent& event) {
  json::Value out;
  return out.set("type", "event").set("step", step).set("kind", event.kind).set("text", event.text);
}

Scalars step_scalars(const StepReport& report) {
  const StepResult& result = report.result;
  return {{"train/loss", result.loss},
          {"train/grad_norm", result.grad_norm},
          {"train/lr", result.lr},
          {"train/tokens_per_second", report.tokens_per_second},
          {"train/mfu", report.mfu},
          {"balance/aux", result.aux},
          {"balance/z", result.z},
          {"balance/max_vio", report.load.max_vio},
          {"balance/max_over_mean", report.load.max_over_mean},
          {"balance/entropy", report.load.entropy},
          {"balance/dead_experts", static_cast<double>(report.load.dead)}};
}

Scalars eval_scalars(const EvalReport& report) {
  Scalars scalars = {{"eval/loss", report.loss},
                     {"eval/nats_per_byte", report.nats_per_byte},
                     {"eval/max_vio_global", report.max_vio}};
  for (const EvalReport::Domain& domain : report.domains) scalars.emplace_back("eval/loss_" + domain.name, domain.loss);
  return scalars;
}

}  // namespace moxie
