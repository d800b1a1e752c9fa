// The router of DeepSeek-V3, which GLM-4.5 shares: sigmoid scores, a bias that only chooses, groups by their two best.
#pragma once

#include "spec/config_reader.h"
#include "spec/model_spec.h"

namespace moxie {

struct SigmoidRouterDefaults {
  double routed_scaling_factor;
  int64_t groups;
  int64_t topk_groups;
};

/// The routed block of arXiv 2412.19437 with its ungated shared expert.
MoeSpec read_sigmoid_router(const ConfigReader& config, const SigmoidRouterDefaults& defaults);

/// n_group and topk_group into `ffn`: groups that divide the experts and hold enough of them. Choosing all groups is no
/// restriction, and is recorded as none.
void read_groups(const ConfigReader& config, const SigmoidRouterDefaults& defaults, GroupScore score, MoeSpec& ffn);

/// n_shared_experts experts of moe_intermediate_size as the one block they are stored as.
void read_shared_experts(const ConfigReader& config, int64_t default_count, MoeSpec& ffn);

}  // namespace moxie
