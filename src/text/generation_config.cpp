#include "text/generation_config.h"

#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace moxie {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr int64_t kMaxId = std::numeric_limits<int32_t>::max();
constexpr double kInfinite = std::numeric_limits<double>::infinity();

class Reader {
 public:
  Reader(const json::Value& root, std::string file) : root_(root), file_(std::move(file)) {}

  std::optional<bool> boolean(std::string_view field) const {
    const json::Value* value = find(field);
    if (value == nullptr) return std::nullopt;
    if (!value->is_boolean()) refuse(field, *value, "true or false");
    return value->as_bool();
  }

  std::optional<double> number(std::string_view field, double least, double most) const {
    const json::Value* value = find(field);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number() || !(value->as_double() >= least && value->as_double() <= most)) {
      refuse(field, *value, fmt::format("a number from {} to {}", least, most));
    }
    return value->as_double();
  }

  std::optional<int64_t> integer(std::string_view field, int64_t least, int64_t most) const {
    const json::Value* value = find(field);
    if (value == nullptr) return std::nullopt;
    return integer(field, *value, least, most);
  }

  std::vector<int64_t> ids(std::string_view field) const {
    const json::Value* value = find(field);
    if (value == nullptr) return {};
    if (!value->is_array()) return {integer(field, *value, 0, kMaxId)};
    std::vector<int64_t> result;
    for (const json::Value& item : value->items()) result.push_back(integer(field, item, 0, kMaxId));
    return result;
  }

 private:
  const json::Value* find(std::string_view field) const {
    const json::Value* value = root_.find(field);
    return value == nullptr || value->is_null() ? nullptr : value;
  }

  int64_t integer(std::string_view field, const json::Value& value, int64_t least, int64_t most) const {
    const auto result = value.as_int();
    if (!result || *result < least || *result > most) {
      refuse(field, value, fmt::format("an integer from {} to {}", least, most));
    }
    return *result;
  }

  [[noreturn]] void refuse(std::string_view field, const json::Value& value, std::string expected) const {
    throw invalid({.where = fmt::format("{}: {} at byte {}", file_, field, value.offset()),
                   .expected = std::move(expected),
                   .got = value.is_number() ? value.dump() : std::string(json::type_name(value.type()))});
  }

  const json::Value& root_;
  std::string file_;
};

}  // namespace

GenerationConfig GenerationConfig::load(const std::filesystem::path& model_dir) {
  const auto file = model_dir / "generation_config.json";
  GenerationConfig config;
  if (!std::filesystem::exists(file)) return config;
  const json::Value root = json::parse(read_file(file, kMaxBytes), {.source = file.string()});
  if (!root.is_object()) throw invalid({.where = file.string(), .expected = "an object", .got = "an array"});
  const Reader reader(root, file.string());
  config.do_sample = reader.boolean("do_sample");
  config.temperature = reader.number("temperature", 0, kInfinite);
  config.top_k = reader.integer("top_k", 0, kMaxId);
  config.top_p = reader.number("top_p", 0, 1);
  config.min_p = reader.number("min_p", 0, 1);
  config.repetition_penalty = reader.number("repetition_penalty", std::numeric_limits<double>::min(), kInfinite);
  config.max_new_tokens = reader.integer("max_new_tokens", 1, std::numeric_limits<int64_t>::max());
  config.eos_token_id = reader.ids("eos_token_id");
  config.bos_token_id = reader.integer("bos_token_id", 0, kMaxId);
  config.pad_token_id = reader.integer("pad_token_id", -1, kMaxId);
  return config;
}

}  // namespace moxie
