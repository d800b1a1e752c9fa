// How a router is trained: choice, noise, capacity, and the losses that keep experts busy. Data only.
#pragma once

#include <cstdint>

namespace moxie {

enum class RouterChoice {
  token,   // each token takes its top-k experts: the router record's rule
  expert,  // each expert takes its top tokens of the sequence batch (Zhou et al., arXiv 2202.09368): NOT causal
  hash,    // a fixed table from token id to experts (Roller et al., arXiv 2106.04426): the control without a router
};
enum class RouterNoise {
  none,
  jitter,    // router input times uniform(1 - eps, 1 + eps) (Switch, arXiv 2101.03961)
  gaussian,  // logits + normal * softplus(x W_noise), W_noise learned (Shazeer et al., arXiv 1701.06538)
};
enum class Overflow { drop, next_choice, least_loaded };
enum class Priority { position, score };  // who is served first when an expert is full

struct RouterTraining {
  RouterChoice choice = RouterChoice::token;
  RouterNoise noise = RouterNoise::none;
  float jitter = 0.01f;        // eps of RouterNoise::jitter
  double capacity_factor = 0;  // rows of an expert at most ceil(T * K / E * factor); 0: dropless. expert choice: its c
  Overflow overflow = Overflow::drop;
  Priority priority = Priority::position;
};

/// The load-balance loss, named after who uses it. f_i: share of expert i; P_i: its mean router probability (softmax,
/// or sigmoid scores over their sum). Values are at perfect balance. facts: Switch arXiv 2101.03961, DeepSeek-V3
/// 2412.19437, MegaBlocks 2211.15841, transformers' load_balancing_loss_func.
enum class AuxForm {
  none,
  switch_top1,   // E * sum f_i P_i, f of the first choice only; summed over layers: L
  deepseek,      // sum f_i P_i, f_i = E / (K T) * count without the selection bias; summed over layers: L
  megablocks,    // E * sum f_i P_i, f_i = count / (K T); mean over layers: 1 (our default)
  transformers,  // E * sum f_i P_i, f_i = count / T; all layers joined before averaging: K
};
enum class AuxScope {
  sequence,
  micro_batch,
  global_batch
};  // whose tokens f and P are taken over (P: at most a micro batch)

struct AuxLoss {
  AuxForm form = AuxForm::megablocks;
  AuxScope scope = AuxScope::micro_batch;
  float coef = 0;
  float z_coef = 0;  // of mean over tokens of logsumexp(logits)^2, mean over layers (ST-MoE, arXiv 2202.08906)
};

/// Aux-loss-free balance: the selection bias moves after each step by the load of the whole batch (arXiv 2408.15664).
enum class BiasRule { none, sign, proportional };
enum class BiasSchedule {
  constant,
  lr,  // the rate falls as the learning rate does after its warm-up: a router that settles needs small steps
};
struct BiasUpdate {
  BiasRule rule = BiasRule::none;
  BiasSchedule schedule = BiasSchedule::constant;
  float rate = 1e-3f;  // b_i += rate * sign(mean - c_i), or rate * (mean - c_i) / mean
};

}  // namespace moxie
