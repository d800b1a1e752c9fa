// Reading tiktoken's rank files ("BASE64 RANK" lines) into Parts.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer_parts.h"

namespace moxie::text {

/// Throws Error{invalid} naming file and line for anything malformed: base64, ranks, a token or rank twice.
Parts parts_from_tiktoken(std::string_view ranks, std::string_view pattern,
                          const std::vector<std::pair<std::string, int32_t>>& specials, const std::string& source);

}  // namespace moxie::text
