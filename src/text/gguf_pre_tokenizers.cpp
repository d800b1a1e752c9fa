// How tokenizer.ggml.pre splits a text into words: a table from its names to the patterns of the models' own tokenizer
// files, or, where those say it otherwise, of llama.cpp (src/llama-vocab.cpp), which chose the names.
#include <algorithm>
#include <initializer_list>
#include <span>

#include "base/error.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json.h"

namespace moxie::text {
namespace {

using Patterns = std::span<const std::string_view>;

constexpr std::string_view kDigit = R"(\p{N})";
constexpr std::string_view kThreeDigits = "[0-9][0-9][0-9]";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|)"
    R"(\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4oWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekkenWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kKimiWords =
    R"([\p{Han}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kBailingWords =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kSeedWords =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kBloomWords = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+";
constexpr std::string_view kCjk = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+";

constexpr std::string_view kDefault[] = {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", kThreeDigits};
constexpr std::string_view kGpt2[] = {kGpt2Pattern};
constexpr std::string_view kDigitsThenGpt2[] = {kDigit, kGpt2Pattern};
constexpr std::string_view kFalcon[] = {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2Pattern, kThreeDigits};
constexpr std::string_view kLlama3s[] = {kLlama3};
constexpr std::string_view kQwen2[] = {kQwen2Words};
constexpr std::string_view kQwen35[] = {kQwen35Words};
constexpr std::string_view kGpt4o[] = {kGpt4oWords};
constexpr std::string_view kTekken[] = {kTekkenWords};
constexpr std::string_view kKimi[] = {kKimiWords};
constexpr std::string_view kBailing[] = {kBailingWords};
constexpr std::string_view kSeed[] = {kSeedWords};
constexpr std::string_view kBloom[] = {kBloomWords};
constexpr std::string_view kViking[] = {kBloomWords, kDigit};
constexpr std::string_view kDeepseekCoder[] = {"[\r\n]", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kCjk, kDigit};
constexpr std::string_view kDeepseekLlm[] = {
    "[\r\n]",
    "\\s?[A-Za-z"
    "\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481"
    "\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b"
    "\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59"
    "\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3"
    "\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d"
    "\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184"
    "\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787"
    "\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f"
    "\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    "\U0001e900-\U0001e943]+",
    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    R"(\s+$)",
    kCjk,
    kDigit};
constexpr std::string_view kDeepseekV3[] = {
    R"(\p{N}{1,3})", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};

struct Row {
  std::string_view name;
  Patterns patterns;
  bool ignore_merges = false;
  bool add_bos = false;
  bool nfc = false;
};

constexpr Row kRows[] = {
    {"bailingmoe", kBailing},
    {"bailingmoe2", kBailing},
    {"bloom", kBloom},
    {"chatglm-bpe", kLlama3s},
    {"codeshell", kDigitsThenGpt2},
    {"command-r", kDigitsThenGpt2},
    {"dbrx", kLlama3s},
    {"deepseek-coder", kDeepseekCoder},
    {"deepseek-llm", kDeepseekLlm},
    {"deepseek-r1-qwen", kQwen2, false, false, true},
    {"deepseek-v3", kDeepseekV3},
    {"default", kDefault},
    {"exaone", kDigitsThenGpt2},
    {"exaone4", kGpt2},
    {"falcon", kFalcon},
    {"falcon-h1", kLlama3s, true, true},
    {"falcon3", kLlama3s, true, true},
    {"gigachat", kGpt2},
    {"glm4", kLlama3s, true},
    {"glm5", kLlama3s, true},
    {"gpt-2", kGpt2},
    {"gpt-4o", kGpt4o},
    {"gpt3-finnish", kBloom},
    {"granite-docling", kGpt2},
    {"grok-2", kQwen2},
    {"hunyuan", kQwen2},
    {"hunyuan-dense", kDeepseekV3},
    {"jais", kGpt2},
    {"kanana2", kGpt4o},
    {"kimi-k2", kKimi},
    {"lfm2", kLlama3s, true, true},
    {"llada-moe", kBailing},
    {"llama-bpe", kLlama3s, true, true},
    {"llama-v3", kLlama3s, true, true},
    {"llama3", kLlama3s, true, true},
    {"llama4", kGpt4o},
    {"megrez", kQwen2},
    {"mellum", kGpt2},
    {"midm-2.0", kLlama3s, true, true},
    {"minerva-7b", kDigitsThenGpt2},
    {"minimax-m2", kGpt4o},
    {"modern-bert", kGpt2},
    {"mpt", kGpt2},
    {"olmo", kGpt2},
    {"phi-2", kGpt2},
    {"pixtral", kLlama3s, true, true},
    {"poro-chat", kBloom},
    {"qwen2", kQwen2, false, false, true},
    {"qwen35", kQwen35},
    {"refact", kDigitsThenGpt2},
    {"seed-coder", kSeed},
    {"smaug-bpe", kLlama3s},
    {"smollm", kDigitsThenGpt2},
    {"solar-open", kQwen2},
    {"stablelm2", kQwen2},
    {"starcoder", kDigitsThenGpt2},
    {"tekken", kTekken, true, true},
    {"trillion", kGpt2},
    {"viking", kViking},
};

// Of names that mean the same, those that llama.cpp has longest.
constexpr std::string_view kFirstChoice[] = {"gpt-2",        "llama-bpe",      "qwen2",  "gpt-4o", "deepseek-v3",
                                             "deepseek-llm", "deepseek-coder", "falcon", "dbrx",   "starcoder",
                                             "stablelm2",    "bailingmoe",     "bloom"};

// Some files write line ends in patterns as such, some as escapes.
std::string with_escapes(std::string_view pattern) {
  std::string out;
  for (const char c : pattern) out += c == '\r' ? "\\r" : c == '\n' ? "\\n" : std::string(1, c);
  return out;
}

// The patterns of stages that do nothing but split around matches; empty if one does more.
std::vector<std::string> patterns_of(const PreTokenizer& stages) {
  std::vector<std::string> patterns;
  for (const PreTokenizerStage& stage : stages) {
    const auto* split = std::get_if<Split>(&stage);
    const bool plain = split != nullptr && split->pattern.regex && !split->invert;
    if (!plain || split->behavior != SplitBehavior::isolated) return {};
    patterns.push_back(with_escapes(split->pattern.regex->pattern()));
  }
  return patterns;
}

bool is_nfc(const Normalizer& normalizer) {
  return normalizer.steps().size() == 1 && std::holds_alternative<NormalForm>(normalizer.steps()[0]) &&
         std::get<NormalForm>(normalizer.steps()[0]) == NormalForm::nfc;
}

}  // namespace

