// UTF-8: checking, decoding and encoding of code points. Knows nothing of normal forms or categories (text/unicode).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace moxie {

/// Byte offset of the first byte that is not valid UTF-8 (overlong forms, surrogates and values above U+10FFFF are
/// not), or npos if all is well. A sequence cut by the end counts as invalid at its first byte.
size_t utf8_error_offset(std::string_view text);

/// Length in bytes (1-4) of the valid sequence at `offset`, or 0 if it is invalid or cut short.
int utf8_sequence_length(std::string_view text, size_t offset);

/// The code point at `offset`, which must begin a valid sequence of `length` bytes.
uint32_t utf8_decode(std::string_view text, size_t offset, int length);

/// Appends the UTF-8 form of `code_point`.
void utf8_append(std::string& out, uint32_t code_point);

}  // namespace moxie
