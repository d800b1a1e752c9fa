#include "report/routing_summary.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "report/token_text.h"

namespace moxie {
namespace {

constexpr int32_t kMaxExperts = 1 << 20;  // far above any model; bounds what a forged trace can make us allocate

/// Token ids as dense indices 0..V-1, so that counting per expert needs no map.
struct Vocabulary {
  std::vector<int32_t> index_of;      // [T]
  std::vector<int32_t> ids;           // [V], ascending
  std::vector<int64_t> count, first;  // [V]
};

Vocabulary make_vocabulary(const std::vector<int32_t>& token_ids) {
  Vocabulary v;
  v.ids = token_ids;
  std::sort(v.ids.begin(), v.ids.end());
  v.ids.erase(std::unique(v.ids.begin(), v.ids.end()), v.ids.end());
  v.count.assign(v.ids.size(), 0);
  v.first.assign(v.ids.size(), -1);
  v.index_of.reserve(token_ids.size());
  for (size_t t = 0; t < token_ids.size(); ++t) {
    const auto at = std::lower_bound(v.ids.begin(), v.ids.end(), token_ids[t]) - v.ids.begin();
    v.index_of.push_back(static_cast<int32_t>(at));
    if (v.count[at]++ == 0) v.first[at] = static_cast<int64_t>(t);
  }
  return v;
}

/// The tokens of each expert as runs: positions [begin[e], begin[e+1]), in text order.
struct TokensOfExperts {
  std::vector<int64_t> begin;      // [E+1]
  std::vector<int64_t> positions;  // [assignments]
};

TokensOfExperts group_by_expert(const LayerTrace& layer) {
  TokensOfExperts groups;
  groups.begin.assign(static_cast<size_t>(layer.num_experts) + 1, 0);
  for (const int32_t id : layer.topk_ids) {
    if (id >= 0) ++groups.begin[static_cast<size_t>(id) + 1];
  }
  std::partial_sum(groups.begin.begin(), groups.begin.end(), groups.begin.begin());
  groups.positions.resize(static_cast<size_t>(groups.begin.back()));
  std::vector<int64_t> next(groups.begin.begin(), groups.begin.end() - 1);
  for (size_t i = 0; i < layer.topk_ids.size(); ++i) {
    if (const int32_t id = layer.topk_ids[i]; id >= 0) {
      groups.positions[static_cast<size_t>(next[id]++)] = static_cast<int64_t>(i) / layer.top_k;
    }
  }
  return groups;
}

/// Keeps the `n` first of `items` in the order `before`, sorted.
template <typename T, typename Before>
void keep_first(std::vector<T>& items, int64_t n, Before before) {
  const size_t keep = std::min(items.size(), static_cast<size_t>(std::max<int64_t>(n, 0)));
  std::partial_sort(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(keep), items.end(), before);
  items.resize(keep);
}

void attract(ExpertSummary& expert, const int64_t* positions, const Vocabulary& v, const SummaryOptions& options) {
  std::vector<int32_t> words;
  words.reserve(static_cast<size_t>(expert.tokens));
  for (int64_t i = 0; i < expert.tokens; ++i) words.push_back(v.index_of[static_cast<size_t>(positions[i])]);
  std::sort(words.begin(), words.end());
  const double num_tokens = static_cast<double>(v.index_of.size());
  std::vector<AttractedToken> all;
  for (size_t i = 0; i < words.size();) {
    size_t end = i;
    while (end < words.size() && words[end] == words[i]) ++end;
    const size_t w = static_cast<size_t>(words[i]);
    const int64_t count = static_cast<int64_t>(end - i);
    const double lift = static_cast<double>(count) * num_tokens /
                        (static_cast<double>(expert.tokens) * static_cast<double>(v.count[w]));
    all.push_back({v.ids[w], v.first[w], count, v.count[w], lift});
    i = end;
  }
  expert.by_count = all;
  keep_first(expert.by_count, options.attracted, [](const AttractedToken& a, const AttractedToken& b) {
    return a.count != b.count ? a.count > b.count : a.token_id < b.token_id;
  });
  std::erase_if(all, [&](const AttractedToken& a) { return a.count < options.min_lift_count; });
  expert.by_lift = std::move(all);
  keep_first(expert.by_lift, options.attracted, [](const AttractedToken& a, const AttractedToken& b) {
    const int64_t left = a.count * b.total, right = b.count * a.total;  // lifts compared exactly
    if (left != right) return left > right;
    return a.count != b.count ? a.count > b.count : a.token_id < b.token_id;
  });
}

void find_co_activation(LayerSummary& out, const LayerTrace& layer, const TokensOfExperts& groups,
                        const SummaryOptions& options) {
  std::vector<int64_t> together(static_cast<size_t>(layer.num_experts), 0);
  std::vector<int32_t> touched;
  for (int32_t e = 0; e < layer.num_experts; ++e) {
    touched.clear();
    for (int64_t i = groups.begin[e]; i < groups.begin[e + 1]; ++i) {
      const int32_t* ids = layer.topk_ids.data() + groups.positions[static_cast<size_t>(i)] * layer.top_k;
      for (int32_t k = 0; k < layer.top_k; ++k) {
        if (ids[k] < 0 || ids[k] == e) continue;
        if (together[static_cast<size_t>(ids[k])]++ == 0) touched.push_back(ids[k]);
      }
    }
    const double tokens = static_cast<double>(groups.begin[e + 1] - groups.begin[e]);
    for (const int32_t other : touched) {
      const int64_t count = std::exchange(together[static_cast<size_t>(other)], 0);
      if (count >= options.min_co_activation) {
        out.co_activation.push_back({e, other, count, static_cast<double>(count) / tokens});
      }
    }
  }
  keep_first(out.co_activation, options.co_activation, [](const CoActivation& a, const CoActivation& b) {
    if (a.share != b.share) return a.share > b.share;
    if (a.count != b.count) return a.count > b.count;
    return a.expert != b.expert ? a.expert < b.expert : a.with < b.with;
  });
}

void measure_balance(LayerSummary& out) {
  int64_t most = 0;
  for (int32_t e = 0; e < out.num_experts; ++e) {
    ExpertSummary& expert = out.experts[static_cast<size_t>(e)];
    (expert.tokens == 0 ? out.dead : out.busiest).push_back(e);
    if (expert.tokens == 0) continue;
    expert.share = static_cast<double>(expert.tokens) / static_cast<double>(out.assignments);
    out.entropy -= expert.share * std::log(expert.share);
    most = std::max(most, expert.tokens);
  }
  out.entropy = out.num_experts > 1 ? out.entropy / std::log(static_cast<double>(out.num_experts)) : 0;
  std::stable_sort(out.busiest.begin(), out.busiest.end(), [&](int32_t a, int32_t b) {
    return out.experts[static_cast<size_t>(a)].tokens > out.experts[static_cast<size_t>(b)].tokens;
  });
  if (out.assignments == 0) return;
  out.max_over_mean = static_cast<double>(most) * out.num_experts / static_cast<double>(out.assignments);
  out.max_vio = out.max_over_mean - 1;
}

void measure_margins(LayerSummary& out, const std::vector<float>& margins, double tiny_margin) {
  int64_t known = 0, tiny = 0;
  double sum = 0;
  for (const float margin : margins) {
    if (!std::isfinite(margin)) continue;  // every expert was chosen: there is no next one
    ++known;
    sum += margin;
    tiny += margin < tiny_margin;
  }
  if (known == 0) return;
  out.mean_margin = sum / static_cast<double>(known);
  out.tiny_margin_share = static_cast<double>(tiny) / static_cast<double>(known);
}

LayerSummary summarize_layer(const LayerTrace& layer, const Vocabulary& vocabulary, const SummaryOptions& options) {
  LayerSummary out;
  out.layer = layer.layer;
  out.num_experts = layer.num_experts;
  out.top_k = layer.top_k;
  const TokensOfExperts groups = group_by_expert(layer);
  out.assignments = groups.begin.back();
  out.dropped = static_cast<int64_t>(layer.topk_ids.size()) - out.assignments;
  out.experts.resize(static_cast<size_t>(layer.num_experts));
  for (size_t i = 0; i < layer.topk_weights.size(); ++i) {
    if (const int32_t id = layer.topk_ids[i]; id >= 0) out.experts[id].weight_mass += layer.topk_weights[i];
  }
  for (int32_t e = 0; e < layer.num_experts; ++e) {
    out.experts[e].tokens = groups.begin[e + 1] - groups.begin[e];
    attract(out.experts[e], groups.positions.data() + groups.begin[e], vocabulary, options);
  }
  measure_balance(out);
  measure_margins(out, layer.margin, options.tiny_margin);
  find_co_activation(out, layer, groups, options);
  return out;
}

std::string id_list(const std::vector<int32_t>& ids) {
  constexpr size_t kShown = 12;
  std::string text;
  for (size_t i = 0; i < std::min(ids.size(), kShown); ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", ids[i]);
  if (ids.size() > kShown) text += fmt::format(" and {} more", ids.size() - kShown);
  return text;
}

}  // namespace

void check_trace(const RoutingTrace& trace) {
  const size_t num_tokens = trace.token_ids.size();
  for (const LayerTrace& layer : trace.layers) {
    const std::string where = fmt::format("routing trace: layer {}", layer.layer);
    if (layer.num_experts < 1 || layer.num_experts > kMaxExperts || layer.top_k < 1 ||
        layer.top_k > layer.num_experts) {
      throw invalid({.where = where,
                     .expected = fmt::format("1 <= top_k <= num_experts <= {}", kMaxExperts),
                     .got = fmt::format("top_k {}, num_experts {}", layer.top_k, layer.num_experts)});
    }
    const size_t num_slots = num_tokens * static_cast<size_t>(layer.top_k);  // < 2^52: both come from real arrays
    if (layer.topk_ids.size() != num_slots || (!layer.topk_weights.empty() && layer.topk_weights.size() != num_slots) ||
        (!layer.margin.empty() && layer.margin.size() != num_tokens)) {
      throw invalid({.where = where,
                     .expected = fmt::format("{} ids and weights, {} margins", num_slots, num_tokens),
                     .got = fmt::format("{} ids, {} weights, {} margins", layer.topk_ids.size(),
                                        layer.topk_weights.size(), layer.margin.size())});
    }
    for (size_t i = 0; i < num_slots; ++i) {
      const int32_t id = layer.topk_ids[i];
      if (id < -1 || id >= layer.num_experts) {
        throw invalid({.where = fmt::format("{}: token {}", where, i / static_cast<size_t>(layer.top_k)),
                       .expected = fmt::format("an expert id below {}, or -1", layer.num_experts),
                       .got = std::to_string(id)});
      }
      if (!layer.topk_weights.empty() && !std::isfinite(layer.topk_weights[i])) {
        throw invalid({.where = fmt::format("{}: token {}", where, i / static_cast<size_t>(layer.top_k)),
                       .expected = "finite weights",
                       .got = fmt::format("{}", layer.topk_weights[i])});
      }
    }
  }
}

RoutingSummary summarize(const RoutingTrace& trace, const SummaryOptions& options) {
  check_trace(trace);
  const Vocabulary vocabulary = make_vocabulary(trace.token_ids);
  RoutingSummary summary;
  summary.tokens = static_cast<int64_t>(trace.token_ids.size());
  for (const LayerTrace& layer : trace.layers) {
    summary.layers.push_back(summarize_layer(layer, vocabulary, options));
    const LayerSummary& done = summary.layers.back();
    summary.assignments += done.assignments;
    summary.dropped += done.dropped;
    summary.dead_experts += static_cast<int64_t>(done.dead.size());
    summary.mean_entropy += done.entropy / static_cast<double>(trace.layers.size());
    summary.mean_max_vio += done.max_vio / static_cast<double>(trace.layers.size());
  }
  return summary;
}

std::vector<std::string> routing_warnings(const RoutingSummary& summary) {
  constexpr double kEnoughPerExpert = 5;  // an expert misses all of 5 even chances with e^-5 = 0.7%
  constexpr double kOverload = 3;         // max/mean; MaxVio above 2 is trouble
  constexpr size_t kNamed = 3;            // overloaded layers named one by one; twice as many with dead experts
  std::vector<std::string> warnings;
  int64_t short_layers = 0;
  size_t layers_with_dead = 0;
  std::vector<const LayerSummary*> overloaded;
  for (const LayerSummary& layer : summary.layers) {
    if (layer.dropped > 0) {
      warnings.push_back(fmt::format(
          "layer {}: {:.1f}% of the assignments were dropped", layer.layer,
          100.0 * static_cast<double>(layer.dropped) / static_cast<double>(layer.dropped + layer.assignments)));
    }
    if (static_cast<double>(layer.assignments) / layer.num_experts < kEnoughPerExpert) {
      ++short_layers;
      continue;
    }
    if (!layer.dead.empty() && ++layers_with_dead <= 2 * kNamed) {
      warnings.push_back(fmt::format("layer {}: expert{} {} received no token", layer.layer,
                                     layer.dead.size() == 1 ? "" : "s", id_list(layer.dead)));
    }
    if (layer.max_over_mean >= kOverload) overloaded.push_back(&layer);
  }
  if (layers_with_dead > 2 * kNamed) {
    warnings.push_back(fmt::format("{} more layers have experts that received no token; {} of all experts did not",
                                   layers_with_dead - 2 * kNamed, summary.dead_experts));
  }
  const auto overload = [](const LayerSummary& layer) {
    return fmt::format("layer {}: expert {} takes {:.1f}% of the assignments, {:.1f}x its even share", layer.layer,
                       layer.busiest[0], 100 * layer.experts[layer.busiest[0]].share, layer.max_over_mean);
  };
  if (overloaded.size() <= kNamed) {
    for (const LayerSummary* layer : overloaded) warnings.push_back(overload(*layer));
  } else {
    const LayerSummary* worst = *std::max_element(
        overloaded.begin(), overloaded.end(),
        [](const LayerSummary* a, const LayerSummary* b) { return a->max_over_mean < b->max_over_mean; });
    warnings.push_back(fmt::format("{} of {} layers have an expert at {:.0f}x its even share or more; the worst is {}",
                                   overloaded.size(), summary.layers.size(), kOverload, overload(*worst)));
  }
  if (short_layers > 0 && summary.tokens > 0) {
    warnings.push_back(fmt::format("{} tokens are too few to judge the balance of {} layer{}", summary.tokens,
                                   short_layers, short_layers == 1 ? "" : "s"));
  }
  return warnings;
}

namespace {

json::Value attracted_json(const std::vector<AttractedToken>& tokens, const std::vector<std::string>& texts) {
  json::Value list{json::Array{}};
  for (const AttractedToken& token : tokens) {
    json::Value item;
    item.set("token_id", token.token_id).set("count", token.count).set("of", token.total).set("lift", token.lift);
    if (!texts.empty()) item.set("text", visible_text(texts[static_cast<size_t>(token.position)]));
    list.push(std::move(item));
  }
  return list;
}

json::Value layer_json(const LayerSummary& layer, const std::vector<std::string>& texts) {
  json::Value out, experts{json::Array{}}, dead{json::Array{}}, busiest{json::Array{}}, pairs{json::Array{}};
  for (size_t e = 0; e < layer.experts.size(); ++e) {
    const ExpertSummary& expert = layer.experts[e];
    json::Value item;
    item.set("expert", static_cast<int64_t>(e)).set("tokens", expert.tokens).set("share", expert.share);
    item.set("weight_mass", expert.weight_mass).set("by_count", attracted_json(expert.by_count, texts));
    item.set("by_lift", attracted_json(expert.by_lift, texts));
    experts.push(std::move(item));
  }
  for (const int32_t e : layer.dead) dead.push(e);
  for (const int32_t e : layer.busiest) busiest.push(e);
  for (const CoActivation& pair : layer.co_activation) {
    json::Value item;
    item.set("expert", pair.expert).set("with", pair.with).set("count", pair.count).set("share", pair.share);
    pairs.push(std::move(item));
  }
  const auto or_null = [](const std::optional<double>& value) { return value ? json::Value(*value) : json::Value(); };
  out.set("layer", layer.layer).set("num_experts", layer.num_experts).set("top_k", layer.top_k);
  out.set("assignments", layer.assignments).set("dropped", layer.dropped).set("entropy", layer.entropy);
  out.set("max_over_mean", layer.max_over_mean).set("max_vio", layer.max_vio);
  out.set("mean_margin", or_null(layer.mean_margin)).set("tiny_margin_share", or_null(layer.tiny_margin_share));
  out.set("dead_experts", std::move(dead)).set("busiest_experts", std::move(busiest));
  out.set("co_activation", std::move(pairs)).set("experts", std::move(experts));
  return out;
}

}  // namespace

json::Value to_json(const RoutingSummary& summary, const std::vector<std::string>& token_texts) {
  MOXIE_CHECK(token_texts.empty() || static_cast<int64_t>(token_texts.size()) == summary.tokens);
  json::Value out, layers{json::Array{}}, warnings{json::Array{}};
  for (const LayerSummary& layer : summary.layers) layers.push(layer_json(layer, token_texts));
  for (const std::string& warning : routing_warnings(summary)) warnings.push(warning);
  out.set("schema_version", 1).set("tokens", summary.tokens).set("assignments", summary.assignments);
  out.set("dropped", summary.dropped).set("dead_experts", summary.dead_experts);
  out.set("mean_entropy", summary.mean_entropy).set("mean_max_vio", summary.mean_max_vio);
  out.set("warnings", std::move(warnings)).set("layers", std::move(layers));
  return out;
}

}  // namespace moxie
