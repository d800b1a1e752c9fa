// The one error type for faults of the world (files, configs, requests, memory), and CHECK for our own bugs.
#pragma once

#include <fmt/format.h>

#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace moxie {

/// What went wrong, and the process exit code it leads to.
enum class ErrorCode {
  runtime = 1,      // the machine or the operating system failed us
  usage = 2,        // a flag or argument is wrong
  invalid = 3,      // a model, config, tokenizer, trace or text is malformed
  does_not_fit = 4  // memory, context or pages are not enough
};

/// A fault of the outside world. `text` says where, what was expected, what was found, and what to do.
class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string text) : code_(code), text_(std::move(text)) {}
  ErrorCode code() const noexcept { return code_; }
  const std::string& text() const noexcept { return text_; }
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  ErrorCode code_;
  std::string text_;
};

/// The parts of a message about malformed input; each part that is empty is left out.
struct Fault {
  std::string where;     // file, field, byte offset: "model.safetensors: header length at byte 0"
  std::string expected;  // "at most 100000000"
  std::string got;       // "18446744073709551615"
  std::string hint;      // what to do about it
};

/// Builds the Error{invalid} of one malformed input: "WHERE: expected E, got G. HINT".
Error invalid(const Fault& fault);

/// Builds an Error with a formatted text.
template <typename... Args>
Error make_error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// Shortens text from outside for a message: control and non-ASCII bytes are escaped, long text is cut with "...".
std::string printable(std::string_view text, size_t max_bytes = 60);

namespace detail {
[[noreturn]] void check_failed(const char* condition, const char* file, int line) noexcept;
}

}  // namespace moxie

/// A bug of ours if false: prints and aborts. Never for data from outside.
#define MOXIE_CHECK(condition) ((condition) ? (void)0 : ::moxie::detail::check_failed(#condition, __FILE__, __LINE__))
