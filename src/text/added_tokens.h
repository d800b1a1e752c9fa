// Added tokens: the strings a tokenizer takes out of a text before anything else looks at it. Leftmost, then longest.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace moxie::text {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  std::string sought;  // what to look for; filled with the (normalised) content where it is empty
  bool special = false;
  bool normalized = false;              // sought in the normalised text, else in the raw one
  bool lstrip = false, rstrip = false;  // takes the white space before, after it along
  bool single_word = false;             // only where no word character touches it
};

/// True if recognising the token in user data could forge a control token: it is special, or written like markup.
bool is_control(const AddedToken& token);

/// Finds a set of tokens in texts. Cost of a search: the text's length times the longest token's at worst.
class TokenFinder {
 public:
  /// What is sought must not be empty; of two equal ones the first wins.
  explicit TokenFinder(const std::vector<AddedToken>& tokens);

  bool empty() const { return nodes_.size() <= 1; }

  /// Cuts `text`, which must be valid UTF-8, into tokens and the text between them, in order.
  void split(std::string_view text, const std::function<void(std::string_view)>& on_text,
             const std::function<void(int32_t)>& on_token) const;

 private:
  struct Node {
    int32_t token = -1;  // index into tokens_
    std::vector<std::pair<unsigned char, int32_t>> next;
  };
  int32_t longest_at(std::string_view text, size_t at) const;  // index into tokens_, or -1

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::array<int32_t, 256> first_{};  // node after the first byte, or 0
};

}  // namespace moxie::text
