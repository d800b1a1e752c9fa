#include "text/normalizer.h"

#include <utility>

#include "base/error.h"

namespace moxie::text {
namespace {

class Step {
 public:
  Step(std::string_view text, size_t limit, const std::string& where) : text_(text), limit_(limit), where_(where) {}

  // True if `out` holds the new text, false if the step changes nothing.
  bool operator()(NormalForm form) {
    if (is_surely_normal(text_, form)) return false;
    append_normalized(out, text_, form);
    return true;
  }
  bool operator()(const Prepend& step) {
    if (text_.empty()) return false;
    out = step.text;
    out += text_;
    return true;
  }
  bool operator()(const Replace& step) {
    std::optional<Regex::Matcher> matcher;
    if (step.pattern.regex) matcher.emplace(*step.pattern.regex);
    for_each_span(step.pattern, matcher ? &*matcher : nullptr, text_, [&](size_t begin, size_t end, bool is_match) {
      out += is_match ? std::string_view(step.content) : text_.substr(begin, end - begin);
      check_size();
    });
    return true;
  }
  bool operator()(StripSpace step) {
    const size_t left = step.left ? leading_white_space(text_) : 0;
    out = text_.substr(left);
    if (step.right) out.resize(out.size() - trailing_white_space(out));
    return true;
  }
  bool operator()(Lowercase) {
    append_lowercase(out, text_);
    return true;
  }
  bool operator()(CollapseSpaces) {
    for (const char c : text_) {
      if (c != ' ' || (!out.empty() && out.back() != ' ')) out += c;
    }
    if (!out.empty() && out.back() == ' ') out.pop_back();
    return true;
  }

  void check_size() const {
    if (out.size() > limit_) {
      throw invalid({.where = where_ + ": normalizer",
                     .expected = fmt::format("text that grows to at most {} bytes", limit_),
                     .got = fmt::format("{} bytes or more", out.size())});
    }
  }

  std::string out;

 private:
  std::string_view text_;
  size_t limit_;
  const std::string& where_;
};

}  // namespace

std::string_view Normalizer::apply(std::string_view text, std::string& buffer) const {
  const size_t limit = text.size() * 32 + 65536;
  std::string_view current = text;
  for (const NormalizerStep& normalizer_step : steps_) {
    Step step(current, limit, where_);
    if (!std::visit(step, normalizer_step)) continue;
    step.check_size();
    buffer = std::move(step.out);
    current = buffer;
  }
  return current;
}

}  // namespace moxie::text
