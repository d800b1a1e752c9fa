// Unicode as tokenizers need it: normal forms, lower case, white space, and UTF-8 that is made whole. No word breaking.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace moxie::text {

enum class NormalForm { nfc, nfd, nfkc, nfkd };

/// Appends the normal form of valid UTF-8. Cost: n log n at worst (a run of combining marks is sorted).
void append_normalized(std::string& out, std::string_view text, NormalForm form);

/// True if the form surely leaves the text as it is (a quick, not a complete, test).
bool is_surely_normal(std::string_view text, NormalForm form);

/// Appends the text in lower case, character by character (no final-sigma rule).
void append_lowercase(std::string& out, std::string_view text);

/// The White_Space property.
bool is_white_space(uint32_t code_point);
/// Letters, marks, numbers and connector punctuation: what \w matches.
bool is_word(uint32_t code_point);

/// Byte lengths of the white space at the start and at the end of valid UTF-8.
size_t leading_white_space(std::string_view text);
size_t trailing_white_space(std::string_view text);

/// The code point at `offset` of valid UTF-8, and `offset` moved past it.
uint32_t next_code_point(std::string_view text, size_t& offset);
/// The code point that ends at `offset` > 0 of valid UTF-8.
uint32_t code_point_before(std::string_view text, size_t offset);

/// First byte that is not valid UTF-8, or npos; fast over ASCII.
size_t first_invalid_utf8(std::string_view text);

/// Appends `bytes` with U+FFFD for each maximal broken sequence (Unicode 3.9, as WHATWG decoders do). An incomplete
/// sequence at the end is not appended but left in `held`; what `held` brought along comes first.
void append_whole_utf8(std::string& out, std::string& held, std::string_view bytes);

inline constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

}  // namespace moxie::text
