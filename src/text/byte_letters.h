// GPT-2's byte alphabet, in which byte-level vocabularies write bytes as letters: " the" is "\u0120the".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace moxie::text {

/// The bytes behind a token (UTF-8) written in that alphabet; empty if a character is not of it.
std::optional<std::string> bytes_of_letters(std::string_view token);

/// Any bytes, written in that alphabet (UTF-8).
std::string letters_of_bytes(std::string_view bytes);

}  // namespace moxie::text
