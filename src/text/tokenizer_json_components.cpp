// The components of tokenizer.json around the model: normalizers, pre-tokenizers, decoders, post-processors.
#include <algorithm>

#include "base/error.h"
#include "text/tokenizer_json.h"

namespace moxie::text {
namespace {

constexpr int kMaxDepth = 16;  // of Sequences within Sequences

// Calls on_part for the members of the Sequence's list; `depth` counts the brackets of the path.
template <typename OnPart>
void for_each_part(const Fields& sequence, std::string_view list, OnPart on_part) {
  const json::Array& items = sequence.array(list);
  const std::string path = sequence.where();
  if (std::count(path.begin(), path.end(), '[') > kMaxDepth)
    sequence.fail(list, "fewer Sequences within Sequences", "more");
  const std::string base = path.substr(path.rfind(": ") + 2);
  for (size_t i = 0; i < items.size(); ++i) {
    on_part(Fields(items[i], sequence.source(), fmt::format("{}.{}[{}]", base, list, i)));
  }
}

// {"String": "..."} or {"Regex": "..."}; plain strings occur too.
Pattern read_pattern(const Fields& fields) {
  const json::Value* value = fields.find("pattern");
  if (value != nullptr && value->is_string()) return {.literal = value->as_string()};
  const Fields pattern = fields.object("pattern");
  if (pattern.find("String") != nullptr) return {.literal = pattern.string("String")};
  return {.regex = Regex(pattern.string("Regex"), pattern.where("Regex"))};
}

Pattern regex(std::string_view pattern, const Fields& fields) {
  return {.regex = Regex(pattern, fields.where())};
}

SplitBehavior read_behavior(const Fields& fields, std::string_view otherwise) {
  const std::string name = fields.string("behavior", otherwise);
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  fields.fail("behavior", "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous",
              fmt::format("\"{}\"", printable(name)));
}

bool prepends(const Fields& fields, Metaspace::Prepend& prepend) {
  const std::string scheme =
      fields.string("prepend_scheme", fields.boolean("add_prefix_space", true) ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    fields.fail("prepend_scheme", "always, first or never", fmt::format("\"{}\"", printable(scheme)));
  }
  prepend = scheme == "always"  ? Metaspace::Prepend::always
            : scheme == "first" ? Metaspace::Prepend::first
                                : Metaspace::Prepend::never;
  return prepend != Metaspace::Prepend::never;
}

std::string read_replacement(const Fields& fields) {
  std::string replacement = fields.string("replacement", "\xe2\x96\x81");
  size_t end = 0;
  if (!replacement.empty()) next_code_point(replacement, end);
  if (end != replacement.size() || replacement.empty()) fields.fail("replacement", "one character", "another number");
  return replacement;
}

int32_t id_of(const Fields& fields, std::string_view token, const Vocab& vocab, const std::vector<AddedToken>& added) {
  for (const AddedToken& candidate : added) {
    if (candidate.content == token) return candidate.id;
  }
  const int32_t id = vocab.find(token);
  if (id < 0) fields.fail({}, "tokens of the vocabulary", fmt::format("\"{}\"", printable(token)));
  return id;
}

// The "single" template: special tokens, then sequence A, then special tokens.
void read_template(const Fields& fields, const Vocab& vocab, const std::vector<AddedToken>& added,
                   std::vector<int32_t>& prefix, std::vector<int32_t>& suffix) {
  std::vector<int32_t> before, after;
  bool seen = false;
  for_each_part(fields, "single", [&](const Fields& part) {
    if (part.find("Sequence") != nullptr) {
      if (seen || part.object("Sequence").string("id", "A") != "A") part.fail({}, "one sequence A", "another");
      seen = true;
      return;
    }
    const std::string name = part.object("SpecialToken").string("id");
    const Fields table = fields.object("special_tokens");
    const Fields token = table.object(name);
    for (const json::Value& item : token.array("ids")) {
      const std::optional<int64_t> id = item.as_int();
      const auto is_that = [&](const AddedToken& candidate) { return candidate.id == id; };
      const bool known = id && *id >= 0 && *id <= INT32_MAX &&
                         (vocab.has(static_cast<int32_t>(*id)) || std::any_of(added.begin(), added.end(), is_that));
      if (!known) token.fail("ids", "ids of tokens", id ? fmt::format("{}", *id) : "something else");
      (seen ? after : before).push_back(static_cast<int32_t>(*id));
    }
  });
  if (!seen) fields.fail("single", "a part {\"Sequence\": ...}", "none");
  prefix.insert(prefix.begin(), before.begin(), before.end());
  suffix.insert(suffix.end(), after.begin(), after.end());
}

}  // namespace

void read_normalizer(const Fields& fields, std::vector<NormalizerStep>& steps) {
  const std::string type = fields.type();
  if (type == "Sequence") {
    for_each_part(fields, "normalizers", [&](const Fields& part) { read_normalizer(part, steps); });
  } else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    steps.emplace_back(type == "NFC"    ? NormalForm::nfc
                       : type == "NFD"  ? NormalForm::nfd
                       : type == "NFKC" ? NormalForm::nfkc
                                        : NormalForm::nfkd);
  } else if (type == "Prepend") {
    steps.emplace_back(Prepend{fields.string("prepend")});
  } else if (type == "Replace") {
    steps.emplace_back(Replace{read_pattern(fields), fields.string("content")});
  } else if (type == "Strip") {
    steps.emplace_back(StripSpace{fields.boolean("strip_left", true), fields.boolean("strip_right", true)});
  } else if (type == "Lowercase") {
    steps.emplace_back(Lowercase{});
  } else {
    fields.unsupported("Sequence, NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip, Lowercase");
  }
}

