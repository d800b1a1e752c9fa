#include "text/tokenizer_json_write.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "text/byte_letters.h"

namespace moxie::text {
namespace {

json::Value typed(std::string_view type) {
  json::Value part;
  return part.set("type", type);
}

json::Value sequence(std::string_view list, json::Value parts) {
  return typed("Sequence").set(std::string(list), std::move(parts));
}

json::Value pattern_of(const Pattern& pattern) {
  json::Value out;
  return pattern.regex ? out.set("Regex", pattern.regex->pattern()) : out.set("String", pattern.literal);
}

json::Value replace(Pattern pattern, std::string_view content) {
  return typed("Replace").set("pattern", pattern_of(pattern)).set("content", content);
}

json::Value byte_level() {
  return typed("ByteLevel").set("add_prefix_space", false).set("trim_offsets", true).set("use_regex", false);
}

// ---- the parts around the model ----

struct NormalizerPart {
  json::Value& out;

  void operator()(NormalForm form) const {
    constexpr std::string_view names[] = {"NFC", "NFD", "NFKC", "NFKD"};
    out.push(typed(names[static_cast<size_t>(form)]));
  }
  void operator()(const Prepend& step) const { out.push(typed("Prepend").set("prepend", step.text)); }
  void operator()(const Replace& step) const { out.push(replace(step.pattern, step.content)); }
  void operator()(StripSpace step) const {
    out.push(typed("Strip").set("strip_left", step.left).set("strip_right", step.right));
  }
  void operator()(Lowercase) const { out.push(typed("Lowercase")); }
  void operator()(CollapseSpaces) const {
    out.push(replace({.regex = Regex("\\A +| +\\z", "spaces at the ends")}, ""));
    out.push(replace({.regex = Regex(" {2,}", "runs of spaces")}, " "));
  }
};

json::Value normalizer(const Parts& parts) {
  json::Value steps{json::Array{}};
  for (const NormalizerStep& step : parts.normalizer.steps()) std::visit(NormalizerPart{steps}, step);
  return steps.items().empty() ? json::Value() : sequence("normalizers", std::move(steps));
}

std::string_view behavior_of(SplitBehavior behavior) {
  constexpr std::string_view names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
  return names[static_cast<size_t>(behavior)];
}

json::Value pre_tokenizer(const Parts& parts) {
  json::Value stages{json::Array{}};
  for (const PreTokenizerStage& stage : parts.pre_tokenizer) {
    if (std::holds_alternative<MarkerSplit>(stage)) continue;  // changes no ids
    const auto* split = std::get_if<Split>(&stage);
    MOXIE_CHECK(split != nullptr);  // the formats this is for have no other stages
    stages.push(typed("Split")
                    .set("pattern", pattern_of(split->pattern))
                    .set("behavior", behavior_of(split->behavior))
                    .set("invert", split->invert));
  }
  if (parts.bpe.options().byte_level) stages.push(byte_level());
  return stages.items().empty() ? json::Value() : sequence("pretokenizers", std::move(stages));
}

json::Value decoder(const Parts& parts) {
  if (parts.bpe.options().byte_level) return byte_level();
  json::Value steps{json::Array{}};
  for (const DecoderStep& step : parts.decoder.steps()) {
    if (const auto* replacement = std::get_if<Replace>(&step)) {
      steps.push(replace(replacement->pattern, replacement->content));
    } else {
      MOXIE_CHECK(std::holds_alternative<ByteFallbackDecoder>(step));
      steps.push(typed("ByteFallback"));
    }
  }
  steps.push(typed("Fuse"));
  if (parts.decoder.strip_start() > 0) {
    const auto start = static_cast<int64_t>(parts.decoder.strip_start());
    steps.push(typed("Strip").set("content", parts.decoder.strip_content()).set("start", start).set("stop", 0));
  }
  return sequence("decoders", std::move(steps));
}

// What stands around a text, and around each of two.
json::Value post_processor(const Parts& parts) {
  if (parts.prefix.empty() && parts.suffix.empty())
    return parts.bpe.options().byte_level ? byte_level() : json::Value();
  json::Value tokens{json::Object{}};
  const auto text = [&](json::Value& out, std::string_view name, int64_t type) {
    const auto add = [&](std::string_view kind, std::string_view id) {
      json::Value item, inner;
      inner.set("id", id).set("type_id", type);
      out.push(item.set(std::string(kind), std::move(inner)));
    };
    for (const int32_t id : parts.prefix) add("SpecialToken", parts.content(id));
    add("Sequence", name);
    for (const int32_t id : parts.suffix) add("SpecialToken", parts.content(id));
  };
  for (const std::vector<int32_t>* ids : {&parts.prefix, &parts.suffix}) {
    for (const int32_t id : *ids) {
      const std::string content(parts.content(id));
      if (tokens.find(content) != nullptr) continue;
      json::Value token;
      token.set("id", content).set("ids", json::Array{json::Value(static_cast<int64_t>(id))});
      tokens.set(content, token.set("tokens", json::Array{json::Value(content)}));
    }
  }
  json::Value single{json::Array{}}, pair{json::Array{}};
  text(single, "A", 0);
  text(pair, "A", 0);
  text(pair, "B", 1);
  return typed("TemplateProcessing")
      .set("single", std::move(single))
      .set("pair", std::move(pair))
      .set("special_tokens", std::move(tokens));
}

// ---- the model ----

json::Value added_token(const Parts& parts, const AddedToken& token) {
  std::string buffer;
  const bool as_normalized = token.normalized && parts.normalizer.apply(token.content, buffer) == token.sought;
  json::Value out;
  out.set("id", static_cast<int64_t>(token.id)).set("content", token.content).set("single_word", token.single_word);
  out.set("lstrip", token.lstrip).set("rstrip", token.rstrip).set("normalized", as_normalized);
  return out.set("special", token.special);
}

// A token as the file writes it: in letters, if texts reach it byte by byte.
std::string written(const Parts& parts, int32_t id) {
  const std::string_view content = parts.content(id);
  const bool in_letters = parts.bpe.options().byte_level && parts.bpe.vocab().find(content) == id;
  return in_letters ? letters_of_bytes(content) : std::string(content);
}

json::Value vocabulary(const Parts& parts) {
  json::Value vocab{json::Object{}};
  for (int32_t id = 0; id < static_cast<int32_t>(parts.pieces.size()); ++id) {
    if (!parts.content(id).empty()) vocab.set(written(parts, id), static_cast<int64_t>(id));
  }
  return vocab;
}

json::Value merges(const Parts& parts) {
  json::Value out{json::Array{}};
  for (const ListedMerge& merge : list_merges(parts.bpe.merges())) {
    const std::string a = written(parts, merge.left), b = written(parts, merge.right);
    // No text has a space left where tokens may hold one, and the list could not be read with it.
    if (a.find(' ') == std::string::npos && b.find(' ') == std::string::npos) out.push(a + " " + b);
  }
  return out;
}

json::Value model(const Parts& parts) {
  const BpeOptions& options = parts.bpe.options();
  json::Value out = typed("BPE").set("dropout", json::Value());
  out.set("unk_token", options.unk < 0 ? json::Value() : json::Value(parts.content(options.unk)));
  out.set("continuing_subword_prefix", json::Value()).set("end_of_word_suffix", json::Value());
  out.set("fuse_unk", options.fuse_unk).set("byte_fallback", options.byte_fallback);
  out.set("ignore_merges", options.ignore_merges);
  return out.set("vocab", vocabulary(parts)).set("merges", merges(parts));
}

}  // namespace

std::string tokenizer_json_of(const Parts& parts) {
  json::Value added{json::Array{}};
  std::vector<const AddedToken*> tokens;
  for (const AddedToken& token : parts.added) tokens.push_back(&token);
  std::sort(tokens.begin(), tokens.end(), [](const auto* a, const auto* b) { return a->id < b->id; });
  for (const AddedToken* token : tokens) added.push(added_token(parts, *token));
  json::Value root;
  root.set("version", "1.0").set("truncation", json::Value()).set("padding", json::Value());
  root.set("added_tokens", std::move(added)).set("normalizer", normalizer(parts));
  root.set("pre_tokenizer", pre_tokenizer(parts)).set("post_processor", post_processor(parts));
  root.set("decoder", decoder(parts)).set("model", model(parts));
  return root.dump() + "\n";
}

}  // namespace moxie::text