std::string gguf_pre_name(const Parts& parts) {
  const std::vector<std::string> patterns = patterns_of(parts.pre_tokenizer);
  const bool nfc = is_nfc(parts.normalizer);
  if (patterns.empty() || (!nfc && !parts.normalizer.steps().empty())) return "";
  const auto rank = [&](const Row& row) {  // the lower the better
    const auto* choice = std::find(std::begin(kFirstChoice), std::end(kFirstChoice), row.name);
    return (row.nfc == nfc ? 0 : 1000) + (choice - std::begin(kFirstChoice));
  };
  const Row* best = nullptr;
  for (const Row& row : kRows) {
    const bool splits_so = std::equal(row.patterns.begin(), row.patterns.end(), patterns.begin(), patterns.end(),
                                      [](std::string_view a, const std::string& b) { return with_escapes(a) == b; });
    if (!splits_so || row.ignore_merges != parts.bpe.options().ignore_merges) continue;
    if (best == nullptr || rank(row) < rank(*best)) best = &row;
  }
  return best == nullptr ? "" : std::string(best->name);
}

GgufPreTokenizer gguf_pre_tokenizer(const GgufKeys& keys) {
  constexpr std::string_view kKey = "tokenizer.ggml.pre";
  const std::string name = keys.string(kKey).value_or("default");
  const auto row = std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& r) { return r.name == name; });
  if (row == std::end(kRows)) {
    std::string known;
    for (const Row& each : kRows) known += fmt::format("{}{}", known.empty() ? "" : ", ", each.name);
    keys.fail(kKey, "one of " + known, fmt::format("\"{}\"", printable(name)));
  }
  GgufPreTokenizer out{.ignore_merges = row->ignore_merges, .add_bos = row->add_bos, .nfc = row->nfc};
  for (const std::string_view pattern : row->patterns) {
    out.stages.emplace_back(Split{.pattern = {.regex = Regex(pattern, keys.source() + ": " + std::string(kKey))}});
  }
  return out;
}

}  // namespace moxie::text
