#include "spec/router_record.h"

#include "spec/names.h"

namespace moxie {

json::Value router_record(const MoeSpec& ffn) {
  json::Value out;
  out.set("num_experts", ffn.num_experts).set("top_k", ffn.top_k).set("score", name_of(ffn.score));
  out.set("moe_intermediate_size", ffn.moe_intermediate_size).set("activation", name_of(ffn.activation));
  if (!ffn.score_before_topk) out.set("score_before_topk", false);
  if (ffn.select_bias) out.set("select_bias", true);
  if (ffn.groups != GroupScore::none) {
    out.set("groups", name_of(ffn.groups)).set("num_expert_groups", ffn.num_expert_groups);
    out.set("topk_groups", ffn.topk_groups);
  }
  if (ffn.norm_topk_prob) out.set("norm_topk_prob", true);
  if (ffn.routed_scaling_factor != 1) out.set("routed_scaling_factor", ffn.routed_scaling_factor);
  if (ffn.router_bias) out.set("router_bias", true);
  if (ffn.shared != SharedExpert::none) {
    out.set("shared", name_of(ffn.shared)).set("shared_intermediate_size", ffn.shared_intermediate_size);
  }
  return out;
}

}  // namespace moxie
