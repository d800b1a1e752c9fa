#include "moe/losses.h"

#include <algorithm>
#include <cmath>

namespace moxie {
namespace {

// The tokens that one f and one P are taken over.
struct Group {
  int64_t begin, end;
  const double* pull;  // [E] what the loss multiplies P by: E or 1 times f, over the number of layers
};

// The probability each expert has in P of one token: softmax, or scores over their sum for the scores that stand on
// their own. p [E]; `slope` [E] is d score / d logit for those. Returns logsumexp of the logits.
double probabilities(Score score, const float* logits, int64_t n, double* p, double* slope, double* score_sum) {
  const double max = *std::max_element(logits, logits + n);
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += p[i] = std::exp(logits[i] - max);
  const double log_sum = max + std::log(total);
  if (score == Score::sigmoid || score == Score::sqrt_softplus) {
    total = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double x = logits[i], s = 1 / (1 + std::exp(-x));
      const double root = std::sqrt(std::log1p(std::exp(-std::fabs(x))) + std::max(x, 0.0));
      p[i] = score == Score::sigmoid ? s : root;
      slope[i] = score == Score::sigmoid ? s * (1 - s) : root > 0 ? s / (2 * root) : 0;
      total += p[i];
    }
  }
  for (int64_t i = 0; i < n && total != 0; ++i) p[i] /= total;
  *score_sum = total;
  return log_sum;
}

// One token: <pull, p>, and d_logits += aux_factor * its gradient + z_factor * d lse^2.
struct TokenLoss {
  double aux, z;
};
TokenLoss token_loss(Score score, const float* logits, const double* pull, int64_t n, double aux_factor,
                     double z_factor, double* scratch, float* d_logits) {
  double *p = scratch, *slope = scratch + n, score_sum = 0;
  const double log_sum = probabilities(score, logits, n, p, slope, &score_sum);
  double mean_pull = 0;
  for (int64_t i = 0; i < n; ++i) mean_pull += pull[i] * p[i];
  if (d_logits == nullptr) return {mean_pull, log_sum * log_sum};
  const bool is_softmax = score != Score::sigmoid && score != Score::sqrt_softplus;
  for (int64_t i = 0; i < n; ++i) {
    double d = aux_factor * (pull[i] - mean_pull) * (is_softmax ? p[i] : score_sum > 0 ? slope[i] / score_sum : 0);
    if (z_factor != 0) d += z_factor * 2 * log_sum * std::exp(logits[i] - log_sum);
    d_logits[i] = static_cast<float>(d_logits[i] + d);
  }
  return {mean_pull, log_sum * log_sum};
}

// Whose choices f counts: those of the routing. DeepSeek's form lifts a selection bias, and with it the groups: it then
// counts the best scores; without a bias it counts the routing as it is, groups included.
Routing counted_routing(Exec& exec, const MoeSpec& spec, const AuxLoss& options, const RouterLossInput& input) {
  if (options.form != AuxForm::deepseek || !spec.select_bias) return input.routing;
  MoeSpec plain = spec;
  plain.select_bias = false;
  plain.groups = GroupScore::none;
  return route(exec, plain, input.logits, input.routing.num_tokens, nullptr);
}

// What one assignment is worth in `pull`.
double worth(const AuxLoss& options, const MoeSpec& spec, double tokens, int64_t choices, int64_t num_moe_layers) {
  const auto experts = static_cast<double>(spec.num_experts), layers = static_cast<double>(num_moe_layers);
  if (tokens <= 0) return 0;
  switch (options.form) {
    case AuxForm::none:
      return 0;
    case AuxForm::switch_top1:
    case AuxForm::deepseek:
      return experts / (static_cast<double>(choices) * tokens);
    case AuxForm::megablocks:
      return experts / (static_cast<double>(choices) * tokens * layers);
    case AuxForm::transformers:
      return experts / (tokens * layers);
  }
  return 0;
}

// pull [E] of the tokens [begin, end).
void count_pull(const AuxLoss& options, const MoeSpec& spec, const Routing& routing, int64_t begin, int64_t end,
                int64_t num_moe_layers, double* pull) {
  const int64_t choices = options.form == AuxForm::switch_top1 ? 1 : routing.top_k;
  std::fill_n(pull, spec.num_experts, 0.0);
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t k = 0; k < choices; ++k) {
      if (const int32_t id = routing.topk_ids[t * routing.top_k + k]; id >= 0) pull[id] += 1;
    }
  }
  const double each = worth(options, spec, static_cast<double>(end - begin), choices, num_moe_layers);
  for (int64_t i = 0; i < spec.num_experts; ++i) pull[i] *= each;
}

