// Upcycling: a dense checkpoint becomes a Mixture-of-Experts one that computes the same function (Komatsuzaki et al.,
// arXiv 2212.05055). No training: a checkpoint goes in, another comes out.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "train/upcycle_config.h"

namespace moxie {

struct UpcycleOptions {
  UpcycleConfig shape;
  double noise = 0;  // added to each expert: normal, standard deviation as a share of its tensor's
  uint64_t seed = 1;
  int64_t shard_bytes = int64_t{4} << 30;  // most bytes of one file of weights (a larger tensor has its own)
};

struct UpcycleResult {
  std::string family;
  int64_t moe_layers = 0;
  int64_t dense_parameters = 0, total_parameters = 0, active_parameters = 0;
  int64_t bytes = 0;  // of all tensors
  int64_t files = 0;  // of weights
  std::vector<std::string> notices;
};

/// Writes `out`: config.json, weights, and the tokenizer and generation files of `dense` as they are. Each expert is a
/// copy of its layer's feed-forward block, routers are normal(0, 0.02); gates sum to 1, so that without noise the
/// logits are the dense ones up to rounding. Where the family demands a shared expert, it starts with a zero output.
/// `out` appears whole or not at all. Weights go from the mapped file to the disk, new values are made on the way:
/// none are held. `progress` gets the share written.
/// Throws Error{usage} as upcycled_config does and if `out` exists, Error{invalid} as upcycled_config and Model::load
/// do, Error{does_not_fit} if the disk has too little room, Error{runtime} if it fails.
UpcycleResult upcycle(const std::filesystem::path& dense, const std::filesystem::path& out,
                      const UpcycleOptions& options, const std::function<void(double)>& progress);

}  // namespace moxie
