// Training runs made up for tests: one that balances, one that collapses, a dense twin. The lines are those that
// docs/RUN_DIRECTORY.md lists; the numbers are shapes of real runs, not measurements.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/rng.h"

namespace moxie::testing {

struct MadeRun {
  std::string name = "moe";
  int64_t steps = 1000, every = 20, layers = 4, experts = 16, top_k = 2;  // experts 1: dense
  int64_t collapse_at = -1;                                               // a step, or never
  double loss_floor = 2.4;
  double step_seconds = 0.4;
  std::vector<std::string> domains{"drama", "wiki", "code", "math", "german"};
};

inline json::Value numbers(const std::vector<double>& values) {
  json::Value list{json::Array{}};
  for (const double value : values) list.push(std::round(value * 1e6) / 1e6);
  return list;
}

/// Shares of the experts of a layer: near even, or after the collapse ever more on the first top_k of them.
inline std::vector<double> made_load(const MadeRun& run, int64_t layer, int64_t step) {
  const Rng rng = Rng(7, static_cast<uint64_t>(layer)).at(static_cast<uint64_t>(step));
  const Rng own(9, static_cast<uint64_t>(layer));
  const double settle = std::exp(-static_cast<double>(step) / (0.15 * static_cast<double>(run.steps)));
  const double after =
      run.collapse_at < 0 ? -1.0 : static_cast<double>(step - run.collapse_at) - 30.0 * static_cast<double>(layer);
  std::vector<double> load;
  double sum = 0;
  for (int64_t e = 0; e < run.experts; ++e) {
    const auto i = static_cast<uint64_t>(e);
    double value = std::exp(static_cast<double>(own.normal(i)) * (0.08 + 0.9 * settle) +
                            0.05 * static_cast<double>(rng.normal(i)));
    if (after > 0 && e != (3 * layer) % run.experts && e != (3 * layer + 7) % run.experts) {
      value *= std::exp(-after / (0.03 * static_cast<double>(run.steps)) *
                        (0.5 + static_cast<double>(own.uniform(100 + i))));
    }
    load.push_back(value);
    sum += value;
  }
  for (double& value : load) value = value / sum < 2e-4 ? 0 : value / sum;
  return load;
}

inline double busiest(const std::vector<double>& load) {
  return *std::max_element(load.begin(), load.end()) * static_cast<double>(load.size());
}

inline double made_entropy(const std::vector<double>& load) {
  double sum = 0;
  for (const double share : load) sum -= share > 0 ? share * std::log(share) : 0;
  return load.size() > 1 ? sum / std::log(static_cast<double>(load.size())) : 0;
}

class RunWriter {
 public:
  explicit RunWriter(MadeRun run) : run_(std::move(run)) {}

  std::string write() {
    facts();
    for (int64_t step = 1; step <= run_.steps; ++step) {
      line_of_step(step);
      if (is_moe() && (step % run_.every == 0 || step == 1)) routing(step);
      if (step % std::max<int64_t>(1, run_.steps / 12) == 0) eval(step, step + run_.steps / 12 > run_.steps);
      if (step == run_.collapse_at + 60 && run_.collapse_at >= 0) {
        event(step, "collapse",
              "layer 0 has collapsed: 2 of 16 experts take 98% of the load; raise balance.coef or use balance.method = "
              "\"bias\"");
      }
      if (step == run_.steps / 2) event(step, "checkpoint", "step " + std::to_string(step));
    }
    return std::move(text_);
  }

 private:
  static constexpr double kTokens = 4096, kFlops = 18e6;

  bool is_moe() const { return run_.experts > 1; }
  void put(const json::Value& line) { text_ += line.dump() + "\n"; }

  void facts() {
    json::Value line, layers{json::Array{}}, domains{json::Array{}}, balance, router;
    for (int64_t l = 0; is_moe() && l < run_.layers; ++l) layers.push(l);
    for (const std::string& domain : run_.domains) domains.push(domain);
    balance.set("method", run_.collapse_at >= 0 ? "none" : "bias").set("update_rate", 0.001);
    router.set("score", "sigmoid");
    line.set("type", "run").set("schema_version", 1).set("name", run_.name).set("family", "qwen3_moe");
    line.set("started", "2026-11-22T20:00:00Z").set("moxie", "0.1.0").set("threads", 2).set("kernels", "avx512");
    line.set("precision", "f32")
        .set("parameters_total", is_moe() ? 7'340'032 : 3'145'728)
        .set("parameters_active", 3'145'728);
    line.set("flops_per_token", kFlops).set("num_layers", run_.layers).set("moe_layers", std::move(layers));
    line.set("num_experts", is_moe() ? run_.experts : 0).set("top_k", is_moe() ? run_.top_k : 0).set("seq_len", 256);
    line.set("tokens_per_step", 4096).set("steps", run_.steps).set("domains", std::move(domains));
    line.set("balance", std::move(balance)).set("router", std::move(router)).set("of_tomorrow", json::Array{});
    put(line);
  }

  json::Value at(const char* type, int64_t step) const {
    json::Value line;
    const double tokens = kTokens * static_cast<double>(step);
    line.set("type", type).set("step", step);
    if (std::string_view(type) == "step" || std::string_view(type) == "eval") {
      line.set("tokens", tokens)
          .set("flops", tokens * kFlops)
          .set("seconds", run_.step_seconds * static_cast<double>(step));
    }
    return line;
  }

