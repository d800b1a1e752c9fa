#include "quantize/mix.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "format/block.h"

namespace moxie {
namespace {

using F = FormatId;

// The numbers are those of llama.cpp's llama_ftype.
constexpr Mix kMixes[] = {
    {"f32", F::f32, 0},          {"f16", F::f16, 1},
    {"bf16", F::bf16, 32},       {"q8_0", F::q8_0, 7},
    {"q6_k", F::q6_k, 18},       {"q5_k_m", F::q5_k, 17},
    {"q5_k_s", F::q5_k, 16},     {"q5_1", F::q5_1, 9},
    {"q5_0", F::q5_0, 8},        {"q4_k_m", F::q4_k, 15},
    {"q4_k_s", F::q4_k, 14},     {"q4_1", F::q4_1, 3},
    {"q4_0", F::q4_0, 2},        {"iq4_nl", F::iq4_nl, 25},
    {"iq4_xs", F::iq4_xs, 30},   {"mxfp4_moe", F::mxfp4_block, 38},
    {"q3_k_l", F::q3_k, 13},     {"q3_k_m", F::q3_k, 12},
    {"q3_k_s", F::q3_k, 11},     {"iq3_s", F::iq3_s, 26},
    {"iq3_xxs", F::iq3_xxs, 23}, {"q2_k", F::q2_k, 10},
    {"iq2_xs", F::iq2_xs, 20},   {"iq2_xxs", F::iq2_xxs, 19},
};

constexpr std::pair<std::string_view, std::string_view> kShort[] = {
    {"q3_k", "q3_k_m"}, {"q4_k", "q4_k_m"}, {"q5_k", "q5_k_m"}, {"mxfp4", "mxfp4_moe"}};

constexpr F kWritable[] = {F::f32,    F::f16,   F::bf16,    F::q4_0,  F::q4_1,   F::q5_0,   F::q5_1,
                           F::q8_0,   F::q2_k,  F::q3_k,    F::q4_k,  F::q5_k,   F::q6_k,   F::iq2_xxs,
                           F::iq2_xs, F::iq2_s, F::iq3_xxs, F::iq3_s, F::iq4_nl, F::iq4_xs, F::mxfp4_block};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool has(std::string_view name, std::string_view part) {
  return name.find(part) != std::string_view::npos;
}

int64_t layer_of(std::string_view name) {
  constexpr std::string_view prefix = "blk.";
  int64_t layer = 0;
  if (name.starts_with(prefix)) std::from_chars(name.data() + prefix.size(), name.data() + name.size(), layer);
  return layer;
}

/// The rules for one tensor. `is`: whether the mix is one of those.
class Rules {
 public:
  Rules(const Mix& mix, const MixFacts& facts, std::string_view name)
      : mix_(mix), facts_(facts), name_(name), i_(layer_of(name)), n_(facts.num_layers) {}

  F choose(const Shape& shape) const {
    if (name_ == "output.weight" || (name_ == "token_embd.weight" && facts_.tied)) return head(shape);
    if (is({"mxfp4_moe"})) return has(name_, "_exps.") ? F::mxfp4_block : F::q8_0;
    if (name_ == "token_embd.weight") return embedding();
    if (is({"iq2_xxs", "iq2_xs"})) return two_bits();
    if (is_value()) return value();
    if (has(name_, "attn_k.weight")) {
      return facts_.num_experts == 8 ? F::q8_0 : is({"iq3_xxs"}) ? F::iq2_s : mix_.base;
    }
    if (has(name_, "attn_q.weight")) return is({"iq3_xxs"}) ? F::iq2_s : mix_.base;
    if (has(name_, "ffn_down")) return down();
    if (has(name_, "attn_output.weight")) return attention_output();
    return mix_.base;
  }

 private:
  bool is(std::initializer_list<std::string_view> names) const {
    return std::find(names.begin(), names.end(), mix_.name) != names.end();
  }
  bool more_bits() const { return i_ < n_ / 8 || i_ >= 7 * n_ / 8 || (i_ - n_ / 8) % 3 == 2; }
  bool is_value() const {
    return has(name_, "attn_v.weight") || has(name_, "attn_qkv.weight") || has(name_, "attn_kv_b.weight");
  }
  bool shares_values() const { return facts_.heads_per_kv >= 4; }

  F head(const Shape& shape) const {
    if (is({"mxfp4_moe"}) || shape.back() % format_info(mix_.base).block_elems != 0) return F::q8_0;
    if (is({"iq2_xxs", "iq2_xs", "iq3_xxs"})) return F::q5_k;
    return mix_.base == F::q8_0 ? F::q8_0 : F::q6_k;
  }

  F embedding() const { return is({"iq2_xxs", "iq2_xs"}) ? F::q2_k : is({"iq3_xxs"}) ? F::iq3_s : mix_.base; }

  F two_bits() const {
    if (is_value()) return shares_values() || facts_.num_experts >= 4 ? F::q4_k : F::q2_k;
    if (facts_.num_experts == 8 && has(name_, "attn_k.weight")) return F::q4_k;
    if (has(name_, "ffn_down")) return i_ < n_ / 8 ? F::q2_k : mix_.base;
    if (facts_.num_experts == 8 && has(name_, "attn_output.weight")) return F::q5_k;
    return mix_.base;
  }

