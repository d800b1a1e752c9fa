#include "moe/capacity.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/rng.h"

namespace moxie {
namespace {

struct Served {
  int64_t capacity;
  int64_t* load;  // [E] rows given out so far
  bool has_room(int64_t expert) const { return load[expert] < capacity; }
};

// Another expert with room that the token does not use, or -1.
int64_t other_expert(Overflow overflow, const float* logits, const Routing& routing, const int32_t* ids,
                     const Served& served) {
  int64_t best = -1;
  if (overflow == Overflow::drop) return best;
  for (int64_t e = 0; e < routing.num_experts; ++e) {
    if (!served.has_room(e)) continue;
    if (best >= 0 &&
        (overflow == Overflow::next_choice ? logits[e] <= logits[best] : served.load[e] >= served.load[best])) {
      continue;
    }
    if (std::find(ids, ids + routing.top_k, static_cast<int32_t>(e)) == ids + routing.top_k) best = e;
  }
  return best;
}

// What to sort by: NaN, which has no order, comes last.
template <typename T>
T sortable(T score) {
  return std::isnan(score) ? -INFINITY : score;
}

// Log of the softmax probability of each choice: comparable between tokens.
void log_probabilities(const float* logits, const Routing& routing, double* result) {
  const int64_t num_experts = routing.num_experts;
  for (int64_t t = 0; t < routing.num_tokens; ++t) {
    const float* row = logits + t * num_experts;
    const double max = *std::max_element(row, row + num_experts);
    double total = 0;
    for (int64_t e = 0; e < num_experts; ++e) total += std::exp(row[e] - max);
    for (int64_t i = t * routing.top_k; i < (t + 1) * routing.top_k; ++i) {
      const int32_t id = routing.topk_ids[i];
      result[i] = id < 0 ? -INFINITY : sortable(row[id] - max - std::log(total));
    }
  }
}

// 0 .. n - 1 in random order (Fisher-Yates).
void shuffle(const Rng& rng, int64_t n, int32_t* deck) {
  std::iota(deck, deck + n, 0);
  for (int64_t i = n - 1; i > 0; --i) {
    std::swap(deck[i], deck[rng.below(static_cast<uint64_t>(i), static_cast<uint64_t>(i) + 1)]);
  }
}

int64_t rows_per_expert(double rows) {
  return static_cast<int64_t>(std::ceil(rows - 1e-6));  // 1e-6: 1.1 * 10 is 11 rows, not 12
}

}  // namespace

CapacityResult apply_capacity(const RouterTraining& options, const float* logits, Routing& routing, Arena& arena) {
  CapacityResult result;
  if (options.capacity_factor <= 0 || routing.num_tokens == 0) return result;
  const int64_t num_tokens = routing.num_tokens, num_experts = routing.num_experts, top_k = routing.top_k;
  result.capacity = std::min(num_tokens, rows_per_expert(static_cast<double>(num_tokens * top_k) *
                                                         options.capacity_factor / static_cast<double>(num_experts)));
  Arena::Scope scope(arena);
  const Served served{result.capacity, arena.alloc<int64_t>(num_experts)};
  std::fill_n(served.load, num_experts, 0);
  int32_t* order = arena.alloc<int32_t>(num_tokens);
  std::iota(order, order + num_tokens, 0);
  double* scores = nullptr;
  if (options.priority == Priority::score) {
    scores = arena.alloc<double>(num_tokens * top_k);
    log_probabilities(logits, routing, scores);
  }
  for (int64_t k = 0; k < top_k; ++k) {
    if (scores != nullptr) {
      std::sort(order, order + num_tokens, [&](int32_t a, int32_t b) {
        const double of_a = scores[a * top_k + k], of_b = scores[b * top_k + k];
        return of_a != of_b ? of_a > of_b : a < b;
      });
    }
    for (int64_t i = 0; i < num_tokens; ++i) {
      const int64_t t = order[i];
      int32_t* ids = routing.topk_ids + t * top_k;
      if (ids[k] < 0) continue;
      if (!served.has_room(ids[k])) {
        ids[k] = static_cast<int32_t>(other_expert(options.overflow, logits + t * num_experts, routing, ids, served));
        if (ids[k] < 0) {
          routing.topk_weights[t * top_k + k] = 0;
          ++result.dropped;
          continue;
        }
        ++result.rerouted;
      }
      ++served.load[ids[k]];
    }
  }
  return result;
}

Routing route_expert_choice(Exec& exec, const MoeSpec& spec, const RouterTraining& options, const float* logits,
                            int64_t num_tokens) {
  const int64_t num_experts = spec.num_experts;
  const double factor = options.capacity_factor > 0 ? options.capacity_factor : static_cast<double>(spec.top_k);
  const auto wanted = static_cast<int64_t>(
      std::floor(static_cast<double>(num_tokens) * factor / static_cast<double>(num_experts) + 1e-6));
  const int64_t rows = std::clamp<int64_t>(wanted, std::min<int64_t>(1, num_tokens), num_tokens);
  Routing routing{.num_tokens = num_tokens, .num_experts = num_experts, .top_k = num_experts};
  routing.topk_ids = exec.arena.alloc<int32_t>(num_tokens * num_experts);
  routing.topk_weights = exec.arena.alloc<float>(num_tokens * num_experts);
  routing.margin = exec.arena.alloc<float>(num_tokens);
  std::fill_n(routing.topk_ids, num_tokens * num_experts, -1);
  std::fill_n(routing.topk_weights, num_tokens * num_experts, 0.0f);
  std::fill_n(routing.margin, num_tokens, INFINITY);  // no token chooses
  Arena::Scope scope(exec.arena);
  float* scores = exec.arena.alloc<float>(num_tokens * num_experts);
  std::copy_n(logits, num_tokens * num_experts, scores);
  for_rows(exec, num_tokens, [&](int64_t t, int) { exec.kernels.softmax(scores + t * num_experts, num_experts); });
  int32_t* orders = exec.arena.alloc<int32_t>(num_tokens * exec.pool.size());
  exec.pool.run(num_experts, [&](int64_t e, int worker) {
    int32_t* order = orders + worker * num_tokens;
    std::iota(order, order + num_tokens, 0);
    std::nth_element(order, order + rows, order + num_tokens, [&](int32_t a, int32_t b) {
      const float of_a = sortable(scores[a * num_experts + e]), of_b = sortable(scores[b * num_experts + e]);
      return of_a != of_b ? of_a > of_b : a < b;
    });
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t at = order[i] * num_experts + e;
      routing.topk_ids[at] = static_cast<int32_t>(e);
      routing.topk_weights[at] = scores[at];
    }
  });
  return routing;
}

