#include "report/router_facts.h"

#include <fmt/format.h>

namespace moxie {
namespace {

std::string_view score_name(Score score) {
  switch (score) {
    case Score::softmax:
      return "softmax";
    case Score::sigmoid:
      return "sigmoid";
    case Score::sqrt_softplus:
      return "sqrt of softplus";
    case Score::raw:
      return "raw logits";
    case Score::sparsemixer:
      return "sparsemixer";
  }
  return "";
}

}  // namespace

std::vector<std::pair<std::string, std::string>> router_facts(const MoeSpec& moe) {
  std::vector<std::pair<std::string, std::string>> facts;
  facts.emplace_back("experts", std::to_string(moe.num_experts));
  facts.emplace_back("top-k", std::to_string(moe.top_k));
  facts.emplace_back("score",
                     fmt::format("{}{}", score_name(moe.score), moe.score_before_topk ? "" : " of the chosen"));
  if (moe.norm_topk_prob) facts.emplace_back("weights", "renormalised");
  if (moe.routed_scaling_factor != 1) facts.emplace_back("scaled by", fmt::format("{}", moe.routed_scaling_factor));
  if (moe.select_bias) facts.emplace_back("chosen with", "a bias per expert");
  if (moe.groups != GroupScore::none) {
    facts.emplace_back("groups", fmt::format("{} of {}, by {}", moe.topk_groups, moe.num_expert_groups,
                                             moe.groups == GroupScore::max ? "their best" : "their best two"));
  }
  if (moe.shared != SharedExpert::none) {
    facts.emplace_back("shared expert", fmt::format("width {}{}", moe.shared_intermediate_size,
                                                    moe.shared == SharedExpert::sigmoid_gated ? ", gated" : ""));
  }
  facts.emplace_back("expert width", std::to_string(moe.moe_intermediate_size));
  return facts;
}

}  // namespace moxie