  double loss(int64_t step) const {
    const double part = static_cast<double>(step) / static_cast<double>(run_.steps);
    double value = run_.loss_floor + 6 * std::exp(-part * 22) + 0.9 * std::exp(-part * 3.2);
    if (run_.collapse_at >= 0 && step > run_.collapse_at) {
      value += 0.22 *
               (1 - std::exp(-static_cast<double>(step - run_.collapse_at) / (0.1 * static_cast<double>(run_.steps))));
    }
    return value;
  }

  void line_of_step(int64_t step) {
    const Rng rng(3, run_.name.size());
    const auto i = static_cast<uint64_t>(step);
    const double noise = static_cast<double>(rng.normal(i));
    json::Value line = at("step", step);
    const double warm = std::min(1.0, static_cast<double>(step) / (0.05 * static_cast<double>(run_.steps)));
    line.set("loss", loss(step) + 0.06 * noise).set("aux", is_moe() ? json::Value(1.02 + 0.01 * noise) : json::Value());
    line.set("z", 0.001).set("grad_norm", 0.6 + 3 * std::exp(-static_cast<double>(step) / 60) + 0.1 * std::abs(noise));
    line.set("lr", 1e-3 * warm *
                       (0.55 + 0.45 * std::cos(3.14159 * static_cast<double>(step) / static_cast<double>(run_.steps))));
    line.set("tokens_per_second", kTokens / run_.step_seconds * (1 + 0.02 * noise))
        .set("mfu", 0.41 * (1 + 0.02 * noise));
    if (is_moe()) {
      double peak = 0, even = 0;
      int64_t dead = 0;
      for (int64_t l = 0; l < run_.layers; ++l) {
        const std::vector<double> load = made_load(run_, l, step);
        peak += busiest(load) / static_cast<double>(run_.layers);
        even += made_entropy(load) / static_cast<double>(run_.layers);
        dead += std::count(load.begin(), load.end(), 0.0);
      }
      line.set("max_vio", peak - 1).set("max_over_mean", peak).set("entropy", even).set("dead_experts", dead);
      line.set("dropped", 0).set("rerouted", 0);
    }
    put(line);
  }

  void routing(int64_t step) {
    json::Value line = at("routing", step), layers{json::Array{}};
    for (int64_t l = 0; l < run_.layers; ++l) {
      const std::vector<double> load = made_load(run_, l, step);
      json::Value layer;
      layer.set("layer", l)
          .set("load", numbers(load))
          .set("max_vio", busiest(load) - 1)
          .set("entropy", made_entropy(load));
      layer.set("dead", static_cast<int64_t>(std::count(load.begin(), load.end(), 0.0)));
      layers.push(std::move(layer));
    }
    put(line.set("layers", std::move(layers)));
  }

  void eval(int64_t step, bool last) {
    json::Value line = at("eval", step), domains{json::Array{}}, layers{json::Array{}}, special{json::Array{}},
                pairs{json::Array{}}, words{json::Array{}};
    line.set("loss", loss(step)).set("nats_per_byte", loss(step) / 3.1);
    for (const std::string& name : run_.domains) {
      json::Value domain;
      domains.push(
          domain.set("name", name).set("loss", loss(step)).set("nats_per_byte", loss(step) / 3).set("tokens", 5000));
    }
    double vio = 0;
    for (int64_t l = 0; is_moe() && l < run_.layers; ++l) {
      const std::vector<double> load = made_load(run_, l, step);
      json::Value layer, of_domains{json::Array{}}, of_pairs{json::Array{}};
      vio += (busiest(load) - 1) / static_cast<double>(run_.layers);
      layer.set("layer", l).set("max_vio", busiest(load) - 1).set("entropy", made_entropy(load));
      layer.set("dead", static_cast<int64_t>(std::count(load.begin(), load.end(), 0.0)));
      layer.set("saturation", 1 - 0.7 * std::exp(-3.0 * static_cast<double>(step) / static_cast<double>(run_.steps)) -
                                  0.03 * static_cast<double>(l % 5));
      layers.push(std::move(layer));
      const Rng rng(11, static_cast<uint64_t>(l));
      for (size_t d = 0; d < run_.domains.size(); ++d) of_domains.push(numbers(row(rng, d, run_.experts, -1)));
      for (int64_t e = 0; e < run_.experts; ++e)
        of_pairs.push(numbers(row(rng, static_cast<size_t>(100 + e), run_.experts, e)));
      special.push(std::move(of_domains));
      pairs.push(std::move(of_pairs));
      words.push(0.3);
    }
    line.set("domains", std::move(domains));
    if (is_moe()) {
      line.set("max_vio_global", vio).set("layers", std::move(layers)).set("specialisation", std::move(special));
      if (last) line.set("co_activation", std::move(pairs)).set("vocabulary", std::move(words));
    }
    put(line);
  }

  /// Shares of tokens that visit each expert; with a diagonal: 1 at `self`.
  std::vector<double> row(const Rng& rng, size_t number, int64_t columns, int64_t self) const {
    std::vector<double> values;
    double sum = 0;
    for (int64_t c = 0; c < columns; ++c) {
      values.push_back(std::exp(0.8 * static_cast<double>(rng.normal(number * 1000 + static_cast<size_t>(c)))));
      sum += values.back();
    }
    for (double& value : values)
      value = std::min(1.0, value / sum * static_cast<double>(self < 0 ? run_.top_k : run_.top_k - 1));
    if (self >= 0) values[static_cast<size_t>(self)] = 1;
    return values;
  }

  void event(int64_t step, const char* kind, const std::string& words) {
    put(at("event", step).set("kind", kind).set("text", words));
  }

  MadeRun run_;
  std::string text_;
};

inline std::string make_run(const MadeRun& run) {
  return RunWriter(run).write();
}

}  // namespace moxie::testing
