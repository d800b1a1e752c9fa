#include "train/evaluation.h"

#include <algorithm>
#include <cmath>

namespace moxie {
namespace {

constexpr int64_t kEnoughTokens = 8;  // below, an id's largest share says more of chance than of the router

int64_t num_windows(const TrainConfig& config, const TrainData& data, int64_t domain) {
  return data.num_valid_windows(domain, config.train.eval_sequences);
}

double vocabulary(const Specialisation& by_id) {
  double sum = 0, ids = 0;
  for (int64_t id = 0; id < by_id.num_classes; ++id) {
    if (by_id.tokens[static_cast<size_t>(id)] < kEnoughTokens) continue;
    double largest = 0;
    for (int64_t e = 0; e < by_id.num_experts; ++e) largest = std::max(largest, by_id.share(id, e));
    sum += largest;
    ++ids;
  }
  return ids == 0 ? 0 : sum / ids;
}

// How evenly experts are loaded, given the share of the choices of each; measures of moe/stats.h.
struct Balance {
  double max_vio = 0, entropy = 0;
  int64_t dead = 0;
};

Balance balance_of(const std::vector<double>& load) {
  Balance balance;
  double total = 0, largest = 0;
  for (const double each : load) {
    total += each;
    largest = std::max(largest, each);
    balance.dead += each == 0 ? 1 : 0;
  }
  if (total == 0 || load.size() < 2) return balance;
  const auto experts = static_cast<double>(load.size());
  balance.max_vio = largest * experts / total - 1;
  for (const double each : load) {
    if (each > 0) balance.entropy -= each / total * std::log(each / total) / std::log(experts);
  }
  return balance;
}

// [rows][E] of share(row, expert).
template <typename Share>
std::vector<std::vector<double>> table(int64_t rows, int64_t experts, Share&& share) {
  std::vector<std::vector<double>> values(static_cast<size_t>(rows));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t e = 0; e < experts; ++e) values[static_cast<size_t>(row)].push_back(share(row, e));
  }
  return values;
}

}  // namespace

// Keeps the experts of every token that is followed by another, layer by layer.
class Evaluator::Choices : public RoutingSink {
 public:
  explicit Choices(int64_t num_layers) : layers_(static_cast<size_t>(num_layers)) {}

  void begin(std::span<const int32_t> targets) { targets_ = targets; }

  void record(int64_t layer, const Routing& routing) override {
    Layer& to = layers_[static_cast<size_t>(layer)];
    to.num_experts = routing.num_experts;
    to.top_k = routing.top_k;
    for (size_t t = 0; t < targets_.size(); ++t) {
      if (targets_[t] < 0) continue;
      const int32_t* ids = routing.topk_ids + static_cast<int64_t>(t) * routing.top_k;
      to.ids.insert(to.ids.end(), ids, ids + routing.top_k);
    }
  }

  /// Empty for a layer without a router.
  Routing of(size_t layer, int64_t num_tokens) {
    Layer& from = layers_[layer];
    return {.num_tokens = from.ids.empty() ? 0 : num_tokens,
            .num_experts = from.num_experts,
            .top_k = from.top_k,
            .topk_ids = from.ids.data()};
  }
  std::vector<int32_t> joined() const {
    std::vector<int32_t> all;
    for (const Layer& layer : layers_) all.insert(all.end(), layer.ids.begin(), layer.ids.end());
    return all;
  }

 private:
  struct Layer {
    int64_t num_experts = 0, top_k = 0;
    std::vector<int32_t> ids;
  };
  std::vector<Layer> layers_;
  std::span<const int32_t> targets_;
};

Evaluator::Evaluator(const TrainConfig& config, const TrainData& data) : config_(config), data_(data) {
  std::vector<int32_t> ids(static_cast<size_t>(config.train.seq_len)), targets(ids.size());
  for (int64_t domain = 0; domain < data.num_domains(); ++domain) {
    for (int64_t index = 0; index < num_windows(config, data, domain); ++index) {
      int64_t bytes = 0;
      data.valid_window(domain, index, config.train.eval_sequences, ids.data(), targets.data(), &bytes);
      for (size_t i = 0; i < ids.size(); ++i) {
        if (targets[i] < 0) continue;
        ids_.push_back(ids[i]);
        domains_.push_back(static_cast<int32_t>(domain));
      }
    }
  }
}

