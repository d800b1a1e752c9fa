// The losses of a router: load balance in four forms and three scopes, and z-loss; value and gradient on the logits.
#pragma once

#include "moe/routing.h"
#include "moe/train_options.h"

namespace moxie {

/// What one layer adds to the balance loss of a step, before the coefficients.
struct RouterLosses {
  double aux = 0;
  double z = 0;
};

/// Everything the losses of one layer need.
struct RouterLossInput {
  const float* logits = nullptr;  // [T, E] as they were scored
  Routing routing;                // as chosen, before capacity; a choice with id -1 does not count
  const int64_t* counts =
      nullptr;  // [E] null: counted from routing; else assignments demanded of each expert (before capacity): the
                // scope's counts for micro_batch and global_batch; for `transformers` joined over all layers
  double count_tokens = 0;      // tokens that `counts` covers (for joined counts: tokens * layers)
  int64_t sequence_length = 0;  // S: rows of one sequence, for AuxScope::sequence
  int64_t num_moe_layers = 1;
};

/// Values of one layer's losses; d_logits [T, E] += the gradient of coef * aux + z_coef * z (null: values only), each
/// scaled by `scale` (1 / number of micro batches). The step's losses are the sums over layers: the mean over layers,
/// where a form has one, is inside. f is taken as constant, only P is differentiated.
RouterLosses router_losses(Exec& exec, const MoeSpec& spec, const AuxLoss& options, const RouterLossInput& input,
                           float scale, float* d_logits);

/// d_logits [T, E] += gradient through score, renormalisation and scale of d_weights [T, K] (choices with id -1 are
/// skipped). Logits as scored. Every Score of the router record, sparsemixer included.
void router_backward(Exec& exec, const MoeSpec& spec, const float* logits, const Routing& routing,
                     const float* d_weights, float* d_logits);

/// b_i += rule of counts [E], the assignments of the whole batch of the step that ended.
void update_selection_bias(const BiasUpdate& update, const int64_t* counts, int64_t num_experts, float* bias);

}  // namespace moxie
