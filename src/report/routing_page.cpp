#include "report/routing_page.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "base/json.h"
#include "report/page_files.h"
#include "report/page_pack.h"
#include "report/routing_summary.h"
#include "report/token_text.h"

namespace moxie {
namespace {

constexpr int64_t kMaxPageBytes = 1'000'000;
constexpr int64_t kMaxStripTokens = 4'000;   // a browser stays quick, a reader has long given up
constexpr int64_t kMinPackedBytes = 64'000;  // for a model with so many experts that its loads alone fill the page

/// Numbers of the page need no more than this many digits; fewer digits, fewer bytes.
double rounded(double value) {
  return std::strtod(fmt::format("{:.4g}", value).c_str(), nullptr);
}

json::Value pairs_json(const std::vector<std::pair<std::string, std::string>>& pairs) {
  json::Value list{json::Array{}};
  for (const auto& [label, value] : pairs) {
    list.push(json::Array{json::Value(visible_text(label)), json::Value(visible_text(value))});
  }
  return list;
}

/// The first `count` tokens: a vocabulary [id, text] of those that occur, an index into it per position, and the text
/// of a position where it differs from its vocabulary text (a character cut by token edges).
json::Value tokens_json(const RoutingTrace& trace, const std::vector<std::string>& texts, int64_t count) {
  const std::vector<std::string> kept(texts.begin(), texts.begin() + count);
  const std::vector<std::string> in_context = visible_tokens(kept);
  std::unordered_map<int32_t, size_t> known;
  json::Value out, vocabulary{json::Array{}}, index{json::Array{}}, differs{json::Array{}};
  for (size_t t = 0; t < kept.size(); ++t) {
    const std::string alone = visible_text(kept[t]);
    const auto [at, is_new] = known.try_emplace(trace.token_ids[t], known.size());
    if (is_new) vocabulary.push(json::Array{json::Value(trace.token_ids[t]), json::Value(alone)});
    index.push(static_cast<int64_t>(at->second));
    if (in_context[t] != alone) {
      differs.push(json::Array{json::Value(static_cast<int64_t>(t)), json::Value(in_context[t])});
    }
  }
  out.set("total", static_cast<int64_t>(trace.token_ids.size())).set("vocabulary", std::move(vocabulary));
  out.set("index", std::move(index)).set("differs", std::move(differs));
  return out;
}

json::Value layer_json(const LayerSummary& layer, bool has_weights) {
  json::Value out, counts{json::Array{}}, mass{json::Array{}};
  for (const ExpertSummary& expert : layer.experts) {
    counts.push(expert.tokens);
    if (has_weights) mass.push(rounded(expert.weight_mass));
  }
  out.set("layer", layer.layer).set("experts", layer.num_experts).set("topK", layer.top_k);
  out.set("assignments", layer.assignments).set("dropped", layer.dropped).set("entropy", rounded(layer.entropy));
  out.set("maxOverMean", rounded(layer.max_over_mean)).set("dead", static_cast<int64_t>(layer.dead.size()));
  if (layer.mean_margin) out.set("margin", rounded(*layer.mean_margin));
  if (layer.tiny_margin_share) out.set("tinyMargin", rounded(*layer.tiny_margin_share));
  out.set("counts", std::move(counts)).set("mass", std::move(mass));
  return out;
}

json::Value packed_json(const PackedLayer& packed) {
  json::Value out;
  out.set("slots", packed.slots).set("idBits", packed.id_bits).set("weightBits", packed.weight_bits);
  out.set("marginBits", packed.margin_bits).set("weightMin", double{packed.weight_min});
  out.set("weightMax", double{packed.weight_max}).set("marginMax", double{packed.margin_max});
  out.set("bits", packed.base64);
  return out;
}

std::string page_data(const RoutingTrace& trace, const std::vector<std::string>& texts, const PageInfo& info,
                      int64_t budget) {
  SummaryOptions options;
  options.attracted = options.co_activation = 0;  // the page counts these itself, from the tokens it shows
  const RoutingSummary summary = summarize(trace, options);
  json::Value data, warnings{json::Array{}}, layers{json::Array{}}, packed{json::Array{}}, meta{json::Array{}};
  for (const std::string& warning : routing_warnings(summary)) warnings.push(warning);
  for (const auto& [key, value] : trace.metadata) {
    meta.push(json::Array{json::Value(visible_text(key)), json::Value(visible_text(value))});
  }
  for (size_t l = 0; l < trace.layers.size(); ++l) {
    layers.push(layer_json(summary.layers[l], !trace.layers[l].topk_weights.empty()));
  }
  data.set("model", visible_text(info.model)).set("source", visible_text(info.source));
  data.set("router", pairs_json(info.router)).set("metadata", std::move(meta)).set("warnings", std::move(warnings));
  data.set("assignments", summary.assignments).set("dropped", summary.dropped).set("dead", summary.dead_experts);
  data.set("entropy", rounded(summary.mean_entropy)).set("maxVio", rounded(summary.mean_max_vio));
  data.set("layers", std::move(layers));

  constexpr int64_t kPackedFields = 180;  // of packed_json without its bits, per layer
  const int64_t most = std::min(kMaxStripTokens, summary.tokens);
  const int64_t taken = static_cast<int64_t>(script_safe(data.dump()).size()) +
                        static_cast<int64_t>(script_safe(tokens_json(trace, texts, most).dump()).size()) +
                        kPackedFields * static_cast<int64_t>(trace.layers.size());
  const Packing packing = choose_packing(trace, most, std::max(kMinPackedBytes, budget - taken));
  for (const LayerTrace& layer : trace.layers) packed.push(packed_json(pack_layer(layer, packing)));
  data.set("tokens", tokens_json(trace, texts, packing.tokens)).set("packed", std::move(packed));
  return script_safe(data.dump());
}

}  // namespace

std::string routing_page(const RoutingTrace& trace, const std::vector<std::string>& token_texts, const PageInfo& info) {
  MOXIE_CHECK(token_texts.size() == trace.token_ids.size());
  const std::string title = escape_html(visible_text(info.model));
  const auto frame = static_cast<int64_t>(build_page("page.html", {{"title", title}, {"data", ""}}).size());
  return build_page("page.html",
                    {{"title", title}, {"data", page_data(trace, token_texts, info, kMaxPageBytes - frame)}});
}

}  // namespace moxie
