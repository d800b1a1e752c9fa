// Normalizers: what a tokenizer does to a text before it splits it. Steps run in order; text grows within a limit.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/regex.h"
#include "text/unicode.h"

namespace moxie::text {

/// A literal or a regular expression.
struct Pattern {
  std::string literal;
  std::optional<Regex> regex;  // if set, `literal` means nothing
};

/// Calls on_span(begin, end, is_match) for the matches of `pattern` and the spans between them, in order; together they
/// cover the text. Matches may be empty, spans between are not.
template <typename OnSpan>
void for_each_span(const Pattern& pattern, Regex::Matcher* matcher, std::string_view text, OnSpan on_span);

struct Prepend {
  std::string text;
};
struct Replace {
  Pattern pattern;
  std::string content;
};
struct StripSpace {
  bool left, right;
};
struct Lowercase {};
struct CollapseSpaces {};  // SentencePiece's remove_extra_whitespaces: U+0020 at both ends goes, runs become one

using NormalizerStep = std::variant<NormalForm, Prepend, Replace, StripSpace, Lowercase, CollapseSpaces>;

class Normalizer {
 public:
  Normalizer() = default;
  Normalizer(std::vector<NormalizerStep> steps, std::string where)
      : steps_(std::move(steps)), where_(std::move(where)) {}

  const std::vector<NormalizerStep>& steps() const { return steps_; }

  /// The normalised text: `text` itself if nothing changes, else a view of `buffer`. Throws Error{invalid} if a step
  /// makes the text more than 32 times longer (and 64 KiB) than it came.
  std::string_view apply(std::string_view text, std::string& buffer) const;

 private:
  std::vector<NormalizerStep> steps_;
  std::string where_;
};

template <typename OnSpan>
void for_each_span(const Pattern& pattern, Regex::Matcher* matcher, std::string_view text, OnSpan on_span) {
  size_t done = 0;  // all before is reported
  size_t from = 0;
  while (from <= text.size()) {
    size_t begin = 0, end = 0;
    if (matcher != nullptr) {
      if (!matcher->find(text, from, begin, end)) break;
    } else {
      begin = pattern.literal.empty() ? std::string_view::npos : text.find(pattern.literal, from);
      if (begin == std::string_view::npos) break;
      end = begin + pattern.literal.size();
    }
    if (begin > done) on_span(done, begin, false);
    on_span(begin, end, true);
    done = end;
    from = end;
    if (begin == end) {  // step over one character
      if (end >= text.size()) break;
      next_code_point(text, from);
    }
  }
  if (done < text.size()) on_span(done, text.size(), false);
}

}  // namespace moxie::text
