#include "model/gguf_weights.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <optional>
#include <set>

#include "model/expert_weights.h"
#include "ops/exec.h"

namespace moxie {
namespace {

// GGUF name -> the name in a checkpoint; what stands behind the last dot ("weight", "bias") is the same in both.
struct Renamed {
  std::string_view gguf, theirs;
};

constexpr Renamed kTopLevel[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};

// Within a block.
constexpr Renamed kInLayer[] = {
    {"attn_norm", "input_layernorm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"post_attention_norm", "post_attention_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"attn_q_a", "self_attn.q_a_proj"},
    {"attn_q_a_norm", "self_attn.q_a_layernorm"},
    {"attn_q_b", "self_attn.q_b_proj"},
    {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"},
    {"attn_kv_a_norm", "self_attn.kv_a_layernorm"},
    {"attn_kv_b", "self_attn.kv_b_proj"},
};

// Tensors that are read as facts, not as weights.
constexpr std::string_view kFacts[] = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"};

// "blk.3.attn_q.weight" -> 3, "attn_q", "weight".
struct BlockName {
  int64_t layer;
  std::string_view stem, ending;
};

std::optional<BlockName> parse_block_name(std::string_view name) {
  constexpr std::string_view prefix = "blk.";
  if (!name.starts_with(prefix)) return std::nullopt;
  BlockName out{};
  const char* end = name.data() + name.size();
  const auto number = std::from_chars(name.data() + prefix.size(), end, out.layer);
  if (number.ec != std::errc() || out.layer < 0 || number.ptr == end || *number.ptr != '.') return std::nullopt;
  const std::string_view rest(number.ptr + 1, static_cast<size_t>(end - number.ptr - 1));
  const size_t dot = rest.rfind('.');
  out.stem = rest.substr(0, dot);
  out.ending = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
  return out;
}

template <size_t N>
std::string_view renamed(const Renamed (&table)[N], std::string_view stem) {
  const auto* row = std::find_if(table, table + N, [&](const Renamed& each) { return each.gguf == stem; });
  return row == table + N ? std::string_view() : row->theirs;
}

// "gate.weight" with the ending "bias" -> "gate.bias".
std::string with_ending(const std::string& weight, std::string_view ending) {
  return ending == "bias" ? bias_name(weight) : weight;
}

// Whether it can be cut anywhere along its outermost dimension: a matrix, or a vector without blocks.
bool can_be_cut(const View& view) {
  return view.shape.rank() == 2 || (view.shape.rank() == 1 && format_info(view.format).block_elems == 1);
}

View cut(const View& view, int64_t begin, int64_t end) {
  if (view.shape.rank() == 2) return view.rows(begin, end);
  View part = view;
  part.data = static_cast<const char*>(view.data) + row_bytes(view.format, begin);
  part.shape = {end - begin};
  part.row_bytes = row_bytes(view.format, end - begin);
  return part;
}

class Renamer {
 public:
  explicit Renamer(const ModelSpec& spec) : spec_(spec), names_(spec.names) {}

  void add(const TensorEntry& entry) {
    if (entry.tensor.view.packed && !may_be_packed(entry.name, entry.tensor.view.shape)) {
      throw invalid({.where = fmt::format("{}: {}", entry.file, entry.name),
                     .expected = "plain rows: only matrices of attention, experts and the head are packed",
                     .got = "packed rows in " + entry.tensor.view.shape.str()});
    }
    if (std::find(std::begin(kFacts), std::end(kFacts), entry.name) != std::end(kFacts)) return;
    const std::optional<BlockName> block = parse_block_name(entry.name);
    if (!block) return add_top_level(entry);
    prefix_ = numbered(names_.layer, block->layer);
    if (block->layer >= spec_.num_layers) return put(entry, prefix_ + std::string(entry.name), entry.tensor.view);
    add_in_layer(entry, *block);
  }

  std::vector<TensorEntry> finish() {
    for (const auto& [layer, parts] : latents_) join_latent(layer, parts.k, parts.v);
    return std::move(entries_);
  }

 private:
  struct LatentParts {
    const TensorEntry *k = nullptr, *v = nullptr;
  };

  void put(const TensorEntry& from, std::string name, const View& view) {
    entries_.push_back({std::move(name), {view, from.tensor.owner}, from.file});
  }

  void add_top_level(const TensorEntry& entry) {
    const size_t dot = entry.name.rfind('.');
    if (dot == std::string::npos) return put(entry, entry.name, entry.tensor.view);
    const std::string_view theirs = renamed(kTopLevel, std::string_view(entry.name).substr(0, dot));
    put(entry, theirs.empty() ? entry.name : std::string(theirs) + entry.name.substr(dot), entry.tensor.view);
  }

  void add_in_layer(const TensorEntry& entry, const BlockName& block) {
    const View& view = entry.tensor.view;
    const bool selection_bias = block.stem == "exp_probs_b" || entry.name.ends_with(".exp_probs_b");
    if (selection_bias) return put(entry, prefix_ + names_.ffn + names_.expert_bias, view);
    if (block.ending != "weight" && block.ending != "bias") return put(entry, entry.name, view);
    if (const std::string_view theirs = renamed(kInLayer, block.stem); !theirs.empty()) {
      return put(entry, fmt::format("{}{}.{}", prefix_, theirs, block.ending), view);
    }
    if (block.stem == "attn_sinks") return put(entry, prefix_ + "self_attn.sinks", view);
    if (block.stem == "attn_qkv") return split_qkv(entry, block);
    if (block.stem == "attn_k_b") return static_cast<void>(latents_[block.layer].k = &entry);
    if (block.stem == "attn_v_b") return static_cast<void>(latents_[block.layer].v = &entry);
    if (!add_ffn(entry, block)) put(entry, entry.name, view);
  }

  bool add_ffn(const TensorEntry& entry, const BlockName& block) {
    const std::string at = prefix_ + names_.ffn, dense = prefix_ + "mlp.", shared = at + names_.shared;
    const std::pair<std::string_view, std::string> whole[] = {
        {"ffn_gate", dense + names_.dense_gate},        {"ffn_up", dense + names_.dense_up},
        {"ffn_down", dense + names_.dense_down},        {"ffn_gate_inp", at + names_.router},
        {"ffn_gate_shexp", shared + names_.dense_gate}, {"ffn_up_shexp", shared + names_.dense_up},
        {"ffn_down_shexp", shared + names_.dense_down}, {"ffn_gate_inp_shexp", at + names_.shared_gate},
    };
    for (const auto& [stem, name] : whole) {
      if (block.stem != stem) continue;
      View view = entry.tensor.view;
      if (stem == "ffn_gate_inp_shexp" && view.shape.rank() == 1) view.shape = {1, view.shape[0]};
      put(entry, with_ending(name, block.ending), view);
      return true;
    }
    return add_experts(entry, block, at);
  }

  // A stack [E, F, H], or [E, 2F, H] of gate rows above up rows, or of biases one dimension less.
  bool add_experts(const TensorEntry& entry, const BlockName& block, const std::string& at) {
    const std::pair<std::string_view, const std::string*> stacks[] = {{"ffn_gate_exps", &names_.expert_gate},
                                                                      {"ffn_up_exps", &names_.expert_up},
                                                                      {"ffn_down_exps", &names_.expert_down},
                                                                      {"ffn_gate_up_exps", nullptr}};
    for (const auto& [stem, pattern] : stacks) {
      if (block.stem != stem) continue;
      const View& view = entry.tensor.view;
      const int64_t experts = spec_.layers[static_cast<size_t>(block.layer)].ffn.num_experts;
      if (view.shape.rank() < 2 || view.shape[0] != experts) {
        throw invalid({.where = fmt::format("{}: {}", entry.file, entry.name),
                       .expected = fmt::format("{} experts in its outermost dimension, as expert_count says", experts),
                       .got = view.shape.str()});
      }
      if (pattern == nullptr && (view.shape.rank() > 3 || !can_be_cut(view[0]))) return false;
      for (int64_t e = 0; e < experts; ++e) add_expert(entry, block.ending, at, pattern, e);
      return true;
    }
    return false;
  }

  void add_expert(const TensorEntry& entry, std::string_view ending, const std::string& at, const std::string* pattern,
                  int64_t e) {
    const View one = entry.tensor.view[e];
    if (pattern != nullptr) return put(entry, at + with_ending(numbered(*pattern, e), ending), one);
    const int64_t half = one.shape[0] / 2;
    put(entry, at + with_ending(numbered(names_.expert_gate, e), ending), cut(one, 0, half));
    put(entry, at + with_ending(numbered(names_.expert_up, e), ending), cut(one, half, one.shape[0]));
  }

  void split_qkv(const TensorEntry& entry, const BlockName& block) {
    const AttentionSpec& a = spec_.attention;
    const View& view = entry.tensor.view;
    const int64_t q = a.num_heads * a.head_dim, k = a.num_kv_heads * a.head_dim, v = a.num_kv_heads * a.v_head_dim;
    const bool fits = a.kind == AttentionKind::gqa && can_be_cut(view) && view.shape[0] == q + k + v;
    if (!fits) return put(entry, entry.name, view);
    const auto name = [&](std::string_view which) {
      return fmt::format("{}self_attn.{}_proj.{}", prefix_, which, block.ending);
    };
    put(entry, name("q"), cut(view, 0, q));
    put(entry, name("k"), cut(view, q, q + k));
    put(entry, name("v"), cut(view, q + k, q + k + v));
  }

  // Converters store kv_b [heads * (nope + v), latent] in two: k_b [heads, latent, nope], transposed within each head,
  // and v_b [heads, v, latent].
  void join_latent(int64_t layer, const TensorEntry* k, const TensorEntry* v) {
    const AttentionSpec& a = spec_.attention;
    const int64_t heads = a.num_heads, nope = a.qk_nope_head_dim, latent = a.kv_lora_rank;
    const Shape k_shape{heads, latent, nope}, v_shape{heads, a.v_head_dim, latent};
    const bool fits = k != nullptr && v != nullptr && k->tensor.view.shape == k_shape &&
                      v->tensor.view.shape == v_shape && computable(k->tensor.view.format) &&
                      computable(v->tensor.view.format);
    if (!fits) {  // reported under their own names
      for (const TensorEntry* each : {k, v}) {
        if (each != nullptr) put(*each, each->name, each->tensor.view);
      }
      return;
    }
    auto [joined, out] = Tensor::zeros_f32({heads * (nope + a.v_head_dim), latent});
    const KernelSet& kernels = choose_kernel_set();
    std::vector<float> row(static_cast<size_t>(nope));
    for (int64_t head = 0; head < heads; ++head) {
      float* to = out + head * (nope + a.v_head_dim) * latent;
      for (int64_t j = 0; j < latent; ++j) {
        decode_row(kernels, k->tensor.view, head * latent + j, row.data());
        for (int64_t i = 0; i < nope; ++i) to[i * latent + j] = row[static_cast<size_t>(i)];
      }
      for (int64_t i = 0; i < a.v_head_dim; ++i) {
        decode_row(kernels, v->tensor.view, head * a.v_head_dim + i, to + (nope + i) * latent);
      }
    }
    entries_.push_back({numbered(names_.layer, layer) + "self_attn.kv_b_proj.weight", joined, k->file});
  }

  const ModelSpec& spec_;
  const TensorNames& names_;
  std::string prefix_;  // of the layer of the entry at hand
  std::map<int64_t, LatentParts> latents_;
  std::vector<TensorEntry> entries_;
};

const TensorEntry* find_entry(const GgufFile& file, std::string_view name) {
  const std::vector<TensorEntry>& entries = file.entries();  // sorted by name
  const auto at =
      std::lower_bound(entries.begin(), entries.end(), name,
                       [](const TensorEntry& entry, std::string_view wanted) { return entry.name < wanted; });
  return at != entries.end() && at->name == name ? &*at : nullptr;
}

std::vector<double> factors_of(const GgufFile& file, std::string_view name) {
  const TensorEntry* entry = find_entry(file, name);
  if (entry == nullptr) return {};
  const View& view = entry->tensor.view;
  if (view.format != FormatId::f32 || view.shape.rank() != 1) {
    throw invalid({.where = fmt::format("{}: {}", entry->file, name),
                   .expected = "a vector of f32",
                   .got = fmt::format("{} {}", format_name(view.format), view.shape.str())});
  }
  return {view.f32(), view.f32() + view.shape.num_elems()};
}

}  // namespace

bool may_be_packed(std::string_view name, const Shape& shape) {
  if (name == "output.weight") return shape.rank() == 2;
  const std::optional<BlockName> block = parse_block_name(name);
  if (!block || block->ending != "weight") return false;
  for (const std::string_view stem : {"attn_q", "attn_k", "attn_v", "attn_output", "attn_q_a", "attn_q_b",
                                      "attn_kv_a_mqa", "ffn_gate", "ffn_up", "ffn_down", "ffn_gate_exps", "ffn_up_exps",
                                      "ffn_down_exps", "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"}) {
    if (block->stem == stem) return shape.rank() == (stem.ends_with("_exps") ? 3 : 2);
  }
  return false;
}

GgufTensorFacts gguf_tensor_facts(const GgufFile& file) {
  const auto has = [&](std::string_view name) { return find_entry(file, name) != nullptr; };
  GgufTensorFacts facts;
  if (const TensorEntry* table = find_entry(file, "token_embd.weight"); table != nullptr) {
    facts.embedding_rows = table->tensor.view.shape[0];
  }
  facts.has_output = has("output.weight");
  facts.has_output_bias = has("output.bias");
  facts.has_attention_bias = has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias");
  facts.has_ffn_bias = has("blk.0.ffn_up.bias");
  facts.has_qk_norm = has("blk.0.attn_q_norm.weight");
  std::set<int64_t> layers, routed;
  for (const TensorEntry& entry : file.entries()) {
    const std::optional<BlockName> block = parse_block_name(entry.name);
    if (!block) continue;
    layers.insert(block->layer);
    if (block->stem == "ffn_gate_inp") routed.insert(block->layer);
  }
  std::set_difference(layers.begin(), layers.end(), routed.begin(), routed.end(),
                      std::back_inserter(facts.layers_without_router));
  facts.rope_factors = factors_of(file, "rope_freqs.weight");
  facts.rope_long = factors_of(file, "rope_factors_long.weight");
  facts.rope_short = factors_of(file, "rope_factors_short.weight");
  return facts;
}

Checkpoint gguf_checkpoint(const GgufFile& file, const ModelSpec& spec) {
  Renamer renamer(spec);
  for (const TensorEntry& entry : file.entries()) renamer.add(entry);
  return Checkpoint::from_entries(file.maps(), renamer.finish());
}

}  // namespace moxie
