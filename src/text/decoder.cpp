#include "text/decoder.h"

#include "base/error.h"
#include "text/byte_letters.h"

namespace moxie::text {
namespace {

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

  void operator()(ByteLevelDecoder) const { token = bytes_of_letters(token).value_or(token); }
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
