// Numbers and texts of a GGUF header, read one after the other from bytes that are not trusted. Knows no field.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/utf8.h"

namespace moxie {

/// What a header's parser is built on: it says what is being read (where_), and every read checks the bytes left.
/// Faults are Error{invalid} and begin with `source`.
class GgufReader {
 protected:
  GgufReader(std::string_view file, const std::string& source) : file_(file), source_(source) {}

  static constexpr std::string_view kCutShort = "The file was cut short; download it again.";
  static_assert(std::endian::native == std::endian::little, "numbers are copied as they stand in the file");

  /// `part` of what is being read (where_): " length" of "metadata key 7".
  [[noreturn]] void fail(std::string_view part, size_t offset, std::string expected, std::string got,
                         std::string_view hint = "") const {
    throw invalid({fmt::format("{}: {}{} at byte {}", source_, where_, part, offset), std::move(expected),
                   std::move(got), std::string(hint)});
  }

  uint64_t left() const { return file_.size() - at_; }

  std::string most(uint64_t limit) const {
    return fmt::format("at most {} (the file ends at byte {})", limit, file_.size());
  }

  template <typename T>
  T number(std::string_view part) {
    if (left() < sizeof(T)) {
      fail(part, at_, fmt::format("{} bytes", sizeof(T)), fmt::format("the end of the file after {}", left()),
           kCutShort);
    }
    T value;
    std::memcpy(&value, file_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  /// A length and as many bytes of UTF-8. `limit` 0: as many as there are.
  std::string_view text(std::string_view part, uint64_t limit = 0) {
    const size_t begin = at_;
    const auto length = number<uint64_t>(part);
    if (limit > 0 && (length == 0 || length > limit)) {
      fail(part, begin, fmt::format("1 to {} bytes", limit), std::to_string(length));
    }
    if (length > left()) fail(part, begin, most(left()), std::to_string(length), kCutShort);
    const std::string_view bytes = file_.substr(at_, length);
    const size_t bad = utf8_error_offset(bytes);
    if (bad != std::string_view::npos) {
      fail("", at_ + bad, "UTF-8 text", fmt::format("byte 0x{:02x}", static_cast<uint8_t>(bytes[bad])));
    }
    at_ += length;
    return bytes;
  }

  /// A text that names something.
  std::string_view name(uint64_t limit) {
    const std::string_view bytes = text(" length", limit);
    const size_t nul = bytes.find('\0');
    if (nul != std::string_view::npos) fail("", at_ - bytes.size() + nul, "a name without NUL", "byte 0x00");
    return bytes;
  }

  std::string_view file_;
  const std::string& source_;
  size_t at_ = 0;      // byte to be read next
  std::string where_;  // what is being read, for messages
};

}  // namespace moxie
