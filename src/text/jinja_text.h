// Text of a template run: UTF-8 bytes that remember which of them a user sent. Not a general string class.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moxie::jinja {

/// Bytes [begin, end) of a text.
struct Span {
  size_t begin;
  size_t end;
};

/// Valid UTF-8 with origin marks: every byte is either trusted (written by the template) or came from a user.
class Text {
 public:
  Text() = default;
  explicit Text(std::string bytes, bool from_user = false);

  const std::string& bytes() const { return bytes_; }
  std::string_view view() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

  /// The user's bytes: sorted, disjoint, not adjacent, not empty.
  const std::vector<Span>& user_spans() const { return user_; }

  void append(std::string_view bytes, bool from_user = false);
  void append(const Text& other) { append_slice(other, 0, other.size()); }
  /// Appends bytes [begin, end) of another text with their marks. Cost: the bytes and marks copied, and a search.
  void append_slice(const Text& other, size_t begin, size_t end);
  Text slice(size_t begin, size_t end) const;
  /// Whether the byte at `offset` came from a user.
  bool is_user(size_t offset) const;

 private:
  void mark(size_t begin, size_t end);
  std::string bytes_;
  std::vector<Span> user_;
};

/// Length in bytes of the code point that begins with `lead` (the text is known to be valid).
inline size_t utf8_step(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// Number of code points.
size_t count_code_points(std::string_view text);

/// Byte offset of code point `index`; the size of the text if there are no more than `index`.
size_t code_point_offset(std::string_view text, size_t index);

/// White space as Python's str.isspace has it.
bool is_space(uint32_t code_point);

/// The bytes that stay when white space (or the code points in `chars`) is stripped from the asked-for sides.
Span stripped(std::string_view text, std::optional<std::string_view> chars, bool left, bool right);

enum class Case { upper, lower, title, capitalize };

/// Python's str.upper, lower, title and capitalize, with the one-to-one case mappings of Unicode and sharp s -> SS.
/// With `title_after_space`, a word begins after white space and ([{<- only, as Jinja's title filter has it.
Text change_case(const Text& text, Case to, bool title_after_space = false);

}  // namespace moxie::jinja