  F value() const {
    if (facts_.num_experts == 8) return F::q8_0;
    F format = mix_.base;
    if (is({"q2_k"})) format = shares_values() ? F::q4_k : F::q3_k;
    if (is({"iq3_xxs"})) format = shares_values() ? F::q4_k : F::iq3_s;
    if (is({"iq3_s"}) && shares_values()) format = F::q4_k;
    if (is({"q3_k_m"})) format = i_ < 2 ? F::q5_k : F::q4_k;
    if (is({"q3_k_l"})) format = F::q5_k;
    if (is({"iq4_nl", "iq4_xs"}) && shares_values()) format = F::q5_k;
    if (is({"q4_k_m", "q5_k_m"}) && more_bits()) format = F::q6_k;
    if (is({"q4_k_s"}) && i_ < 4) format = F::q5_k;
    // Llama 2 and 3 of 70B share each value head among eight: it costs little to keep it better.
    const bool is_70b = facts_.architecture == "llama" && n_ == 80 && facts_.heads_per_kv > 1;
    return is_70b && (format == F::q3_k || format == F::q4_k) ? F::q5_k : format;
  }

  F down() const {
    if (is({"q2_k"})) return F::q3_k;
    if (is({"iq3_xxs"})) return i_ < n_ / 8 ? F::q4_k : F::q3_k;
    if (is({"q3_k_m"})) return i_ < n_ / 16 ? F::q5_k : F::q4_k;
    if (is({"q3_k_l"})) return F::q5_k;
    if (is({"q4_k_m", "q5_k_m"})) return more_bits() ? F::q6_k : mix_.base;
    if (is({"iq4_nl", "iq4_xs", "q4_k_s"})) return i_ < n_ / 8 ? F::q5_k : mix_.base;
    return mix_.base;
  }

  F attention_output() const {
    if (facts_.num_experts == 8) {
      const bool better = is({"q2_k", "iq3_xxs", "q3_k_s", "q3_k_m", "iq4_nl", "q4_k_s", "q4_k_m", "iq3_s", "iq4_xs"});
      return better ? F::q5_k : mix_.base;
    }
    if (is({"q2_k"})) return F::q3_k;
    if (is({"iq3_xxs"})) return F::iq3_s;
    if (is({"q3_k_m"})) return F::q4_k;
    return is({"q3_k_l"}) ? F::q5_k : mix_.base;
  }

  const Mix& mix_;
  const MixFacts& facts_;
  std::string_view name_;
  int64_t i_, n_;  // layer, and of how many
};

}  // namespace

std::optional<Mix> find_mix(std::string_view name) {
  std::string wanted = lower(name);
  for (const auto& [shorter, whole] : kShort) {
    if (wanted == shorter) wanted = whole;
  }
  const auto* at =
      std::find_if(std::begin(kMixes), std::end(kMixes), [&](const Mix& mix) { return mix.name == wanted; });
  if (at == std::end(kMixes)) return std::nullopt;
  return *at;
}

std::vector<std::string> mix_names() {
  std::vector<std::string> names;
  for (const Mix& mix : kMixes) names.emplace_back(mix.name);
  return names;
}

bool may_be_quantized(std::string_view name, const Shape& shape) {
  const bool matrix = shape.rank() >= 2 && shape.num_elems() > shape.back();
  return matrix && name.ends_with("weight") && !has(name, "_norm.weight") && !has(name, "ffn_gate_inp.weight");
}

FormatId mix_format(const Mix& mix, const MixFacts& facts, std::string_view name, const Shape& shape) {
  if (!is_block_format(mix.base)) return mix.base;
  return Rules(mix, facts, name).choose(shape);
}

FormatId fitting_format(FormatId format, int64_t columns) {
  const auto fits = [&](F id) { return columns % format_info(id).block_elems == 0; };
  if (fits(format)) return format;
  F other = format;
  switch (format) {
    case F::iq2_xxs:
    case F::iq2_xs:
    case F::iq2_s:
    case F::iq3_xxs:
    case F::iq3_s:
    case F::iq4_xs:
      other = F::iq4_nl;
      break;
    case F::q2_k:
    case F::q3_k:
      other = F::q4_0;
      break;
    case F::q4_k:
      other = F::q5_0;
      break;
    case F::q5_k:
      other = F::q5_1;
      break;
    case F::q6_k:
      other = F::q8_0;
      break;
    default:
      break;
  }
  return fits(other) ? other : F::f16;
}

std::optional<FormatId> find_writable_format(std::string_view name) {
  const std::string wanted = lower(name);
  if (wanted == "mxfp4") return F::mxfp4_block;
  const auto* at =
      std::find_if(std::begin(kWritable), std::end(kWritable), [&](F format) { return format_name(format) == wanted; });
  if (at == std::end(kWritable)) return std::nullopt;
  return *at;
}

std::vector<std::string> writable_format_names() {
  std::vector<std::string> names;
  for (const F format : kWritable) names.emplace_back(format == F::mxfp4_block ? "mxfp4" : format_name(format));
  return names;
}

bool fits_glob(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || (pattern[p] == text[t] && pattern[p] != '*'))) {
      ++p;
      ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

}  // namespace moxie
