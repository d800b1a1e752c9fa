// The configuration of a training run: TOML, then `--section.key=value` overrides, resolved once and written back. The
// [model] table is a Hugging Face config.json in TOML: any family that the engine runs can be trained.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "model/train_model.h"

namespace moxie {

/// One source of text: a file or several, sampled together.
struct DataDomain {
  std::string name;
  std::vector<std::string> paths;  // text (.txt or any), .jsonl (member `field`), .bin (u16) or .u32 (token ids)
  std::string field = "text";
  double weight = 0;  // share of the samples; 0 for all: by size^data.weight_power
};

struct DataConfig {
  std::vector<DataDomain> domains;
  double weight_power = 1;          // weights not given are size^power
  double valid_fraction = 0.05;     // the end of each domain is kept for validation
  std::vector<DataDomain> valid;    // validation files of their own (matched by name); then valid_fraction is not used
  std::string tokenizer = "bytes";  // "bytes", or a tokenizer.json / model directory
};

enum class Schedule { constant, cosine, linear, wsd };

struct LoopConfig {
  int64_t steps = 1000;
  int64_t batch_size = 16;  // sequences of a micro batch
  int64_t seq_len = 256;
  int64_t grad_accum = 1;        // micro batches of a step
  double lr = 1e-3, min_lr = 0;  // min_lr: where the schedule ends
  double warmup = 0.02;          // below 1: share of the steps; else steps
  double decay = 0.2;            // wsd: share of the steps that decays, linearly
  Schedule schedule = Schedule::cosine;
  double weight_decay = 0.1, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, clip = 1.0;  // clip 0: none
  double dropout = 0;
  double init_std = 0.02;
  Precision precision = Precision::f32;
  uint64_t seed = 1;
  int threads = 0;               // 0: all this process may use
  int64_t eval_every = 0;        // 0: ten times a run; negative: only at the end
  int64_t eval_sequences = 64;   // of each domain; 0: all validation text, windows without overlap
  int64_t log_every = 10;        // metrics and the routing of a step; the progress line keeps its own time
  int64_t checkpoint_every = 0;  // 0: as eval_every
  int64_t keep_last = 2;
  bool keep_best = true;
  int64_t max_bad_steps = 10;   // steps in a row with a loss or gradient that is not finite before the run stops
  std::string init_from;        // model directory to start from (fine-tuning, upcycling); its config must equal [model]
  std::string weights = "f32";  // format of the exported model at the end: "f32" or "bf16"
  std::string out;              // run directory
};

struct TrainConfig {
  json::Value model;  // the config.json, resolved; parse_config(model.dump()) gives the spec
  ModelSpec spec;
  DataConfig data;
  LoopConfig train;
  RouterTraining router;  // [router] choice, noise, jitter, capacity_factor, overflow, priority
  AuxLoss aux;            // [balance] form, scope, coef, z_coef
  BiasUpdate bias;        // [balance] bias_rule, bias_rate, bias_schedule
};

/// Reads FILE and applies overrides ("train.steps=2000", "model.num_experts=32"; a bare word is a string, data.domains
/// cannot be overridden). Paths in the file are relative to it. Throws Error{invalid} naming file, line, key, expected
/// and got (unknown keys too, with the nearest known one), Error{usage} for a malformed override.
TrainConfig load_train_config(const std::filesystem::path& file, std::span<const std::string> overrides);

/// The same of a text that stands in `file`, which is not opened; the tokenizer that it names is.
TrainConfig parse_train_config(std::string_view text, const std::filesystem::path& file,
                               std::span<const std::string> overrides);

/// The resolved configuration as TOML that load_train_config reads back to the same: absolute paths, every key.
std::string to_toml(const TrainConfig& config);

/// The dense model of equal active parameters: every routed block becomes one expert as wide as the top_k routed and
/// the shared ones together; all else (data, order, steps, seed) stays, without router, balance and init_from, and
/// `out` gets "-dense" behind it. In the dense sibling of the family where there is one (qwen3_moe -> qwen3, qwen2_moe
/// -> qwen2, mixtral -> mistral, the dense layers of deepseek and glm4_moe), else one expert in the family itself,
/// whose gate is 1. Throws Error{invalid} for a model that is dense already, and for phimoe, whose router needs two
/// experts.
TrainConfig dense_twin(const TrainConfig& config);

/// Parameters of a model and its twin; active: what one token passes through, all embeddings counted.
struct TwinSizes {
  int64_t total = 0, active = 0;
  int64_t dense_total = 0, dense_active = 0;

  /// "MoE 7,534,528 parameters, 1,930,048 active; dense twin 1,917,760, all active (0.994 of the MoE's)"
  std::string text() const;
};
TwinSizes twin_sizes(const ModelSpec& model, const ModelSpec& twin);

/// Learning rate of step 1, 2, ... (the first step is 1).
double learning_rate(const LoopConfig& config, int64_t step);

/// The learning rate over its peak, 1 during the warm-up.
double rate_decay(const LoopConfig& config, int64_t step);

}  // namespace moxie
