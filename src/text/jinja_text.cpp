#include "text/jinja_text.h"

#include <utf8proc.h>

#include <algorithm>

#include "base/utf8.h"

namespace moxie::jinja {

Text::Text(std::string bytes, bool from_user) : bytes_(std::move(bytes)) {
  if (from_user) mark(0, bytes_.size());
}

void Text::mark(size_t begin, size_t end) {
  if (begin == end) return;
  if (!user_.empty() && user_.back().end == begin) {
    user_.back().end = end;
  } else {
    user_.push_back({begin, end});
  }
}

void Text::append(std::string_view bytes, bool from_user) {
  const size_t begin = bytes_.size();
  bytes_.append(bytes);
  if (from_user) mark(begin, bytes_.size());
}

void Text::append_slice(const Text& other, size_t begin, size_t end) {
  const size_t base = bytes_.size();
  bytes_.append(other.bytes_, begin, end - begin);
  auto span = std::upper_bound(other.user_.begin(), other.user_.end(), begin,
                               [](size_t offset, const Span& s) { return offset < s.end; });
  for (; span != other.user_.end() && span->begin < end; ++span) {
    mark(base + std::max(span->begin, begin) - begin, base + std::min(span->end, end) - begin);
  }
}

Text Text::slice(size_t begin, size_t end) const {
  Text result;
  result.append_slice(*this, begin, end);
  return result;
}

bool Text::is_user(size_t offset) const {
  const auto span =
      std::upper_bound(user_.begin(), user_.end(), offset, [](size_t wanted, const Span& s) { return wanted < s.end; });
  return span != user_.end() && span->begin <= offset;
}

size_t count_code_points(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

size_t code_point_offset(std::string_view text, size_t index) {
  size_t offset = 0;
  while (index > 0 && offset < text.size()) {
    offset += utf8_step(text[offset]);
    --index;
  }
  return offset;
}

bool is_space(uint32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

Span stripped(std::string_view text, std::optional<std::string_view> chars, bool left, bool right) {
  const auto goes = [&](size_t offset, size_t length) {
    if (chars) return chars->find(text.substr(offset, length)) != std::string_view::npos;
    return is_space(utf8_decode(text, offset, static_cast<int>(length)));
  };
  Span span{0, text.size()};
  while (left && span.begin < span.end) {
    const size_t length = utf8_step(text[span.begin]);
    if (!goes(span.begin, length)) break;
    span.begin += length;
  }
  while (right && span.begin < span.end) {
    size_t last = span.end - 1;
    while ((static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    if (!goes(last, span.end - last)) break;
    span.end = last;
  }
  return span;
}

namespace {

bool is_cased(uint32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

void append_upper(std::string& out, uint32_t c) {
  if (c == 0xDF) {
    out += "SS";
  } else {
    utf8_append(out, static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
  }
}

}  // namespace

Text change_case(const Text& text, Case to, bool title_after_space) {
  Text result;
  bool at_start = true;
  const std::string_view bytes = text.view();
  for (size_t offset = 0; offset < bytes.size();) {
    const size_t length = utf8_step(bytes[offset]);
    const uint32_t c = utf8_decode(bytes, offset, static_cast<int>(length));
    std::string changed;
    if (to == Case::upper || (to != Case::lower && at_start)) {
      append_upper(changed, c);
    } else {
      utf8_append(changed, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
    const bool opens = c == '-' || c == '(' || c == '[' || c == '{' || c == '<';
    at_start = to == Case::title && (title_after_space ? is_space(c) || opens : !is_cased(c));
    result.append(changed, text.is_user(offset));
    offset += length;
  }
  return result;
}

}  // namespace moxie::jinja
