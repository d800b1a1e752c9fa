// Which values of a configuration do not go together. Not single ranges: those stand in config_fields.cpp.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "train/config_fields.h"
#include "train/run_tokenizer.h"

namespace moxie {
namespace {

const MoeSpec* first_routed(const ModelSpec& spec) {
  for (const LayerSpec& layer : spec.layers) {
    if (layer.ffn.routed) return &layer.ffn;
  }
  return nullptr;
}

ConfigProblem domain_problem(const DataConfig& data) {
  if (data.domains.empty()) return {"data.domains", "at least one [[data.domains]] with paths", "none", ""};
  if (data.domains.size() > 1024) {
    return {"data.domains", "at most 1024", fmt::format("{}", data.domains.size()), "Join files in the paths of one"};
  }
  std::set<std::string> names;
  size_t weighted = 0;
  for (const DataDomain& domain : data.domains) {
    if (!names.insert(domain.name).second) return {"data.domains", "names that differ", domain.name + " twice", ""};
    weighted += domain.weight > 0 ? 1 : 0;
  }
  if (weighted != 0 && weighted != data.domains.size()) {
    return {"data.domains", "a weight for every domain, or for none",
            fmt::format("weights for {} of {}", weighted, data.domains.size()),
            "Without weights the share follows size^data.weight_power"};
  }
  std::set<std::string> matched;
  for (const DataDomain& domain : data.valid) {
    if (!names.contains(domain.name)) return {"data.valid", "the name of a domain", domain.name, ""};
    if (!matched.insert(domain.name).second) return {"data.valid", "names that differ", domain.name + " twice", ""};
  }
  return {};
}

ConfigProblem loop_problem(const TrainConfig& config) {
  const LoopConfig& train = config.train;
  if (train.seq_len > config.spec.max_position) {
    return {"train.seq_len", fmt::format("at most model.max_position_embeddings ({})", config.spec.max_position),
            fmt::format("{}", train.seq_len), ""};
  }
  if (train.batch_size * train.seq_len > int64_t{1} << 28) {
    return {"train.batch_size", "at most 268435456 tokens in a micro batch",
            fmt::format("{} sequences of {}", train.batch_size, train.seq_len), "Use train.grad_accum"};
  }
  if (train.min_lr > train.lr) {
    return {"train.min_lr", fmt::format("at most train.lr ({})", train.lr), fmt::format("{}", train.min_lr), ""};
  }
  if (train.warmup > static_cast<double>(train.steps)) {
    return {"train.warmup", fmt::format("a share below 1, or at most train.steps ({})", train.steps),
            fmt::format("{}", train.warmup), ""};
  }
  return {};
}

ConfigProblem model_problem(const TrainConfig& config) {
  const ModelSpec& spec = config.spec;
  if (is_byte_level(config.data.tokenizer) && spec.vocab_size < 256) {
    return {"model.vocab_size", "at least 256: data.tokenizer is \"bytes\"", fmt::format("{}", spec.vocab_size), ""};
  }
  if (!spec.quant_method.empty()) {
    return {"model.quantization_config", "no such key: training holds every weight in f32", "", ""};
  }
  return {};
}

// A gate that is divided by itself is 1 whatever the router says (facts of top-1: Switch, arXiv 2101.03961).
ConfigProblem constant_gate(const TrainConfig& config, const MoeSpec& routed) {
  const bool constant = routed.norm_topk_prob || !routed.score_before_topk;
  if (config.router.choice != RouterChoice::token || routed.num_experts == 1 || routed.top_k != 1 || !constant)
    return {};
  const bool settable = routed.score_before_topk && config.spec.family != "mixtral";
  const std::string expected =
      "a gate that depends on the router: with top-1, a renormalised gate is always 1, and the task's loss never "
      "trains "
      "the router";
  if (settable)
    return {"model.norm_topk_prob", expected, "true", "Set norm_topk_prob = false, or num_experts_per_tok = 2"};
  return {"model.num_experts_per_tok", expected, fmt::format("1, and {} always renormalises", config.spec.family),
          "Take 2 or more, or a family with norm_topk_prob = false (qwen3_moe, olmoe)"};
}

// Rows are numbered in 32 bits (TokenPermutation). With expert choice a token has a place for every expert.
ConfigProblem row_problem(const TrainConfig& config, const MoeSpec& routed) {
  const int64_t choices = config.router.choice == RouterChoice::expert ? routed.num_experts : routed.top_k;
  const int64_t tokens = config.train.batch_size * config.train.seq_len;  // loop_problem has seen that it is small
  if (tokens <= INT32_MAX / choices) return {};
  return {"train.batch_size", fmt::format("at most {} choices of experts in a micro batch", INT32_MAX),
          fmt::format("{} sequences of {}, {} choices a token", config.train.batch_size, config.train.seq_len, choices),
          "Use train.grad_accum"};
}

ConfigProblem routing_problem(const TrainConfig& config, const MoeSpec& routed) {
  if (ConfigProblem problem = row_problem(config, routed); !problem.key.empty()) return problem;
  if (ConfigProblem problem = constant_gate(config, routed); !problem.key.empty()) return problem;
  const bool bias_rule = config.bias.rule != BiasRule::none;
  if (bias_rule && !routed.select_bias) {
    return {"balance.bias_rule", "a family whose routers have a selection bias: glm4_moe, deepseek_v3",
            fmt::format("model_type {}", config.spec.family), "Or balance by balance.coef"};
  }
  if (bias_rule && config.router.choice != RouterChoice::token) {
    return {"balance.bias_rule", "none: only tokens that choose experts need it", "", ""};
  }
  if (config.router.choice == RouterChoice::hash && (config.aux.coef > 0 || config.aux.z_coef > 0)) {
    return {config.aux.coef > 0 ? "balance.coef" : "balance.z_coef", "0: hash routing has no router to train", "", ""};
  }
  return {};
}

}  // namespace

ConfigProblem find_problem(TrainConfig& config) {
  for (const ConfigProblem& problem : {domain_problem(config.data), loop_problem(config), model_problem(config)}) {
    if (!problem.key.empty()) return problem;
  }
  const MoeSpec* routed = first_routed(config.spec);
  if (routed == nullptr) return {};
  if (ConfigProblem problem = routing_problem(config, *routed); !problem.key.empty()) return problem;
  if (config.router.choice == RouterChoice::expert) {
    config.spec.notices.push_back(
        "expert choice is not causal: an expert picks among all tokens of a batch, later ones too. Its training loss "
        "flatters; a model that generates cannot route so");
  }
  if (config.router.choice == RouterChoice::hash) {
    config.spec.notices.push_back(
        "hash routing is a control: no model directory holds its table, so that the exported model, which routes by a "
        "router that was never trained, is of no use");
  }
  return {};
}

}  // namespace moxie