void read_pre_tokenizer(const Fields& fields, PreTokenizer& stages, bool& byte_level) {
  const std::string type = fields.type();
  if (byte_level && type != "Sequence") {
    fields.fail("type", "ByteLevel as the last pre-tokenizer", fmt::format("\"{}\" after it", printable(type)));
  }
  if (type == "Sequence") {
    for_each_part(fields, "pretokenizers", [&](const Fields& part) { read_pre_tokenizer(part, stages, byte_level); });
  } else if (type == "ByteLevel") {
    byte_level = true;
    if (fields.boolean("add_prefix_space", true)) stages.emplace_back(PrefixSpace{});
    if (fields.boolean("use_regex", true)) stages.emplace_back(Split{.pattern = regex(kGpt2Pattern, fields)});
  } else if (type == "Split") {
    stages.emplace_back(
        Split{read_pattern(fields), read_behavior(fields, "Isolated"), fields.boolean("invert", false)});
  } else if (type == "Digits") {
    const bool individual = fields.boolean("individual_digits", false);
    const SplitBehavior behavior = individual ? SplitBehavior::isolated : SplitBehavior::contiguous;
    stages.emplace_back(Split{.pattern = regex("\\p{N}", fields), .behavior = behavior});
  } else if (type == "Punctuation") {
    stages.emplace_back(Split{regex("[!-/:-@\\[-`{-~\\p{P}]", fields), read_behavior(fields, "Isolated")});
  } else if (type == "Whitespace") {
    stages.emplace_back(Split{regex("\\w+|[^\\w\\s]+", fields), SplitBehavior::removed, true});
  } else if (type == "WhitespaceSplit") {
    stages.emplace_back(Split{regex("\\s", fields), SplitBehavior::removed});
  } else if (type == "Metaspace") {
    Metaspace metaspace{.replacement = read_replacement(fields), .split = fields.boolean("split", true)};
    prepends(fields, metaspace.prepend);
    stages.emplace_back(std::move(metaspace));
  } else {
    fields.unsupported("Sequence, ByteLevel, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, Metaspace");
  }
}

void read_decoder(const Fields& fields, std::vector<DecoderStep>& steps) {
  const std::string type = fields.type();
  if (type == "Sequence") {
    for_each_part(fields, "decoders", [&](const Fields& part) { read_decoder(part, steps); });
  } else if (type == "ByteLevel") {
    steps.emplace_back(ByteLevelDecoder{});
  } else if (type == "Metaspace") {
    Metaspace::Prepend prepend{};
    const bool drop = prepends(fields, prepend);
    steps.emplace_back(MetaspaceDecoder{read_replacement(fields), drop});
  } else if (type == "Replace") {
    steps.emplace_back(Replace{read_pattern(fields), fields.string("content")});
  } else if (type == "ByteFallback") {
    steps.emplace_back(ByteFallbackDecoder{});
  } else if (type == "Fuse") {
    steps.emplace_back(FuseDecoder{});
  } else if (type == "Strip") {
    const int64_t start = fields.integer("start", 0);
    const int64_t stop = fields.integer("stop", 0);
    const std::string content = fields.string("content");
    if (start < 0 || stop < 0 || start > 1000 || stop > 1000)
      fields.fail("start", "start and stop of 0 to 1000", "others");
    if (content.empty()) fields.fail("content", "one character", "none");
    steps.emplace_back(StripDecoder{content, static_cast<size_t>(start), static_cast<size_t>(stop)});
  } else {
    fields.unsupported("Sequence, ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip");
  }
}

void read_post_processor(const Fields& fields, const Vocab& vocab, const std::vector<AddedToken>& added,
                         std::vector<int32_t>& prefix, std::vector<int32_t>& suffix) {
  const std::string type = fields.type();
  if (type == "Sequence") {
    for_each_part(fields, "processors",
                  [&](const Fields& part) { read_post_processor(part, vocab, added, prefix, suffix); });
  } else if (type == "TemplateProcessing") {
    read_template(fields, vocab, added, prefix, suffix);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    const auto token = [&](std::string_view key) {
      const json::Array& pair = fields.array(key);
      if (pair.empty() || !pair[0].is_string()) fields.fail(key, "[token, id]", "something else");
      return id_of(fields, pair[0].as_string(), vocab, added);
    };
    prefix.insert(prefix.begin(), token("cls"));
    suffix.push_back(token("sep"));
  } else if (type != "ByteLevel") {  // ByteLevel only moves offsets
    fields.unsupported("Sequence, TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing");
  }
}

}  // namespace moxie::text
