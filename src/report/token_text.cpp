#include "report/token_text.h"

#include <fmt/format.h>

#include <array>
#include <cstdint>

#include "base/utf8.h"

namespace moxie {
namespace {

struct Range {
  uint32_t first, last;
};

template <size_t N>
bool in_ranges(uint32_t c, const std::array<Range, N>& ranges) {
  for (const Range& range : ranges) {
    if (c >= range.first && c <= range.last) return true;
  }
  return false;
}

/// C1 controls, soft hyphen, zero-width and direction marks, separators, BOM, noncharacter tags.
bool is_hidden(uint32_t c) {
  constexpr std::array<Range, 10> hidden{{{0x80, 0x9f},
                                          {0xad, 0xad},
                                          {0x61c, 0x61c},
                                          {0x180e, 0x180e},
                                          {0x200b, 0x200f},
                                          {0x2028, 0x202e},
                                          {0x2060, 0x206f},
                                          {0xfeff, 0xfeff},
                                          {0xfff0, 0xffff},
                                          {0xe0000, 0xe0fff}}};
  return c != 0xfffd && in_ranges(c, hidden);
}

void append_visible(std::string& out, uint32_t c) {
  if (c == '\n') {
    out += "↵";
  } else if (c == '\t') {
    out += "⇥";
  } else if (c < 0x20) {
    utf8_append(out, 0x2400 + c);
  } else if (c == 0x7f) {
    out += "␡";
  } else if (is_hidden(c)) {
    out += fmt::format("⟨U+{:04X}⟩", c);
  } else {
    utf8_append(out, c);
  }
}

void append_byte(std::string& out, char byte) {
  out += fmt::format("⟨{:02x}⟩", static_cast<unsigned char>(byte));
}

}  // namespace

std::string visible_text(std::string_view bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size();) {
    const int length = utf8_sequence_length(bytes, i);
    if (length == 0) {
      append_byte(out, bytes[i++]);
    } else {
      append_visible(out, utf8_decode(bytes, i, length));
      i += static_cast<size_t>(length);
    }
  }
  return out;
}

std::vector<std::string> visible_tokens(const std::vector<std::string>& tokens) {
  std::string all;
  std::vector<size_t> end;  // of each token, in `all`
  for (const std::string& token : tokens) {
    all += token;
    end.push_back(all.size());
  }
  std::vector<std::string> out(tokens.size());
  size_t token = 0;
  const auto token_at = [&](size_t offset) {  // offsets ascend, so the walk is linear in all
    while (end[token] <= offset) ++token;
    return token;
  };
  for (size_t i = 0; i < all.size();) {
    const size_t begins_in = token_at(i);
    const int length = utf8_sequence_length(all, i);
    if (length == 0) {
      append_byte(out[begins_in], all[i++]);
      continue;
    }
    const size_t completed_in = token_at(i + static_cast<size_t>(length) - 1);
    for (size_t t = begins_in; t < completed_in; ++t) {
      if (!tokens[t].empty()) out[t] += "◦";
    }
    append_visible(out[completed_in], utf8_decode(all, i, length));
    i += static_cast<size_t>(length);
  }
  return out;
}

int display_width(std::string_view visible) {
  constexpr std::array<Range, 7> combining{{{0x300, 0x36f},
                                            {0x483, 0x489},
                                            {0x591, 0x5bd},
                                            {0x64b, 0x65f},
                                            {0x1ab0, 0x1aff},
                                            {0x20d0, 0x20ff},
                                            {0xfe00, 0xfe0f}}};
  constexpr std::array<Range, 9> wide{{{0x1100, 0x115f},
                                       {0x2e80, 0x303e},
                                       {0x3041, 0xa4cf},
                                       {0xac00, 0xd7a3},
                                       {0xf900, 0xfaff},
                                       {0xfe30, 0xfe6f},
                                       {0xff00, 0xff60},
                                       {0x1f300, 0x1faff},
                                       {0x20000, 0x3fffd}}};
  int width = 0;
  for (size_t i = 0; i < visible.size();) {
    const int length = utf8_sequence_length(visible, i);
    if (length == 0) break;  // never in a visible text
    const uint32_t c = utf8_decode(visible, i, length);
    width += in_ranges(c, combining) ? 0 : in_ranges(c, wide) ? 2 : 1;
    i += static_cast<size_t>(length);
  }
  return width;
}

}  // namespace moxie