void Evaluator::run_windows(TrainModel& model, EvalReport& report, Choices& choices) const {
  const int64_t length = config_.train.seq_len, most = config_.train.batch_size;
  std::vector<int32_t> tokens(static_cast<size_t>(most * length)), targets(tokens.size());
  std::vector<MoeStats> stats(static_cast<size_t>(config_.spec.num_layers));
  for (size_t layer = 0; layer < stats.size(); ++layer) stats[layer].reset(config_.spec.layers[layer].ffn.num_experts);
  TrainOptions options{.precision = config_.train.precision, .router = config_.router};
  // The model that is exported knows no capacity. Expert choice is nothing without one.
  if (options.router.choice != RouterChoice::expert) options.router.capacity_factor = 0;
  const auto per = [](double sum, int64_t count) { return count == 0 ? 0 : sum / static_cast<double>(count); };
  double all_nats = 0;
  int64_t all_tokens = 0, all_bytes = 0;
  for (int64_t domain = 0; domain < data_.num_domains(); ++domain) {
    double nats = 0;
    int64_t num_tokens = 0, num_bytes = 0;
    const int64_t windows = num_windows(config_, data_, domain);
    for (int64_t begin = 0; begin < windows; begin += most) {
      const int64_t batch = std::min(most, windows - begin);
      for (int64_t b = 0; b < batch; ++b) {
        int64_t bytes = 0;
        data_.valid_window(domain, begin + b, config_.train.eval_sequences, tokens.data() + b * length,
                           targets.data() + b * length, &bytes);
        num_bytes += bytes;
      }
      const auto rows = static_cast<size_t>(batch * length);
      choices.begin(std::span(targets).first(rows));
      const TrainResult result = model.evaluate({.batch = batch,
                                                 .length = length,
                                                 .tokens = std::span(tokens).first(rows),
                                                 .targets = std::span(targets).first(rows)},
                                                options, stats, nullptr, &choices);
      nats += result.loss_sum;
      num_tokens += result.num_targets;
    }
    report.domains.push_back({data_.domain_name(domain), per(nats, num_tokens), per(nats, num_bytes), num_tokens});
    all_nats += nats;
    all_tokens += num_tokens;
    all_bytes += num_bytes;
  }
  report.loss = per(all_nats, all_tokens);
  report.nats_per_byte = per(all_nats, all_bytes);
}

EvalReport::Layer Evaluator::measure(int64_t layer, const Routing& now, const int32_t* before) const {
  const int64_t experts = now.num_experts;
  Specialisation by_domain, by_id;
  CoActivationCounts together;
  by_domain.reset(data_.num_domains(), experts);
  by_domain.add(now, domains_.data());
  by_id.reset(config_.spec.vocab_size, experts);
  by_id.add(now, ids_.data());
  together.reset(experts);
  together.add(now);

  // Domains count as they do in training: validation takes as many windows of a rare one as of a common one.
  std::vector<double> load(static_cast<size_t>(experts));
  for (int64_t domain = 0; domain < data_.num_domains(); ++domain) {
    for (int64_t e = 0; e < experts; ++e) {
      load[static_cast<size_t>(e)] += data_.domain_share(domain) * by_domain.share(domain, e);
    }
  }
  const Balance balance = balance_of(load);
  EvalReport::Layer entry{.layer = layer, .max_vio = balance.max_vio, .entropy = balance.entropy, .dead = balance.dead};
  if (before != nullptr) {
    Routing earlier = now;
    earlier.topk_ids = const_cast<int32_t*>(before);  // only read
    RouterSaturation saturation;
    saturation.add(earlier, now);
    entry.saturation = saturation.mean();
  }
  entry.specialisation =
      table(data_.num_domains(), experts, [&](int64_t d, int64_t e) { return by_domain.share(d, e); });
  entry.co_activation = table(experts, experts, [&](int64_t i, int64_t j) { return together.share(i, j); });
  entry.vocabulary = vocabulary(by_id);
  return entry;
}

EvalReport Evaluator::evaluate(TrainModel& model, std::vector<int32_t>& ids) const {
  EvalReport report;
  Choices choices(config_.spec.num_layers);
  run_windows(model, report, choices);
  std::vector<int32_t> now = choices.joined();
  const bool comparable = ids.size() == now.size();
  int64_t begin = 0;
  for (size_t layer = 0; layer < config_.spec.layers.size(); ++layer) {
    const Routing routing = choices.of(layer, static_cast<int64_t>(ids_.size()));
    if (routing.num_tokens == 0) continue;
    report.layers.push_back(measure(static_cast<int64_t>(layer), routing, comparable ? ids.data() + begin : nullptr));
    begin += routing.num_tokens * routing.top_k;
  }
  for (const EvalReport::Layer& layer : report.layers) {
    report.max_vio += layer.max_vio / static_cast<double>(report.layers.size());
  }
  ids = std::move(now);
  return report;
}

}  // namespace moxie
