#include "spec/families/families.h"

namespace moxie {

std::span<const Family> families() {
  static constexpr Family table[] = {
      {"deepseek_v2", read_deepseek_v2, "DeepseekV2ForCausalLM"},
      {"deepseek_v3", read_deepseek_v3, "DeepseekV3ForCausalLM"},
      {"glm4_moe", read_glm4_moe, "Glm4MoeForCausalLM"},
      {"gpt_oss", read_gpt_oss, "GptOssForCausalLM"},
      {"granitemoe", read_granitemoe, "GraniteMoeForCausalLM"},
      {"kimi_k2", read_deepseek_v3, "DeepseekV3ForCausalLM"},
      {"llama", read_llama, "LlamaForCausalLM"},
      {"mistral", read_mistral, "MistralForCausalLM"},
      {"mixtral", read_mixtral, "MixtralForCausalLM"},
      {"olmoe", read_olmoe, "OlmoeForCausalLM"},
      {"phimoe", read_phimoe, "PhimoeForCausalLM"},
      {"qwen2", read_qwen2, "Qwen2ForCausalLM"},
      {"qwen2_moe", read_qwen2_moe, "Qwen2MoeForCausalLM"},
      {"qwen3", read_qwen3, "Qwen3ForCausalLM"},
      {"qwen3_moe", read_qwen3_moe, "Qwen3MoeForCausalLM"},
  };
  return table;
}

}  // namespace moxie
