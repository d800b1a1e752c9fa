// Regular expressions of tokenizer files (Oniguruma and Rust flavour) on PCRE2 with JIT. Not a general regex library:
// what could run away or mean something else here is refused when the pattern is compiled.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace moxie::text {

class Regex {
 public:
  /// `where` names the pattern in errors. Throws Error{invalid} for a pattern that is malformed, longer than 64 KiB, or
  /// uses look-behind, back-references, recursion, conditionals, verbs, nested character classes, or \h \K \C \G.
  /// `[A&&[B]]` (intersection) is understood.
  Regex(std::string_view pattern, const std::string& where);

  /// The pattern as it was given.
  const std::string& pattern() const;

  /// What a thread needs to match: cheap to make, not to be shared between threads.
  class Matcher {
   public:
    explicit Matcher(const Regex& regex);
    ~Matcher();
    Matcher(Matcher&&) noexcept;
    Matcher& operator=(Matcher&&) = delete;

    /// The leftmost match at or after `from` in valid UTF-8: [begin, end), or false. Throws Error{invalid} if the
    /// pattern needs more steps than any sound pattern does (catastrophic backtracking).
    bool find(std::string_view subject, size_t from, size_t& begin, size_t& end);

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

/// The pattern as PCRE2 must see it to mean what it means to Hugging Face tokenizers. Throws as Regex does.
std::string translate_pattern(std::string_view pattern, const std::string& where);

}  // namespace moxie::text
