#include "base/error.h"

#include <cstdio>
#include <cstdlib>

namespace moxie {

Error invalid(const Fault& fault) {
  std::string text = fault.where;
  if (!fault.expected.empty()) text += (text.empty() ? "" : ": ") + ("expected " + fault.expected);
  if (!fault.got.empty()) text += (fault.expected.empty() ? ": got " : ", got ") + fault.got;
  if (!fault.hint.empty()) text += ". " + fault.hint;
  return Error(ErrorCode::invalid, std::move(text));
}

std::string printable(std::string_view text, size_t max_bytes) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i == max_bytes) return out + "...";
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c < 0x7f) {
      out += static_cast<char>(c);
    } else {
      out += fmt::format("\\x{:02x}", c);
    }
  }
  return out;
}

namespace detail {
void check_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "moxie: bug: %s:%d: CHECK failed: %s\n", file, line, condition);
  std::abort();
}
}  // namespace detail

}  // namespace moxie
