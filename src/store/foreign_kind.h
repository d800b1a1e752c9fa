// What a file is that is not the one asked for: by its first bytes, for messages.
#pragma once

#include <string_view>

namespace moxie {

/// "a gzip file: gunzip it first", "a GGUF file" ..., or empty where the first bytes say nothing.
std::string_view foreign_kind(std::string_view bytes);

}  // namespace moxie
