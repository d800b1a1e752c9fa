#include "spec/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "base/file.h"
#include "spec/config_reader.h"
#include "spec/families/families.h"

namespace moxie {
namespace {

constexpr size_t kMaxConfigBytes = size_t{4} << 20;  // real ones have less than 10 KB
constexpr double kMaxParameters = 1e15;

// A little more than the parameters of one layer, and everything a later product of sizes could reach.
double layer_size(const ModelSpec& spec, const MoeSpec& ffn) {
  const AttentionSpec& attention = spec.attention;
  const auto heads = static_cast<double>(attention.num_heads);
  const auto hidden = static_cast<double>(spec.hidden_size);
  const double widths = 2 * heads * static_cast<double>(attention.head_dim + attention.v_head_dim) + 8;
  const double ranks = hidden + static_cast<double>(attention.q_lora_rank + attention.kv_lora_rank);
  const double experts =
      static_cast<double>(ffn.num_experts) * (3 * static_cast<double>(ffn.moe_intermediate_size) + 2) +
      3 * static_cast<double>(ffn.shared_intermediate_size);
  return (widths + ranks) * ranks + experts * (hidden + 1);
}

// Bounds on single fields do not bound their products; below this one, no count of bytes overflows 64 bits.
void check_total(const ModelSpec& spec, const std::string& source) {
  double total = 2 * static_cast<double>(spec.vocab_size) * static_cast<double>(spec.hidden_size + 1);
  for (const LayerSpec& layer : spec.layers) total += layer_size(spec, layer.ffn);
  if (total <= kMaxParameters) return;
  throw invalid({.where = source,
                 .expected = fmt::format("sizes that make at most {:g} parameters", kMaxParameters),
                 .got = fmt::format("sizes that make about {:.2g}", total)});
}

void add_notices(const ConfigReader& config, ModelSpec& spec) {
  for (const char* key : {"auto_map", "trust_remote_code"}) {
    if (config.has(key))
      spec.notices.push_back(fmt::format("{} is ignored: code that comes with a model is never run", key));
  }
  if (!spec.quant_method.empty()) {
    spec.notices.push_back(fmt::format("the weights are stored quantized by \"{}\"", printable(spec.quant_method)));
  }
  if (spec.num_mtp_layers > 0) {
    spec.notices.push_back(fmt::format("{} multi-token-prediction layer{} after the last layer {} not run",
                                       spec.num_mtp_layers, spec.num_mtp_layers == 1 ? "" : "s",
                                       spec.num_mtp_layers == 1 ? "is" : "are"));
  }
}

const Family& find_family(const ConfigReader& config) {
  const std::string model_type = config.string("model_type", "");
  for (const Family& family : families()) {
    if (family.model_type == model_type) return family;
  }
  const std::vector<std::string> architectures =
      config.has("model_type") ? std::vector<std::string>{} : config.strings("architectures");
  std::string got;
  if (!architectures.empty()) got = fmt::format("no such key (architectures: {})", printable(architectures.front()));
  config.fail("model_type", fmt::format("one of {}", fmt::join(known_families(), ", ")), got);
}

std::filesystem::path config_file(const std::filesystem::path& directory_or_file) {
  std::error_code ignored;
  const bool directory = std::filesystem::is_directory(directory_or_file, ignored);
  return directory ? directory_or_file / "config.json" : directory_or_file;
}

}  // namespace

ModelSpec parse_config(std::string_view text, const std::string& source) {
  if (text.size() > kMaxConfigBytes) {
    throw invalid({.where = source,
                   .expected = fmt::format("at most {} bytes", kMaxConfigBytes),
                   .got = fmt::format("{}", text.size())});
  }
  return read_config(json::parse(text, {.source = source}), source);
}

ModelSpec read_config(const json::Value& root, const std::string& source, const FieldNames* names) {
  if (!root.is_object()) {
    throw invalid({.where = fmt::format("{}: byte {}", source, root.offset()),
                   .expected = "an object",
                   .got = std::string(json::type_name(root.type()))});
  }
  const ConfigReader config(root, source, "", names);
  const Family& family = find_family(config);
  ModelSpec spec = family.read(config);
  spec.family = family.model_type;
  check_total(spec, source);
  add_notices(config, spec);
  return spec;
}

ModelSpec load_config(const std::filesystem::path& directory_or_file) {
  const std::filesystem::path file = config_file(directory_or_file);
  return parse_config(read_file(file, kMaxConfigBytes), file.string());
}

json::Value config_tree(const std::filesystem::path& directory_or_file) {
  const std::filesystem::path file = config_file(directory_or_file);
  return json::parse(read_file(file, kMaxConfigBytes), {.source = file.string()});
}

std::vector<std::string> known_families() {
  std::vector<std::string> names;
  for (const Family& family : families()) names.emplace_back(family.model_type);
  return names;
}

}  // namespace moxie
