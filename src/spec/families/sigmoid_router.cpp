#include "spec/families/sigmoid_router.h"

#include <fmt/format.h>

#include "spec/families/parts.h"

namespace moxie {

void read_groups(const ConfigReader& config, const SigmoidRouterDefaults& defaults, GroupScore score, MoeSpec& ffn) {
  ffn.num_expert_groups = config.integer("n_group", {1, ffn.num_experts}, defaults.groups);
  ffn.topk_groups = config.integer("topk_group", {1, ffn.num_expert_groups}, defaults.topk_groups);
  const int64_t group_size = ffn.num_experts / ffn.num_expert_groups;
  const int64_t judged_by = score == GroupScore::top2_sum && ffn.num_expert_groups > 1 ? 2 : 1;
  if (ffn.num_experts % ffn.num_expert_groups != 0 || group_size < judged_by) {
    config.fail("n_group",
                fmt::format("groups that divide {} experts, with {} or more in each", ffn.num_experts, judged_by),
                fmt::format("{}", ffn.num_expert_groups));
  }
  if (ffn.topk_groups > ffn.num_expert_groups || ffn.top_k > ffn.topk_groups * group_size) {
    config.fail("topk_group", fmt::format("groups that hold {} experts", ffn.top_k),
                fmt::format("{} of {} groups of {}", ffn.topk_groups, ffn.num_expert_groups, group_size));
  }
  ffn.groups = ffn.topk_groups < ffn.num_expert_groups ? score : GroupScore::none;
}

void read_shared_experts(const ConfigReader& config, int64_t default_count, MoeSpec& ffn) {
  const int64_t fallback = config.has_null("n_shared_experts") ? 0 : default_count;
  const int64_t count = config.integer("n_shared_experts", {0, 1024}, fallback);
  if (count == 0) return;
  ffn.shared = SharedExpert::plain;
  ffn.shared_intermediate_size = count * ffn.moe_intermediate_size;
}

MoeSpec read_sigmoid_router(const ConfigReader& config, const SigmoidRouterDefaults& defaults) {
  MoeSpec ffn = parts::read_routed_ffn(config, "moe_intermediate_size");
  config.choice("scoring_func", {"sigmoid"}, "sigmoid");
  config.choice("topk_method", {"noaux_tc"}, "noaux_tc");
  ffn.score = Score::sigmoid;
  ffn.select_bias = true;
  ffn.norm_topk_prob = config.boolean("norm_topk_prob", true);
  ffn.norm_topk_eps = 1e-20;
  ffn.routed_scaling_factor = config.number("routed_scaling_factor", parts::kFactor, defaults.routed_scaling_factor);
  read_groups(config, defaults, GroupScore::top2_sum, ffn);
  read_shared_experts(config, 1, ffn);
  return ffn;
}

}  // namespace moxie
