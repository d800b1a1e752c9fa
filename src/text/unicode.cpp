#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"

namespace moxie::text {

uint32_t next_code_point(std::string_view text, size_t& offset) {
  const auto lead = static_cast<unsigned char>(text[offset]);
  const int length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  const uint32_t code_point = utf8_decode(text, offset, length);
  offset += static_cast<size_t>(length);
  return code_point;
}

uint32_t code_point_before(std::string_view text, size_t offset) {
  do --offset;
  while (offset > 0 && (static_cast<unsigned char>(text[offset]) & 0xc0) == 0x80);
  return next_code_point(text, offset);
}

size_t first_invalid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    uint64_t word = 0;
    if (i + 8 <= text.size()) {
      std::memcpy(&word, text.data() + i, 8);
      if ((word & 0x8080808080808080u) == 0) {
        i += 8;
        continue;
      }
    }
    const int length = utf8_sequence_length(text, i);
    if (length == 0) return i;
    i += static_cast<size_t>(length);
  }
  return std::string_view::npos;
}

bool is_surely_normal(std::string_view text, NormalForm form) {
  const bool composed_only = form == NormalForm::nfc;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    // All below U+0300 is NFC; all below U+0080 is in every form.
    if (byte >= 0x80 && !(composed_only && byte < 0xcc)) return false;
  }
  return true;
}

void append_normalized(std::string& out, std::string_view text, NormalForm form) {
  const bool compatible = form == NormalForm::nfkc || form == NormalForm::nfkd;
  const bool composed = form == NormalForm::nfc || form == NormalForm::nfkc;
  const int decompose = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0);
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const auto code_point = static_cast<utf8proc_int32_t>(next_code_point(text, i));
    utf8proc_int32_t buffer[32];
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(code_point, buffer, 32, static_cast<utf8proc_option_t>(decompose), &boundary);
    MOXIE_CHECK(count >= 0 && count <= 32);  // the longest decomposition has 18
    points.insert(points.end(), buffer, buffer + count);
  }
  // Canonical order. utf8proc would do it by insertion, in quadratic time on a long run of marks.
  const auto combining_class = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (size_t i = 0; i < points.size(); ++i) {
    if (combining_class(points[i]) == 0) continue;
    size_t end = i + 1;
    while (end < points.size() && combining_class(points[end]) != 0) ++end;
    const auto at = [&](size_t k) { return points.begin() + static_cast<std::ptrdiff_t>(k); };
    std::stable_sort(at(i), at(end), [&](auto a, auto b) { return combining_class(a) < combining_class(b); });
    i = end;
  }
  auto count = static_cast<utf8proc_ssize_t>(points.size());
  if (composed) {
    const int compose = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    count = utf8proc_normalize_utf32(points.data(), count, static_cast<utf8proc_option_t>(compose));
    MOXIE_CHECK(count >= 0);
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    utf8_append(out, static_cast<uint32_t>(points[static_cast<size_t>(i)]));
  }
}

void append_lowercase(std::string& out, std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const uint32_t code_point = next_code_point(text, i);
    if (code_point == 0x130) {
      out += "i\xcc\x87";  // the one character whose lower case has two
    } else {
      utf8_append(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point))));
    }
  }
}

bool is_white_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_word(uint32_t code_point) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

size_t leading_white_space(std::string_view text) {
  size_t end = 0;
  while (end < text.size()) {
    size_t next = end;
    if (!is_white_space(next_code_point(text, next))) break;
    end = next;
  }
  return end;
}

size_t trailing_white_space(std::string_view text) {
  size_t begin = text.size();
  while (begin > 0 && is_white_space(code_point_before(text, begin))) {
    do --begin;
    while ((static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80);
  }
  return text.size() - begin;
}

namespace {

// Length of the longest beginning of `bytes` that could begin a valid sequence; bytes[0] does not begin a whole one.
size_t maximal_broken_length(std::string_view bytes) {
  const auto lead = static_cast<unsigned char>(bytes[0]);
  if (lead < 0xc2 || lead > 0xf4) return 1;
  const size_t whole = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  for (size_t length = std::min(whole - 1, bytes.size()); length > 1; --length) {
    // A beginning is sound if some continuation bytes complete it; the second byte alone is restricted beyond 10xxxxxx.
    for (const char filler : {'\x80', '\xa0'}) {
      std::string probe(bytes.substr(0, length));
      probe.resize(whole, filler);
      if (utf8_sequence_length(probe, 0) != 0) return length;
    }
  }
  return 1;
}

bool may_continue(std::string_view bytes) {  // all of `bytes` is a beginning of one valid sequence
  const auto lead = static_cast<unsigned char>(bytes[0]);
  if (lead < 0xc2 || lead > 0xf4) return false;
  const size_t whole = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  return bytes.size() < whole && maximal_broken_length(bytes) == bytes.size();
}

}  // namespace

void append_whole_utf8(std::string& out, std::string& held, std::string_view bytes) {
  if (!held.empty()) {
    held += bytes;
    bytes = held;
  }
  size_t i = 0;
  while (i < bytes.size()) {
    const size_t bad = first_invalid_utf8(bytes.substr(i));
    out += bytes.substr(i, bad);
    if (bad == std::string_view::npos) {
      held.clear();
      return;
    }
    i += bad;
    const std::string_view rest = bytes.substr(i);
    if (may_continue(rest)) break;
    out += kReplacement;
    i += maximal_broken_length(rest);
  }
  held = std::string(bytes.substr(i));
}

}  // namespace moxie::text