// Each run of E token ids is dealt to the experts by its own shuffle, once for every choice: over a whole run every
// expert gets exactly K ids.
Routing route_hash(Exec& exec, const MoeSpec& spec, const int32_t* token_ids, int64_t num_tokens) {
  const int64_t num_experts = spec.num_experts, top_k = spec.top_k;
  Routing routing{.num_tokens = num_tokens, .num_experts = num_experts, .top_k = top_k};
  routing.topk_ids = exec.arena.alloc<int32_t>(num_tokens * top_k);
  routing.topk_weights = exec.arena.alloc<float>(num_tokens * top_k);
  routing.margin = exec.arena.alloc<float>(num_tokens);
  std::fill_n(routing.topk_weights, num_tokens * top_k, 1 / static_cast<float>(top_k));
  std::fill_n(routing.margin, num_tokens, INFINITY);
  Arena::Scope scope(exec.arena);
  int32_t* decks = exec.arena.alloc<int32_t>(2 * num_experts * exec.pool.size());
  const Rng rng(0, 0);  // the table is fixed: no seed of the run goes into it
  for_rows(exec, num_tokens, [&](int64_t t, int worker) {
    int32_t* deal = decks + 2 * num_experts * worker;
    int32_t* offsets = deal + num_experts;
    const Rng of_run = rng.at(static_cast<uint64_t>(token_ids[t] / num_experts));
    shuffle(of_run.at(0), num_experts, deal);
    shuffle(of_run.at(1), num_experts, offsets);
    const int64_t place = token_ids[t] % num_experts;
    for (int64_t k = 0; k < top_k; ++k) routing.topk_ids[t * top_k + k] = deal[(place + offsets[k]) % num_experts];
  });
  return routing;
}

}  // namespace moxie
