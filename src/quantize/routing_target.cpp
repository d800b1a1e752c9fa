#include "quantize/routing_target.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "base/error.h"
#include "quantize/block_pool.h"
#include "store/routing_trace.h"

namespace moxie {
namespace {

constexpr int64_t kMostExperts = 4096;  // a token of the simulation has a logit for each
constexpr double kMostOfTokens = 0.95;  // that one expert is chosen by: a share is at most that over K

// What exceeds `most` is spread over the others, in proportion, until nothing does.
void cap(std::vector<double>& loads, double most) {
  const double sum = std::accumulate(loads.begin(), loads.end(), 0.0);
  for (double& load : loads) load /= sum;
  for (size_t turn = 0; turn < loads.size(); ++turn) {
    double over = 0, below = 0;
    for (const double load : loads) (load >= most ? over : below) += load >= most ? load - most : load;
    if (over <= 0 || below <= 0) return;
    for (double& load : loads) load = load >= most ? most : load * (1 + over / below);
  }
}

std::vector<double> zipf(int64_t num_experts, double exponent, const Rng& rng) {
  std::vector<double> loads;
  for (int64_t r = 0; r < num_experts; ++r) loads.push_back(std::pow(static_cast<double>(r + 1), -exponent));
  for (size_t i = loads.size(); i > 1; --i) std::swap(loads[i - 1], loads[rng.below(i, i)]);
  return loads;
}

ExpertLoads loads_of_trace(const std::string& path, const ModelSpec& spec) {
  const RoutingTrace trace = read_routing_trace(path);
  ExpertLoads out(spec.layers.size());
  for (const LayerTrace& layer : trace.layers) {
    const bool fits = layer.layer >= 0 && layer.layer < spec.num_layers;
    const MoeSpec* ffn = fits ? &spec.layers[static_cast<size_t>(layer.layer)].ffn : nullptr;
    if (ffn == nullptr || ffn->is_dense() || ffn->num_experts != layer.num_experts) {
      throw invalid({.where = fmt::format("{}: layer {}", path, layer.layer),
                     .expected = ffn == nullptr || ffn->is_dense() ? "a layer that the shape routes"
                                                                   : fmt::format("{} experts", ffn->num_experts),
                     .got = fmt::format("{} experts", layer.num_experts),
                     .hint = "The trace must be of a model with the shape's layers and experts."});
    }
    std::vector<double>& loads = out[static_cast<size_t>(layer.layer)];
    loads.assign(static_cast<size_t>(layer.num_experts), 0);
    for (const int32_t id : layer.topk_ids) {
      if (id >= 0) loads[static_cast<size_t>(id)] += 1;
    }
    if (std::accumulate(loads.begin(), loads.end(), 0.0) == 0) loads.clear();
  }
  return out;
}

double read_exponent(const std::string& text) {
  constexpr size_t kPrefix = 5;  // "zipf:"
  double value = -1;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data() + kPrefix, end, value);
  if (error == std::errc() && at == end && value >= 0 && value <= 10) return value;
  throw make_error(ErrorCode::usage, "--routing {}: expected a number from 0 to 10 after zipf:", printable(text));
}

}  // namespace

ExpertLoads expert_loads(const std::string& text, const ModelSpec& spec, uint64_t seed) {
  ExpertLoads loads(spec.layers.size());
  if (text.empty()) return loads;
  const bool is_zipf = text.starts_with("zipf:");
  const double exponent = is_zipf ? read_exponent(text) : 0;
  std::error_code ignored;
  if (text != "uniform" && !is_zipf) {
    if (!std::filesystem::is_regular_file(text, ignored)) {
      throw make_error(ErrorCode::usage, "--routing {}: expected uniform, zipf:S, or a routing trace, which is no file",
                       printable(text));
    }
    loads = loads_of_trace(text, spec);
  }
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const MoeSpec& ffn = spec.layers[i].ffn;
    if (ffn.is_dense()) continue;
    if (ffn.num_experts > kMostExperts) {
      throw make_error(ErrorCode::usage, "--routing {}: for at most {} experts a layer, not {}", printable(text),
                       kMostExperts, ffn.num_experts);
    }
    if (text == "uniform" || is_zipf) loads[i] = zipf(ffn.num_experts, exponent, Rng(seed, 0x726f757465).at(i));
    if (!loads[i].empty()) cap(loads[i], kMostOfTokens / static_cast<double>(ffn.top_k));
  }
  return loads;
}

std::vector<double> offsets_for(const std::vector<double>& loads, int64_t top_k, double sigma, uint64_t seed) {
  constexpr int kTokens = 1024, kRounds = 60;
  const size_t e_count = loads.size();
  const Rng rng(seed, 0x6f666673);
  std::vector<float> logits(kTokens * e_count);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(sigma) * near_normal(rng, i);
  const double least = 0.25 / kTokens / static_cast<double>(top_k);  // of an expert that is never chosen
  std::vector<double> offsets(e_count, 0.0);
  std::vector<std::pair<float, size_t>> token(e_count);
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> found(e_count, 0.0);
    for (int t = 0; t < kTokens; ++t) {
      const float* own = logits.data() + static_cast<size_t>(t) * e_count;
      for (size_t e = 0; e < e_count; ++e) token[e] = {-(own[e] + static_cast<float>(offsets[e])), e};
      std::nth_element(token.begin(), token.begin() + (top_k - 1), token.end());
      for (int64_t k = 0; k < top_k; ++k) found[token[static_cast<size_t>(k)].second] += 1;
    }
    const double total = static_cast<double>(kTokens) * static_cast<double>(top_k);
    const double step = 0.5 * sigma * (round < kRounds / 2 ? 1.0 : 0.4);
    for (size_t e = 0; e < e_count; ++e) {
      offsets[e] += step * std::log((loads[e] + least) / (found[e] / total + least));
    }
  }
  for (double& offset : offsets) offset = std::round(offset * 1024) / 1024;
  return offsets;
}

}  // namespace moxie
