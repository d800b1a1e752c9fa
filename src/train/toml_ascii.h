// Where a TOML text has a character that is not ASCII in a place where the TOML reader cannot cope with one. Checks
// nothing else: the text may be no TOML at all.
#pragma once

#include <cstddef>
#include <string_view>

namespace moxie {

/// Byte offset of the first such character, or npos. TOML 1.0 has ASCII alone outside strings and comments; toml++ 3.3
/// runs into undefined behaviour there, and also right after a backslash (and white space) in a multi-line string.
/// Up to the first fault of the text (and what toml++ looks ahead at there) it misses none; a string in an inline table
/// wants a space before it. Cost: linear.
size_t toml_stray_offset(std::string_view text);

}  // namespace moxie
