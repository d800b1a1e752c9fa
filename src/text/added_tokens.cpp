#include "text/added_tokens.h"

#include "base/error.h"
#include "text/unicode.h"

namespace moxie::text {

bool is_control(const AddedToken& token) {
  const std::string& text = token.content;
  const auto bracketed = [&](char open, char close) {
    return text.size() > 1 && text.front() == open && text.back() == close;
  };
  return token.special || bracketed('<', '>') || bracketed('[', ']');
}

TokenFinder::TokenFinder(const std::vector<AddedToken>& tokens) : tokens_(tokens), nodes_(1) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    MOXIE_CHECK(!tokens_[i].sought.empty());
    size_t node = 0;
    for (const char c : tokens_[i].sought) {
      const auto byte = static_cast<unsigned char>(c);
      int32_t next = -1;
      for (const auto& [key, child] : nodes_[node].next) {
        if (key == byte) next = child;
      }
      if (next < 0) {
        next = static_cast<int32_t>(nodes_.size());
        nodes_[node].next.emplace_back(byte, next);
        nodes_.emplace_back();
      }
      node = static_cast<size_t>(next);
    }
    if (nodes_[node].token < 0) nodes_[node].token = static_cast<int32_t>(i);
  }
  for (const auto& [byte, child] : nodes_[0].next) first_[byte] = child;
}

int32_t TokenFinder::longest_at(std::string_view text, size_t at) const {
  int32_t node = first_[static_cast<unsigned char>(text[at])];
  int32_t found = -1;
  while (node > 0) {
    const Node& here = nodes_[static_cast<size_t>(node)];
    if (here.token >= 0) found = here.token;
    if (++at >= text.size()) break;
    node = 0;
    for (const auto& [byte, child] : here.next) {
      if (byte == static_cast<unsigned char>(text[at])) node = child;
    }
  }
  return found;
}

void TokenFinder::split(std::string_view text, const std::function<void(std::string_view)>& on_text,
                        const std::function<void(int32_t)>& on_token) const {
  size_t done = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (first_[static_cast<unsigned char>(text[i])] == 0) continue;
    const int32_t found = longest_at(text, i);
    if (found < 0) continue;
    const AddedToken& token = tokens_[static_cast<size_t>(found)];
    size_t begin = i;
    size_t end = i + token.sought.size();
    if (token.single_word) {
      size_t next = end;
      const bool touches = (begin > 0 && is_word(code_point_before(text, begin))) ||
                           (end < text.size() && is_word(next_code_point(text, next)));
      if (touches) {
        i = end - 1;
        continue;
      }
    }
    if (token.lstrip) begin -= trailing_white_space(text.substr(done, begin - done));
    if (token.rstrip) end += leading_white_space(text.substr(end));
    if (begin > done) on_text(text.substr(done, begin - done));
    on_token(token.id);
    done = end;
    i = end - 1;
  }
  if (done < text.size()) on_text(text.substr(done));
}

}  // namespace moxie::text
