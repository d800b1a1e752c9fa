#include "train/model_defaults.h"

#include <algorithm>
#include <optional>

#include "train/run_tokenizer.h"

namespace moxie {
namespace {

constexpr struct {
  std::string_view model_type, architecture;
} kArchitectures[] = {{"deepseek_v2", "DeepseekV2ForCausalLM"},
                      {"deepseek_v3", "DeepseekV3ForCausalLM"},
                      {"glm4_moe", "Glm4MoeForCausalLM"},
                      {"gpt_oss", "GptOssForCausalLM"},
                      {"granitemoe", "GraniteMoeForCausalLM"},
                      {"llama", "LlamaForCausalLM"},
                      {"mistral", "MistralForCausalLM"},
                      {"mixtral", "MixtralForCausalLM"},
                      {"olmoe", "OlmoeForCausalLM"},
                      {"phimoe", "PhimoeForCausalLM"},
                      {"qwen2", "Qwen2ForCausalLM"},
                      {"qwen2_moe", "Qwen2MoeForCausalLM"},
                      {"qwen3", "Qwen3ForCausalLM"},
                      {"qwen3_moe", "Qwen3MoeForCausalLM"}};

json::Value id_or_null(std::optional<int32_t> id) {
  return id ? json::Value(static_cast<int64_t>(*id)) : json::Value();
}

void add_absent(TrainConfig& config) {
  json::Value& model = config.model;
  const auto absent = [&](std::string_view key) { return model.find(key) == nullptr; };
  if (absent("vocab_size") || absent("bos_token_id") || absent("eos_token_id")) {
    std::optional<Tokenizer> tokenizer;
    if (!is_byte_level(config.data.tokenizer)) tokenizer = open_tokenizer(config.data.tokenizer);
    if (absent("vocab_size")) model.set("vocab_size", int64_t{tokenizer ? tokenizer->vocab_size() : 256});
    // Null, or a reader of the exported config would take its family's default ids for the end of a text.
    if (absent("bos_token_id")) model.set("bos_token_id", id_or_null(tokenizer ? tokenizer->bos() : std::nullopt));
    if (absent("eos_token_id")) model.set("eos_token_id", id_or_null(tokenizer ? tokenizer->eos() : std::nullopt));
  }
  if (absent("max_position_embeddings")) model.set("max_position_embeddings", config.train.seq_len);
  const json::Value* model_type = model.find("model_type");
  if (absent("architectures") && model_type != nullptr && model_type->is_string()) {
    const auto known = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                    [&](const auto& each) { return each.model_type == model_type->as_string(); });
    if (known != std::end(kArchitectures)) model.set("architectures", json::Array{known->architecture});
  }
}

}  // namespace

void add_model_defaults(TrainConfig& config) {
  add_absent(config);
  json::Object members = config.model.members();
  std::sort(members.begin(), members.end(),
            [](const json::Member& left, const json::Member& right) { return left.key < right.key; });
  config.model = std::move(members);
}

}  // namespace moxie
