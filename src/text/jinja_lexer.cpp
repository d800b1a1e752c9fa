#include "text/jinja_lexer.h"

#include <array>
#include <charconv>
#include <optional>

#include "base/utf8.h"
#include "text/jinja_text.h"

namespace moxie::jinja {
namespace {

constexpr std::array<std::string_view, 27> kSymbols = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                       "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                       ">",  "<",  "=",  ".",  ":",  "|",  ",", ";", "!"};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool begins_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

std::string with_plain_newlines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      text += '\n';
    }
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& name) : source_(with_plain_newlines(source)), name_(name) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = find_tag();
      const bool found = tag != std::string::npos;
      const size_t data_begin = at_;
      const char sign = found && tag + 2 < source_.size() ? source_[tag + 2] : ' ';
      const size_t data_end = found ? strip_before(data_begin, tag, sign, at_line_start_) : source_.size();
      if (data_end > data_begin) add(TokenType::data, data_begin, source_.substr(data_begin, data_end - data_begin));
      if (!found) break;
      at_ = tag + 2 + (sign == '-' || sign == '+' ? 1 : 0);
      if (source_[tag + 1] == '#') {
        skip_comment(tag);
      } else if (source_[tag + 1] == '%' && skip_raw_begin()) {
        lex_raw(tag);
      } else {
        lex_tag(tag, source_[tag + 1] == '%');
      }
    }
    add(TokenType::end, source_.size(), "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail_at(size_t offset, const std::string& what) {
    throw template_error(name_, position(offset), what);
  }

  // Offsets asked for only grow, but for that of an error: the scan is linear over all calls.
  Position position(size_t offset) {
    if (offset < counted_) {
      counted_ = 0;
      line_ = 1;
      line_begin_ = 0;
    }
    for (; counted_ < offset; ++counted_) {
      if (source_[counted_] == '\n') {
        ++line_;
        line_begin_ = counted_ + 1;
      }
    }
    return {line_, static_cast<int>(offset - line_begin_) + 1};
  }

  void add(TokenType type, size_t offset, std::string text) {
    tokens_.push_back({type, std::move(text), position(offset)});
  }

  size_t find_tag() const {
    for (size_t i = source_.find('{', at_); i != std::string::npos; i = source_.find('{', i + 1)) {
      const char next = i + 1 < source_.size() ? source_[i + 1] : ' ';
      if (next == '{' || next == '%' || next == '#') return i;
    }
    return std::string::npos;
  }

  // Where the data before a tag ends: "-" strips it; lstrip_blocks takes the blanks of the tag's own line.
  size_t strip_before(size_t begin, size_t tag, char sign, bool at_line_start) const {
    const std::string_view data = std::string_view(source_).substr(begin, tag - begin);
    if (sign == '-') return begin + stripped(data, std::nullopt, false, true).end;
    if (sign == '+' || source_[tag + 1] == '{') return tag;
    const size_t newline = data.rfind('\n');
    if (newline == std::string_view::npos && !at_line_start) return tag;
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    const Span rest = stripped(data.substr(line), std::nullopt, true, false);
    return rest.begin == rest.end ? begin + line : tag;
  }

  // Moves past the end of a tag at `at_`, if it stands there: "}}", "-%}", "+#}" and the white space they take along.
  bool take_end(char mark, bool trims_newline) {
    size_t i = at_;
    const char sign = source_[i];
    if (sign == '-' || (sign == '+' && mark != '}')) ++i;
    if (i + 1 >= source_.size() || source_[i] != mark || source_[i + 1] != '}') return false;
    i += 2;
    const size_t end = i;
    if (sign == '-') {
      i += stripped(std::string_view(source_).substr(i), std::nullopt, true, false).begin;
    } else if (sign != '+' && trims_newline && i < source_.size() && source_[i] == '\n') {
      ++i;
    }
    at_line_start_ = i > end && source_[i - 1] == '\n';
    at_ = i;
    return true;
  }

  void skip_blanks() {
    while (at_ < source_.size() && is_blank(source_[at_])) ++at_;
  }

  void skip_comment(size_t tag) {
    for (; at_ < source_.size(); ++at_) {
      if (take_end('#', true)) return;
    }
    fail_at(tag, "this comment has no end");
  }

  bool skip_word(std::string_view word) {
    skip_blanks();
    if (source_.compare(at_, word.size(), word) != 0) return false;
    at_ += word.size();
    skip_blanks();
    return true;
  }

  bool skip_raw_begin() {
    const size_t begin = at_;
    if (skip_word("raw") && at_ < source_.size() && source_[at_] != '+' && take_end('%', false)) return true;
    at_ = begin;
    return false;
  }

  void lex_raw(size_t tag) {
    const size_t begin = at_;
    const bool at_line_start = at_line_start_;
    for (size_t i = source_.find("{%", at_); i != std::string::npos; i = source_.find("{%", i + 2)) {
      const char sign = i + 2 < source_.size() ? source_[i + 2] : ' ';
      at_ = i + 2 + (sign == '-' || sign == '+' ? 1 : 0);
      if (!skip_word("endraw") || at_ >= source_.size() || !take_end('%', true)) continue;
      const size_t data_end = strip_before(begin, i, sign, at_line_start);
      if (data_end > begin) add(TokenType::data, begin, source_.substr(begin, data_end - begin));
      return;
    }
    fail_at(tag, "this raw block has no end");
  }

  void lex_tag(size_t tag, bool is_block) {
    add(is_block ? TokenType::block_begin : TokenType::output_begin, tag, "");
    std::string open;  // brackets that wait for their end
    for (skip_blanks(); at_ < source_.size(); skip_blanks()) {
      const size_t begin = at_;
      if (open.empty() && take_end(is_block ? '%' : '}', is_block)) {
        add(is_block ? TokenType::block_end : TokenType::output_end, begin, "");
        return;
      }
      lex_token(open);
    }
    fail_at(tag, "this tag has no end");
  }

  void lex_token(std::string& open) {
    const size_t begin = at_;
    const char c = source_[at_];
    if (c == '\'' || c == '"') return lex_text(c);
    if (is_digit(c)) return lex_number();
    if (begins_name(c)) {
      while (at_ < source_.size() && (begins_name(source_[at_]) || is_digit(source_[at_]))) ++at_;
      return add(TokenType::name, begin, source_.substr(begin, at_ - begin));
    }
    for (const std::string_view symbol : kSymbols) {
      if (source_.compare(at_, symbol.size(), symbol) != 0) continue;
      if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
      if (c == ')' || c == ']' || c == '}') {
        if (open.empty() || open.back() != c) fail_at(begin, fmt::format("'{}' closes nothing", c));
        open.pop_back();
      }
      at_ += symbol.size();
      return add(TokenType::symbol, begin, std::string(symbol));
    }
    fail_at(begin, fmt::format("unexpected character '{}'", printable(source_.substr(begin, 1))));
  }

  void lex_number() {
    const size_t begin = at_;
    const auto digits = [&] {
      while (at_ < source_.size() && (is_digit(source_[at_]) || source_[at_] == '_')) ++at_;
    };
    const auto next_is = [&](size_t ahead, auto predicate) {
      return at_ + ahead < source_.size() && predicate(source_[at_ + ahead]);
    };
    digits();
    bool is_real = false;
    const bool after_dot = !tokens_.empty() && tokens_.back().is_symbol(".");
    if (!after_dot && next_is(0, [](char c) { return c == '.'; }) && next_is(1, is_digit)) {
      is_real = true;
      ++at_;
      digits();
    }
    if (!after_dot && next_is(0, [](char c) { return c == 'e' || c == 'E'; })) {
      const size_t sign = next_is(1, [](char c) { return c == '+' || c == '-'; }) ? 1 : 0;
      if (next_is(1 + sign, is_digit)) {
        is_real = true;
        at_ += 1 + sign;
        digits();
      }
    }
    if (next_is(0, begins_name)) fail_at(begin, "a number runs into a name");
    std::string text;
    for (size_t i = begin; i < at_; ++i) {
      if (source_[i] != '_') text += source_[i];
    }
    add(is_real ? TokenType::real : TokenType::integer, begin, std::move(text));
  }

  void lex_text(char quote) {
    const size_t begin = at_++;
    std::string text;
    while (at_ < source_.size() && source_[at_] != quote) {
      if (source_[at_] == '\\' && at_ + 1 < source_.size()) {
        ++at_;
        lex_escape(text);
      } else {
        text += source_[at_++];
      }
    }
    if (at_ >= source_.size()) fail_at(begin, "this string has no end");
    ++at_;
    add(TokenType::text, begin, std::move(text));
  }

  // An escape of a Python string literal; `at_` is on the character after the backslash.
  void lex_escape(std::string& text) {
    constexpr std::string_view kLetters = "abfnrtv\\'\"";
    constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
    const char c = source_[at_++];
    const size_t letter = kLetters.find(c);
    if (letter != std::string_view::npos) {
      text += kMeanings[letter];
    } else if (c == 'x' || c == 'u' || c == 'U') {
      append_code_point(text, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16);
    } else if (c >= '0' && c <= '7') {
      --at_;
      size_t length = 1;
      while (length < 3 && at_ + length < source_.size() && source_[at_ + length] >= '0' &&
             source_[at_ + length] <= '7') {
        ++length;
      }
      append_code_point(text, length, 8);
    } else if (c != '\n') {
      text += '\\';
      text += c;
    }
  }

  void append_code_point(std::string& text, size_t digits, int base) {
    uint32_t code = 0;
    const char* first = source_.data() + at_;
    const bool enough = digits <= source_.size() - at_;
    const auto [last, error] = std::from_chars(first, first + (enough ? digits : 0), code, base);
    if (!enough || error != std::errc() || last != first + digits || code > 0x10FFFF ||
        (code >= 0xD800 && code < 0xE000)) {
      fail_at(at_ - 2, "this escape is not a code point");
    }
    utf8_append(text, code);
    at_ += digits;
  }

  std::string source_;
  const std::string& name_;
  size_t at_ = 0;
  bool at_line_start_ = true;
  size_t counted_ = 0;
  int line_ = 1;
  size_t line_begin_ = 0;
  std::vector<Token> tokens_;
};

}  // namespace

Error template_error(const std::string& name, Position at, const std::string& what) {
  return make_error(ErrorCode::invalid, "{}: line {}, column {}: {}", name, at.line, at.column, what);
}

std::vector<Token> tokenize(std::string_view source, const std::string& name) {
  const size_t bad = utf8_error_offset(source);
  if (bad != std::string_view::npos) {
    throw invalid({.where = fmt::format("{}: byte {}", name, bad), .expected = "UTF-8 text", .got = "another byte"});
  }
  return Lexer(source, name).run();
}

}  // namespace moxie::jinja
