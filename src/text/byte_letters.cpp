#include "text/byte_letters.h"

#include <array>
#include <cstdint>

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

}  // namespace

std::optional<std::string> bytes_of_letters(std::string_view token) {
  std::string bytes;
  for (size_t i = 0; i < token.size();) {
    const uint32_t letter = next_code_point(token, i);
    const int byte = letter < kByteOfLetter.size() ? kByteOfLetter[letter] : -1;
    if (byte < 0) return std::nullopt;
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

std::string letters_of_bytes(std::string_view bytes) {
  std::string letters;
  for (const char byte : bytes) utf8_append(letters, kLetterOfByte[static_cast<unsigned char>(byte)]);
  return letters;
}

}  // namespace moxie::text
