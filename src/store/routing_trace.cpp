#include "store/routing_trace.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <set>

#include "store/safetensors.h"

namespace moxie {
namespace {

constexpr std::string_view kFormat = "moxie.routing_trace";
constexpr std::string_view kVersion = "1";

std::string layer_key(int layer, std::string_view field) {
  return fmt::format("layers.{}.{}", layer, field);
}

std::optional<int32_t> parse_int(std::string_view text) {
  int32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// The layer of "layers.N.num_experts", or empty for any other key.
std::optional<int32_t> layer_of_key(std::string_view key) {
  constexpr std::string_view prefix = "layers.", suffix = ".num_experts";
  if (!key.starts_with(prefix) || !key.ends_with(suffix) || key.size() <= prefix.size() + suffix.size()) return {};
  const auto layer = parse_int(key.substr(prefix.size(), key.size() - prefix.size() - suffix.size()));
  // One spelling only, so that no two keys mean one layer ("01", "-0").
  return layer && *layer >= 0 && layer_key(*layer, "num_experts") == key ? layer : std::nullopt;
}

/// Reads one file; the message of every fault begins with its path.
class TraceReader {
 public:
  explicit TraceReader(const std::filesystem::path& path) : source_(path.string()), file_(Checkpoint::open(path)) {}

  RoutingTrace read() {
    require_metadata("format", kFormat);
    require_metadata("format_version", kVersion);
    RoutingTrace trace;
    num_tokens_ = read_tensor("token_ids", FormatId::i32, 1).view.shape[0];
    trace.token_ids = values<int32_t>("token_ids", FormatId::i32, Shape{num_tokens_});
    for (size_t t = 0; t < trace.token_ids.size(); ++t) {
      if (trace.token_ids[t] < 0)
        fail(fmt::format("token_ids[{}]", t), "0 or more", std::to_string(trace.token_ids[t]));
    }
    for (const auto& [key, value] : file_.metadata()) {
      if (const auto layer = layer_of_key(key)) {
        trace.layers.push_back(read_layer(*layer, value));
      } else if (key != "format" && key != "format_version") {
        trace.metadata.emplace(key, value);
      }
    }
    std::sort(trace.layers.begin(), trace.layers.end(), [](auto& a, auto& b) { return a.layer < b.layer; });
    for (const TensorEntry& entry : file_.entries()) {
      if (!known_.contains(entry.name)) {
        fail("tensor \"" + printable(entry.name) + "\"", "tensors of a trace only", "this one beside them");
      }
    }
    return trace;
  }

 private:
  [[noreturn]] void fail(std::string_view field, std::string expected, std::string got) const {
    throw invalid({fmt::format("{}: {}", source_, field), std::move(expected), std::move(got)});
  }

  void require_metadata(const std::string& key, std::string_view expected) const {
    const auto found = file_.metadata().find(key);
    if (found != file_.metadata().end() && found->second == expected) return;
    fail("metadata \"" + key + "\"", fmt::format("\"{}\"", expected),
         found == file_.metadata().end() ? "none" : fmt::format("\"{}\"", printable(found->second)));
  }

  const Tensor& read_tensor(const std::string& name, FormatId format, int rank) {
    const Tensor* tensor = file_.find(name);
    if (tensor == nullptr) fail(name, "a tensor of that name", "none");
    const View& view = tensor->view;
    if (view.format != format || view.shape.rank() != rank) {
      fail(name, fmt::format("{} of rank {}", format_info(format).safetensors, rank),
           fmt::format("{} {}", format_info(view.format).safetensors, view.shape.str()));
    }
    known_.insert(name);
    return *tensor;
  }

  template <typename T>
  std::vector<T> values(const std::string& name, FormatId format, const Shape& shape) {
    const View& view = read_tensor(name, format, shape.rank()).view;
    if (!(view.shape == shape)) fail(name, "shape " + shape.str(), view.shape.str());
    std::vector<T> result(static_cast<size_t>(shape.num_elems()));
    if (!result.empty()) std::memcpy(result.data(), view.data, result.size() * sizeof(T));
    return result;
  }

  LayerTrace read_layer(int layer, std::string_view num_experts) {
    LayerTrace trace{.layer = layer};
    const auto experts = parse_int(num_experts);
    const std::string key = layer_key(layer, "num_experts");
    if (!experts || *experts < 1) fail("metadata \"" + key + "\"", "an integer from 1", printable(num_experts));
    trace.num_experts = *experts;
    const std::string ids = layer_key(layer, "topk_ids");
    const int64_t top_k = read_tensor(ids, FormatId::i32, 2).view.shape[1];
    if (top_k < 1 || top_k > *experts) {
      fail(ids, fmt::format("1 to {} experts a token", *experts), std::to_string(top_k));
    }
    trace.top_k = static_cast<int32_t>(top_k);
    trace.topk_ids = values<int32_t>(ids, FormatId::i32, Shape{num_tokens_, top_k});
    trace.topk_weights = values<float>(layer_key(layer, "topk_weights"), FormatId::f32, Shape{num_tokens_, top_k});
    trace.margin = values<float>(layer_key(layer, "margin"), FormatId::f32, Shape{num_tokens_});
    for (size_t i = 0; i < trace.topk_ids.size(); ++i) {
      const int32_t id = trace.topk_ids[i];
      if (id >= -1 && id < *experts) continue;
      const size_t k = static_cast<size_t>(top_k);
      fail(fmt::format("{}[{}, {}]", ids, i / k, i % k), fmt::format("-1 to {}", *experts - 1), std::to_string(id));
    }
    return trace;
  }

  std::string source_;
  Checkpoint file_;
  int64_t num_tokens_ = 0;
  std::set<std::string> known_;
};

}  // namespace

void write_routing_trace(const std::filesystem::path& path, const RoutingTrace& trace) {
  const auto num_tokens = static_cast<int64_t>(trace.token_ids.size());
  std::map<std::string, std::string> metadata = trace.metadata;
  metadata["format"] = kFormat;
  metadata["format_version"] = kVersion;
  std::vector<NamedView> tensors = {
      {"token_ids", dense_view(trace.token_ids.data(), FormatId::i32, Shape{num_tokens})}};
  for (const LayerTrace& layer : trace.layers) {
    const Shape pairs = {num_tokens, layer.top_k};
    MOXIE_CHECK(static_cast<int64_t>(layer.topk_ids.size()) == pairs.num_elems());
    MOXIE_CHECK(layer.topk_weights.size() == layer.topk_ids.size() && layer.margin.size() == trace.token_ids.size());
    metadata[layer_key(layer.layer, "num_experts")] = std::to_string(layer.num_experts);
    tensors.push_back({layer_key(layer.layer, "topk_ids"), dense_view(layer.topk_ids.data(), FormatId::i32, pairs)});
    tensors.push_back(
        {layer_key(layer.layer, "topk_weights"), dense_view(layer.topk_weights.data(), FormatId::f32, pairs)});
    tensors.push_back(
        {layer_key(layer.layer, "margin"), dense_view(layer.margin.data(), FormatId::f32, Shape{num_tokens})});
  }
  write_safetensors(path, tensors, metadata);
}

RoutingTrace read_routing_trace(const std::filesystem::path& path) {
  return TraceReader(path).read();
}

}  // namespace moxie
