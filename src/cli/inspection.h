// What inspect found out about a model, before it is printed as text or as JSON.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "plan/accounting.h"
#include "spec/model_spec.h"
#include "train/config.h"

namespace moxie::cli {

// Consecutive layers with the same feed-forward block.
struct LayerRun {
  int64_t first, last;
  MoeSpec ffn;
};

struct WeightFiles {
  int64_t bytes = 0;
  int64_t tensors = 0;
  int64_t packed_bytes = 0;  // of tensors whose rows are packed (.moxie)
  std::map<std::string, int64_t> bytes_by_format;
};

struct Inspection {
  std::string model;
  ModelSpec spec;
  std::vector<LayerRun> runs;
  PartCounts parameters, active, bytes;
  PartFormats formats;
  int64_t context;
  FormatId kv_format;
  DecodeStep decode;
  double bandwidth;
  std::string bandwidth_source;
  std::optional<WeightFiles> files;
  std::optional<TrainConfig> training;  // when a training run's TOML is inspected
};

/// The object of `inspect --json`; docs/inspect.md tells its keys.
json::Value to_json(const Inspection& inspection);

}  // namespace moxie::cli
