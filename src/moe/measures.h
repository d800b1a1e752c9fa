// What a trained router has specialised in: measures that need more than one layer's loads of one run. Counts only;
// drawing them is report/'s work. Definitions: OLMoE (arXiv 2409.02060).
#pragma once

#include <vector>

#include "moe/routing.h"

namespace moxie {

/// Router saturation: how many of a token's experts are the same under two routers (an earlier checkpoint and a later
/// one), as a share of K. Two unrelated routers reach K / E.
struct RouterSaturation {
  int64_t num_tokens = 0;
  double sum = 0;  // of shares

  /// Adds the same tokens routed twice. CHECKs that T and K agree.
  void add(const Routing& earlier, const Routing& later);
  double mean() const { return num_tokens == 0 ? 0 : sum / static_cast<double>(num_tokens); }
};

/// Co-activation: how often two experts serve the same token.
struct CoActivationCounts {
  int64_t num_experts = 0;
  std::vector<int64_t> together;  // [E, E] N_ij; on the diagonal N_i

  void reset(int64_t experts);
  void add(const Routing& routing);
  /// N_ij / N_i: of the tokens of i, how many also visit j. Not symmetric; 0 if i has none.
  double share(int64_t i, int64_t j) const;
};

/// Specialisation: of the tokens of a class, how many visit an expert. Classes are domains of the text, or token ids
/// (of the input, or of the prediction). Chance is K / E.
struct Specialisation {
  int64_t num_experts = 0, num_classes = 0;
  std::vector<int64_t> tokens;  // [classes]
  std::vector<int64_t> visits;  // [classes, E]

  void reset(int64_t classes, int64_t experts);
  /// `classes` [T] of each token; -1: belongs to none. CHECKs the range.
  void add(const Routing& routing, const int32_t* classes);
  /// Visits over tokens of the class; 0 if it has none.
  double share(int64_t of_class, int64_t expert) const;
};

}  // namespace moxie
