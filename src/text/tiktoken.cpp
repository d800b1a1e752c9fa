#include "text/tiktoken.h"

#include <charconv>

#include "base/error.h"

namespace moxie::text {
namespace {

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// False if malformed. Padding is required, as the files have it.
bool decode_base64(std::string_view text, std::string& out) {
  out.clear();
  if (text.empty() || text.size() % 4 != 0) return false;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text.substr(0, text.size() - padding)) {
    const int digit = base64_digit(c);
    if (digit < 0) return false;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> count & 0xff);
    }
  }
  return true;
}

}  // namespace

Parts parts_from_tiktoken(std::string_view ranks, std::string_view pattern,
                          const std::vector<std::pair<std::string, int32_t>>& specials, const std::string& source) {
  Vocab vocab;
  std::vector<uint32_t> rank_of;
  std::string bytes;
  const size_t max_rank = ranks.size();  // a line has more than one byte, so that holes cannot size the tables
  for (size_t at = 0, line = 1; at < ranks.size(); ++line) {
    const size_t end = std::min(ranks.find('\n', at), ranks.size());
    const std::string_view text = ranks.substr(at, end - at);
    at = end + 1;
    if (text.empty()) continue;
    const auto fail = [&](std::string_view got) {
      throw invalid({.where = fmt::format("{}: line {}", source, line),
                     .expected = fmt::format("BASE64 RANK: 1 to {} bytes, each token and rank once", kMaxMergedBytes),
                     .got = std::string(got)});
    };
    const size_t space = text.find(' ');
    if (space == std::string_view::npos || !decode_base64(text.substr(0, space), bytes))
      fail("no base64 before a space");
    uint32_t rank = 0;
    const char* last = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + space + 1, last, rank);
    if (parsed.ec != std::errc() || parsed.ptr != last || rank >= max_rank || rank > INT32_MAX) fail("no rank");
    if (bytes.empty() || bytes.size() > kMaxMergedBytes) fail(fmt::format("{} bytes", bytes.size()));
    if (!vocab.add(bytes, static_cast<int32_t>(rank))) fail("a token or rank that was there before");
  }
  rank_of.resize(static_cast<size_t>(vocab.size()));
  for (size_t id = 0; id < rank_of.size(); ++id) rank_of[id] = static_cast<uint32_t>(id);
  PairTable merges = merges_from_ranks(vocab, rank_of);
  Parts parts(Bpe(std::move(vocab), std::move(merges), {.byte_level = true, .ignore_merges = true}),
              Decoder({}, source));
  for (const auto& [content, id] : specials) {
    const bool fits = id >= 0 && !parts.bpe.vocab().has(id) && !content.empty() && content.size() <= kMaxAddedBytes;
    if (!fits || parts.bpe.vocab().find(content) >= 0) {
      throw invalid({.where = fmt::format("{}: special token \"{}\"", source, printable(content)),
                     .expected = "a new token with a free id",
                     .got = fmt::format("id {}", id)});
    }
    parts.added.push_back({.id = id, .content = content, .special = true});
  }
  parts.pre_tokenizer.emplace_back(Split{.pattern = {.regex = Regex(pattern, source + ": pattern")}});
  return parts;
}

}  // namespace moxie::text
