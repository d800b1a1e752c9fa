// config.json -> ModelSpec: finds the family and reads its table. Touches no weights.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "spec/config_reader.h"
#include "spec/model_spec.h"

namespace moxie {

/// Reads the text of a config.json. `source` names it in errors. Throws Error{invalid}: malformed JSON, an unknown
/// family (with the list of known ones), a missing or out-of-range field, an unknown value of a known key.
/// Unknown keys are accepted.
ModelSpec parse_config(std::string_view text, const std::string& source);

/// The same for a config that is there as a tree, its offsets those of the file `source`, whose fields are called as
/// `names` says.
ModelSpec read_config(const json::Value& config, const std::string& source, const FieldNames* names = nullptr);

/// The same for a model directory or a config.json file.
ModelSpec load_config(const std::filesystem::path& directory_or_file);

/// What load_config reads, as a tree.
json::Value config_tree(const std::filesystem::path& directory_or_file);

/// The families this build knows, sorted.
std::vector<std::string> known_families();

}  // namespace moxie
