#include "spec/hf_config.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "base/error.h"
#include "spec/families/families.h"
#include "spec/gguf_draft.h"
#include "spec/rope.h"

namespace moxie {
namespace {

// Whether a rotary embedding turns as the slowdowns of `rope` say, but for their rounding.
bool turns_alike(const RopeSpec& rope, const RopeSpec& llama3) {
  const std::vector<float> want = rope_inverse_frequencies(rope, 0), got = rope_inverse_frequencies(llama3, 0);
  for (size_t i = 0; i < want.size(); ++i) {
    if (!(std::fabs(want[i] - got[i]) <= 1e-4f * want[i])) return false;
  }
  return true;
}

// Llama 3.1 slows a frequency by s: 1/s = (1 - m) / factor + m, with m = (context / wavelength - low) / (high - low)
// held between 0 and 1. With low = 1, as in every published model, m is a line over 1 / wavelength that two
// frequencies between the ends tell whole; one tells it if high = 4, and none if the context is 8192, too.
std::optional<RopeSpec> llama3_of(const RopeSpec& rope) {
  RopeSpec made = rope;
  made.slowdowns.clear();
  made.scaling = RopeScaling::llama3;
  made.factor = decimal_of(*std::max_element(rope.slowdowns.begin(), rope.slowdowns.end()));
  made.low_freq_factor = 1;
  std::vector<std::pair<double, double>> between;  // 1 / wavelength, m
  RopeSpec plain = rope;
  plain.slowdowns.clear();
  const std::vector<float> frequencies = rope_inverse_frequencies(plain, 0);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double m = (1 / rope.slowdowns[i] - 1 / made.factor) / (1 - 1 / made.factor);
    if (m > 1e-6 && m < 1 - 1e-6) between.emplace_back(frequencies[i] / (2 * std::numbers::pi), m);
  }
  const auto fits = [&](double high, double context) {
    made.high_freq_factor = std::round(high * 1000) / 1000;
    made.original_max_position = std::round(context);
    const bool sane = made.high_freq_factor > 1 && made.original_max_position >= 1 && context < 1e9;
    return sane && turns_alike(rope, made);
  };
  if (between.size() >= 2) {
    const auto [x0, m0] = between.front();
    const auto [x1, m1] = between.back();
    const double slope = (m0 - m1) / (x0 - x1), at_zero = m0 - slope * x0;
    if (fits(1 - 1 / at_zero, -slope / at_zero)) return made;
  }
  if (between.size() == 1 && fits(4, (1 + 3 * between[0].second) / between[0].first)) return made;
  return fits(4, 8192) ? std::optional(made) : std::nullopt;
}

json::Value scaling_of(const RopeSpec& llama3) {
  json::Value out;
  out.set("rope_type", "llama3").set("type", "llama3").set("factor", llama3.factor);
  out.set("low_freq_factor", llama3.low_freq_factor).set("high_freq_factor", llama3.high_freq_factor);
  return out.set("original_max_position_embeddings", static_cast<int64_t>(llama3.original_max_position));
}

// Newer readers ask for rope_type, older ones for type.
json::Value with_both_names(const json::Value& scaling) {
  json::Value out = scaling;
  const json::Value *now = scaling.find("rope_type"), *before = scaling.find("type");
  if (now != nullptr && before == nullptr) out.set("type", *now);
  if (now == nullptr && before != nullptr) out.set("rope_type", *before);
  return out;
}

bool is_left_out(std::string_view key) {
  constexpr std::string_view keys[] = {"torch_dtype", "dtype", "quantization_config", "num_nextn_predict_layers"};
  return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
}

std::string_view architecture_of(const ModelSpec& spec) {
  for (const Family& family : families()) {
    if (family.model_type == spec.family) return family.architecture;
  }
  return {};
}

}  // namespace

json::Value hf_config(const json::Value& config, const ModelSpec& spec, std::string_view dtype,
                      const std::string& source) {
  json::Value out;
  if (config.find("architectures") == nullptr) {
    out.set("architectures", json::Array{json::Value(architecture_of(spec))});
  }
  const bool slowed = !spec.rope.slowdowns.empty();
  for (const json::Member& member : config.members()) {
    const bool scaling = member.key == "rope_scaling";
    if (is_left_out(member.key) || (scaling && slowed)) continue;
    out.set(member.key, scaling && member.value.is_object() ? with_both_names(member.value) : member.value);
  }
  if (config.find("hidden_act") == nullptr) out.set("hidden_act", "silu");
  if (slowed) {
    const std::optional<RopeSpec> llama3 = llama3_of(spec.rope);
    if (!llama3) {
      throw invalid({.where = source + ": rope_freqs.weight",
                     .expected = "the factors of Llama 3.1's rope_scaling, the only ones that a config.json can say",
                     .got = "others"});
    }
    out.set("rope_scaling", scaling_of(*llama3));
  }
  return out.set("torch_dtype", std::string(dtype));
}

}  // namespace moxie
