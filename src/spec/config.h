// config.json -> ModelSpec: finds the family and reads its table. Touches no weights.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "spec/model_spec.h"

namespace moxie {

/// Reads the text of a config.json. `source` names it in errors. Throws Error{invalid}: malformed JSON, an unknown
/// family (with the list of known ones), a missing or out-of-range field, an unknown value of a known key.
/// Unknown keys are accepted.
ModelSpec parse_config(std::string_view text, const std::string& source);

/// The same for a model directory or a config.json file.
ModelSpec load_config(const std::filesystem::path& directory_or_file);

/// The families this build knows, sorted.
std::vector<std::string> known_families();

}  // namespace moxie
