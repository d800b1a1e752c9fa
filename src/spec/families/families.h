// The table of families: a model_type and the function that reads its config.json into a ModelSpec. A new family is one
// file here and one row in families.cpp.
#pragma once

#include <span>
#include <string_view>

#include "spec/config_reader.h"
#include "spec/model_spec.h"

namespace moxie {

struct Family {
  std::string_view model_type;
  ModelSpec (*read)(const ConfigReader& config);
  std::string_view architecture;  // what a config.json calls transformers' class of it
};

/// Every family, sorted by model_type.
std::span<const Family> families();

ModelSpec read_deepseek_v2(const ConfigReader& config);
ModelSpec read_deepseek_v3(const ConfigReader& config);
ModelSpec read_glm4_moe(const ConfigReader& config);
ModelSpec read_gpt_oss(const ConfigReader& config);
ModelSpec read_granitemoe(const ConfigReader& config);
ModelSpec read_llama(const ConfigReader& config);
ModelSpec read_mistral(const ConfigReader& config);
ModelSpec read_mixtral(const ConfigReader& config);
ModelSpec read_olmoe(const ConfigReader& config);
ModelSpec read_phimoe(const ConfigReader& config);
ModelSpec read_qwen2(const ConfigReader& config);
ModelSpec read_qwen2_moe(const ConfigReader& config);
ModelSpec read_qwen3(const ConfigReader& config);
ModelSpec read_qwen3_moe(const ConfigReader& config);

}  // namespace moxie