std::span<Group> groups(Exec& exec, const MoeSpec& spec, const AuxLoss& options, const RouterLossInput& input) {
  const int64_t num_tokens = input.routing.num_tokens, num_experts = spec.num_experts;
  const bool by_sequence = options.scope == AuxScope::sequence && input.sequence_length > 0;
  const int64_t length = by_sequence ? input.sequence_length : num_tokens;
  const int64_t count = (num_tokens + length - 1) / length;
  std::span<Group> result(exec.arena.alloc<Group>(count), static_cast<size_t>(count));
  double* pulls = exec.arena.alloc<double>(count * num_experts);
  // first choices, and choices without bias, are counted here: the caller's counts are of all choices as made
  const bool own_counts = options.form == AuxForm::switch_top1 && input.routing.top_k > 1;
  const bool unbiased = options.form == AuxForm::deepseek && spec.select_bias;
  const bool joined = !by_sequence && input.counts != nullptr &&
                      (options.scope == AuxScope::global_batch || (!own_counts && !unbiased));
  const Routing routing = joined ? input.routing : counted_routing(exec, spec, options, input);
  for (int64_t g = 0; g < count; ++g) {
    double* pull = pulls + g * num_experts;
    const int64_t begin = g * length, end = std::min(begin + length, num_tokens);
    result[static_cast<size_t>(g)] = {begin, end, pull};
    if (!joined) {
      count_pull(options, spec, routing, begin, end, input.num_moe_layers, pull);
      continue;
    }
    const double each = worth(options, spec, input.count_tokens, routing.top_k, input.num_moe_layers);
    for (int64_t i = 0; i < num_experts; ++i) pull[i] = each * static_cast<double>(input.counts[i]);
  }
  return result;
}

}  // namespace

RouterLosses router_losses(Exec& exec, const MoeSpec& spec, const AuxLoss& options, const RouterLossInput& input,
                           float scale, float* d_logits) {
  const int64_t num_tokens = input.routing.num_tokens, num_experts = spec.num_experts;
  if (num_tokens == 0) return {};
  Arena::Scope scope(exec.arena);
  const std::span<Group> all = groups(exec, spec, options, input);
  const double share = 1 / static_cast<double>(all.size());
  const double z_share = 1 / (static_cast<double>(num_tokens) * static_cast<double>(input.num_moe_layers));
  TokenLoss* losses = exec.arena.alloc<TokenLoss>(num_tokens);
  const int64_t scratch_size = 2 * num_experts + 8;  // 8: workers apart by a cache line
  double* scratch = exec.arena.alloc<double>(scratch_size * exec.pool.size());
  const int64_t length = all[0].end - all[0].begin;
  for_rows(exec, num_tokens, [&](int64_t t, int worker) {
    const Group& group = all[static_cast<size_t>(t / length)];
    const double aux_factor =
        static_cast<double>(options.coef) * scale * share / static_cast<double>(group.end - group.begin);
    losses[t] = token_loss(spec.score, input.logits + t * num_experts, group.pull, num_experts, aux_factor,
                           static_cast<double>(options.z_coef) * scale * z_share, scratch + worker * scratch_size,
                           d_logits == nullptr ? nullptr : d_logits + t * num_experts);
  });
  RouterLosses sum;
  for (const Group& group : all) {
    double of_group = 0;
    for (int64_t t = group.begin; t < group.end; ++t) of_group += losses[t].aux;
    sum.aux += share * of_group / static_cast<double>(group.end - group.begin);
  }
  for (int64_t t = 0; t < num_tokens; ++t) sum.z += z_share * losses[t].z;
  return sum;
}

void update_selection_bias(const BiasUpdate& update, const int64_t* counts, int64_t num_experts, float* bias) {
  double mean = 0;
  for (int64_t i = 0; i < num_experts; ++i) mean += static_cast<double>(counts[i]) / static_cast<double>(num_experts);
  if (update.rule == BiasRule::none || mean == 0) return;
  for (int64_t i = 0; i < num_experts; ++i) {
    const double lack = mean - static_cast<double>(counts[i]);
    const double step =
        update.rule == BiasRule::proportional ? lack / mean : static_cast<double>((lack > 0) - (lack < 0));
    bias[i] = static_cast<float>(bias[i] + static_cast<double>(update.rate) * step);
  }
}

}  // namespace moxie
