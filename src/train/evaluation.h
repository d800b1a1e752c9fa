// Validation of a model in training: loss by domain, and what its routing of the validation tokens looks like.
#pragma once

#include "moe/measures.h"
#include "train/data.h"

namespace moxie {

struct EvalReport {
  struct Domain {
    std::string name;
    double loss = 0, nats_per_byte = 0;  // nats per token, per byte of text
    int64_t tokens = 0;
  };
  struct Layer {
    int64_t layer = 0;
    double max_vio = 0, entropy = 0;
    int64_t dead = 0;
    std::optional<double> saturation;                 // against the evaluation before; empty at the first
    std::vector<std::vector<double>> specialisation;  // [domain][expert] share of the domain's tokens that visit it
    std::vector<std::vector<double>> co_activation;   // [i][j] share of i's tokens that visit j, too
    double vocabulary = 0;                            // mean over token ids of the largest share of an expert
  };
  double loss = 0, nats_per_byte = 0;  // over all tokens, over all bytes
  double max_vio = 0;  // mean over layers, of the load over all validation tokens, domains weighted as in training
  std::vector<Domain> domains;
  std::vector<Layer> layers;  // routed ones
};

/// Evaluates on windows fixed by configuration and data. Routing is as in inference.
class Evaluator {
 public:
  /// Both must outlive it. Memory: 8 bytes a validation token.
  Evaluator(const TrainConfig& config, const TrainData& data);

  /// Whether there are no validation tokens at all.
  bool empty() const { return ids_.empty(); }

  /// `ids`: the experts that every token took at the evaluation before (layer after layer, [N, K] each; empty: there
  /// was none), left as those of this one. Cost: a forward pass over the validation windows.
  EvalReport evaluate(TrainModel& model, std::vector<int32_t>& ids) const;

 private:
  class Choices;
  void run_windows(TrainModel& model, EvalReport& report, Choices& choices) const;
  EvalReport::Layer measure(int64_t layer, const Routing& now, const int32_t* before) const;

  const TrainConfig& config_;
  const TrainData& data_;
  std::vector<int32_t> ids_, domains_;  // [N] of each token that is followed by another
};

}  // namespace moxie
