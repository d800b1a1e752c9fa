// Models whose shape has a name here: published numbers as a config.json, for costs and speed without a download. No
// weights, no tokenizers.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moxie {

/// The config.json of a name ("qwen3-30b-a3b"), or nothing. "NAME-dense": its dense twin, with one network as wide as
/// the experts that a token visits.
std::optional<std::string_view> find_shape(std::string_view name);

std::vector<std::string> shape_names();

}  // namespace moxie
