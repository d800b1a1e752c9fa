#include "text/decoder.h"

#include <array>

#include "base/error.h"
#include "base/utf8.h"
#include "text/unicode.h"

namespace moxie::text {
namespace {

// GPT-2 writes the 188 printable bytes of Latin-1 as themselves, and the other 68, in order, from U+0100 on.
constexpr bool is_own_letter(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

constexpr auto kLetterOfByte = [] {
  std::array<uint32_t, 256> letters{};
  uint32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) letters[byte] = is_own_letter(byte) ? byte : next++;
  return letters;
}();

constexpr auto kByteOfLetter = [] {
  std::array<int16_t, 0x144> bytes{};
  for (auto& byte : bytes) byte = -1;
  for (unsigned byte = 0; byte < 256; ++byte) bytes[kLetterOfByte[byte]] = static_cast<int16_t>(byte);
  return bytes;
}();

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  if (what.empty()) return;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size())) {
    text.replace(at, what.size(), with);
  }
}

struct ApplyToToken {
  std::string& token;
  bool first;

  void operator()(ByteLevelDecoder) const { token = bytes_of_byte_level(token); }
  void operator()(const MetaspaceDecoder& step) const {
    replace_all(token, step.replacement, first && step.drop_at_start ? "" : " ");
  }
  void operator()(const Replace& step) const {
    if (!step.pattern.regex) {
      replace_all(token, step.pattern.literal, step.content);
      return;
    }
    Regex::Matcher matcher(*step.pattern.regex);
    std::string out;
    for_each_span(step.pattern, &matcher, token, [&](size_t begin, size_t end, bool is_match) {
      out += is_match ? std::string_view(step.content) : std::string_view(token).substr(begin, end - begin);
    });
    token = std::move(out);
  }
  void operator()(ByteFallbackDecoder) const {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return;
    const int high = hex_digit(token[3]);
    const int low = hex_digit(token[4]);
    if (high >= 0 && low >= 0) token = std::string(1, static_cast<char>(high * 16 + low));
  }
  void operator()(FuseDecoder) const {}
  void operator()(const StripDecoder& step) const {
    size_t begin = 0;
    for (size_t i = 0; i < step.start && std::string_view(token).substr(begin).starts_with(step.content); ++i) {
      begin += step.content.size();
    }
    size_t end = token.size();
    for (size_t i = 0; i < step.stop && std::string_view(token).substr(begin, end - begin).ends_with(step.content);
         ++i) {
      end -= step.content.size();
    }
    token = token.substr(begin, end - begin);
  }
};

}  // namespace

std::string bytes_of_byte_level(std::string_view token) {
  std::string bytes;
  for (size_t i = 0; i < token.size();) {
    const uint32_t letter = next_code_point(token, i);
    const int byte = letter < kByteOfLetter.size() ? kByteOfLetter[letter] : -1;
    if (byte < 0) return std::string(token);
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

std::string byte_level_of_bytes(std::string_view bytes) {
  std::string token;
  for (const char c : bytes) utf8_append(token, kLetterOfByte[static_cast<unsigned char>(c)]);
  return token;
}

Decoder::Decoder(std::vector<DecoderStep> steps, const std::string& where) {
  bool fused = false;
  for (DecoderStep& step : steps) {
    auto* strip = std::get_if<StripDecoder>(&step);
    if (std::holds_alternative<FuseDecoder>(step)) {
      fused = true;
    } else if (!fused) {
      steps_.push_back(std::move(step));
    } else if (strip != nullptr && strip->stop == 0 && strip_.start == 0) {
      strip_ = std::move(*strip);
    } else {
      throw invalid({.where = where,
                     .expected = "after Fuse at most one Strip, with stop 0",
                     .got = "another step",
                     .hint = "Tokens could not be turned into text one by one."});
    }
  }
}

std::string Decoder::piece(std::string_view content, bool first) const {
  std::string token(content);
  for (const DecoderStep& step : steps_) std::visit(ApplyToToken{token, first}, step);
  return token;
}

}  // namespace moxie::text
