#include "moe/expert_units.h"

namespace moxie {

std::span<ExpertUnit> expert_units(Arena& arena, const MoeSpec& spec, const MoeWeights& weights, const MoeSaved& saved,
                                   int64_t num_tokens) {
  ExpertUnit* units = arena.alloc<ExpertUnit>(spec.num_experts + 1);
  size_t count = 0;
  const auto add = [&](const Expert& expert, const int32_t* tokens, int64_t num_rows, float* gate, float* up) {
    const int64_t first_block =
        count == 0 ? 0 : units[count - 1].first_block + (units[count - 1].num_rows + kUnitRows - 1) / kUnitRows;
    units[count++] = {.expert = &expert,
                      .tokens = tokens,
                      .num_rows = num_rows,
                      .width = expert.gate.shape[0],
                      .gate = gate,
                      .up = up,
                      .first_block = first_block};
  };
  if (spec.is_dense()) {
    add(weights.bank.experts[0], nullptr, num_tokens, saved.gate, saved.up);
    return {units, count};
  }
  const TokenPermutation& p = saved.permutation;
  for (int64_t e = 0; e < spec.num_experts; ++e) {
    const int64_t begin = p.expert_begin[e], end = p.expert_begin[e + 1];
    const Expert& expert = weights.bank.experts[static_cast<size_t>(e)];
    const int64_t at = begin * expert.gate.shape[0];
    add(expert, p.token_of + begin, end - begin, saved.gate + at, saved.up + at);
  }
  if (spec.shared != SharedExpert::none) {
    add(weights.shared, nullptr, num_tokens, saved.shared_gate, saved.shared_up);
  }
  return {units, count};
}

MoeSpec weighing_rule(const MoeSpec& spec, RouterChoice choice) {
  if (choice != RouterChoice::expert) return spec;
  return {.routed = true, .num_experts = spec.num_experts, .top_k = spec.num_experts};
}

}  // namespace moxie
