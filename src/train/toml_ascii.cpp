#include "train/toml_ascii.h"

#include <algorithm>
#include <string>

namespace moxie {
namespace {

bool is_ascii(char c) {
  return static_cast<unsigned char>(c) < 0x80;
}

// The end of the string that begins at `at`, or the place of a stray character in it.
struct StringEnd {
  size_t offset;
  bool stray = false;
};

StringEnd end_of_string(std::string_view text, size_t at) {
  const char quote = text[at];
  const bool basic = quote == '"';
  const bool multi_line = text.substr(at, 3) == std::string(3, quote);
  for (size_t i = at + (multi_line ? 3 : 1); i < text.size(); ++i) {
    if (basic && text[i] == '\\') {
      ++i;  // what follows is no end, whatever it is
      if (!multi_line) continue;
      const size_t next = std::min(text.find_first_not_of(" \t\r\n", i), text.size());
      if (next < text.size() && !is_ascii(text[next])) return {next, true};
      if (next > i) i = next - 1;  // the loop looks at `next` itself
    } else if (text[i] == quote) {
      if (!multi_line) return {i + 1};
      size_t quotes = 0;  // up to two more belong to the text
      while (quotes < 5 && i + quotes < text.size() && text[i + quotes] == quote) ++quotes;
      if (quotes >= 3) return {i + quotes};
      i += quotes - 1;
    } else if (text[i] == '\n' && !multi_line) {
      break;
    }
  }
  return {text.size()};  // no end: a fault that the reader tells
}

// Whether a character ends a value that is neither string, array nor table, as toml++ looks ahead for one.
bool ends_value(char c) {
  return std::string_view(" \t\r\n]},#").find(c) != std::string_view::npos;
}

}  // namespace

size_t toml_stray_offset(std::string_view text) {
  size_t i = text.starts_with("\xEF\xBB\xBF") ? 3 : 0;  // a byte order mark
  bool value = false;                                   // behind the "=" of a line, or in an array
  int depth = 0;                                        // of arrays and tables in a value
  while (i < text.size()) {
    const char c = text[i];
    if (!is_ascii(c)) return i;
    if (c == '#') {
      i = std::min(text.find('\n', i), text.size());
    } else if (c == '"' || c == '\'') {
      const StringEnd end = end_of_string(text, i);
      if (end.stray) return end.offset;
      i = end.offset;
    } else if (value && !ends_value(c) && c != '[' && c != '{') {
      while (i < text.size() && is_ascii(text[i]) && !ends_value(text[i])) ++i;  // a quote in it begins no string
    } else {
      if (c == '=') value = true;
      if (value && (c == '[' || c == '{')) ++depth;
      if (value && (c == ']' || c == '}')) --depth;
      if (c == '\n' && depth <= 0) value = false, depth = 0;
      ++i;
    }
  }
  return std::string_view::npos;
}

}  // namespace moxie
