#include "spec/families/families.h"

namespace moxie {

std::span<const Family> families() {
  static constexpr Family table[] = {
      {"deepseek_v2", read_deepseek_v2},
      {"deepseek_v3", read_deepseek_v3},
      {"glm4_moe", read_glm4_moe},
      {"gpt_oss", read_gpt_oss},
      {"granitemoe", read_granitemoe},
      {"kimi_k2", read_deepseek_v3},
      {"llama", read_llama},
      {"mistral", read_mistral},
      {"mixtral", read_mixtral},
      {"olmoe", read_olmoe},
      {"phimoe", read_phimoe},
      {"qwen2", read_qwen2},
      {"qwen2_moe", read_qwen2_moe},
      {"qwen3", read_qwen3},
      {"qwen3_moe", read_qwen3_moe},
  };
  return table;
}

}  // namespace moxie
