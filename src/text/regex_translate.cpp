// Reads a tokenizer's pattern once, refuses what PCRE2 would run away on or read otherwise, and rewrites the rest.
#include <cctype>

#include "base/error.h"
#include "text/regex.h"

namespace moxie::text {
namespace {

constexpr size_t kMaxPatternBytes = 64 * 1024;
// Unicode White_Space, which \s is in Oniguruma and Rust; PCRE2's own \s also holds U+180E.
constexpr std::string_view kWhiteSpace = "\\t-\\r\\x{85}\\p{Z}";
constexpr std::string_view kWord = "\\p{L}\\p{M}\\p{N}\\p{Pc}";  // PCRE2's own \w lacks marks

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string run() {
    if (pattern_.size() > kMaxPatternBytes) {
      throw invalid({.where = where_,
                     .expected = fmt::format("a pattern of at most {} bytes", kMaxPatternBytes),
                     .got = fmt::format("{} bytes", pattern_.size())});
    }
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape(out_, false);
      } else if (c == '[') {
        out_ += character_class();
      } else if (c == '(') {
        group();
      } else {
        out_ += c;
        ++at_;
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw invalid({.where = where_,
                   .expected = "a pattern of literals, classes, groups, alternatives, quantifiers and look-ahead",
                   .got = fmt::format("{} at byte {} of \"{}\"", what, at_, printable(pattern_))});
  }

  bool ahead(std::string_view text) const { return pattern_.substr(at_, text.size()) == text; }

  void escape(std::string& out, bool in_class) {
    if (at_ + 1 >= pattern_.size()) refuse("a lone backslash");
    const char c = pattern_[at_ + 1];
    if (c >= '1' && c <= '9') refuse("a back-reference");
    if (c == 'k' || c == 'g') refuse("a back-reference");
    if (std::string_view("hHKCGQEXRNyYocv").find(c) != std::string_view::npos) {
      refuse(fmt::format("\\{}", c));  // not there, or another meaning, in one of the two flavours
    }
    const std::string_view set = c == 's' || c == 'S' ? kWhiteSpace : c == 'w' || c == 'W' ? kWord : "";
    const bool negated = c == 'S' || c == 'W';
    if (!set.empty() && in_class && !negated) {
      out += set;
    } else if (!set.empty() && !in_class) {
      out += fmt::format("[{}{}]", negated ? "^" : "", set);
    } else if (c == 'u' && at_ + 6 <= pattern_.size()) {
      out += fmt::format("\\x{{{}}}", pattern_.substr(at_ + 2, 4));
      at_ += 4;
    } else {
      out += pattern_.substr(at_, 2);
    }
    at_ += 2;
  }

  void group() {
    if (ahead("(*")) refuse("a verb");
    if (ahead("(?")) {
      if (ahead("(?<=") || ahead("(?<!")) refuse("look-behind");
      const char kind = at_ + 2 < pattern_.size() ? pattern_[at_ + 2] : '\0';
      const char next = at_ + 3 < pattern_.size() ? pattern_[at_ + 3] : '\0';
      if (kind == '(') refuse("a conditional");
      const bool recursion = kind == 'R' || kind == '&' || (kind == 'P' && next != '<') || kind == '+' ||
                             std::isdigit(static_cast<unsigned char>(kind)) != 0 ||
                             (kind == '-' && std::isdigit(static_cast<unsigned char>(next)) != 0);
      if (recursion) refuse("recursion or a back-reference");
      if (kind == 'C' || kind == '|' || kind == '*') refuse("a group of a kind only PCRE2 has");
    }
    out_ += '(';
    ++at_;
  }

  // [...], or [A&&[B]] as a look-ahead for B before one character of A.
  std::string character_class() {
    std::string body = "[";
    std::string condition;
    ++at_;
    if (ahead("^")) body += pattern_[at_++];
    if (ahead("]")) refuse("a class that is empty or begins with ]");
    while (true) {
      if (at_ >= pattern_.size()) refuse("a class without end");
      const char c = pattern_[at_];
      if (c == ']') break;
      if (c == '\\') {
        escape(body, true);
      } else if (ahead("[:")) {
        const size_t end = pattern_.find(":]", at_);
        if (end == std::string_view::npos) refuse("a POSIX class without end");
        body += pattern_.substr(at_, end + 2 - at_);
        at_ = end + 2;
      } else if (c == '[') {
        refuse("a class within a class");
      } else if (ahead("&&")) {
        condition = intersection(body);
        break;
      } else if (ahead("--") || ahead("~~")) {
        refuse("a class operator");
      } else {
        body += c;
        ++at_;
      }
    }
    ++at_;  // the closing bracket
    body += ']';
    return condition.empty() ? body : fmt::format("(?:(?={}){})", condition, body);
  }

  std::string intersection(std::string_view body) {
    at_ += 2;
    if (!ahead("[") || nested_ || body.starts_with("[^")) refuse("a class intersection other than [A&&[B]]");
    nested_ = true;
    std::string condition = character_class();
    nested_ = false;
    if (!ahead("]")) refuse("a class intersection other than [A&&[B]]");
    return condition;
  }

  std::string_view pattern_;
  const std::string& where_;
  size_t at_ = 0;
  bool nested_ = false;
  std::string out_;
};

}  // namespace

std::string translate_pattern(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace moxie::text
