#include "spec/config_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"

namespace moxie {
namespace {

std::string describe(IntegerRange range) {
  return fmt::format("an integer from {} to {}", range.low, range.high);
}

std::string describe(NumberRange range) {
  return range.from_low ? fmt::format("a number from {} to {}", range.low, range.high)
                        : fmt::format("a number above {} and at most {}", range.low, range.high);
}

// What stands in the file, short enough for a message.
std::string shown(const json::Value& value) {
  switch (value.type()) {
    case json::Type::array:
      return "an array";
    case json::Type::object:
      return "an object";
    case json::Type::string:
      return "\"" + printable(value.as_string()) + "\"";
    default:
      return value.dump();
  }
}

}  // namespace

ConfigReader::ConfigReader(const json::Value& object, std::string source, std::string path, const FieldNames* names)
    : object_(&object), source_(std::move(source)), path_(std::move(path)), names_(names) {
  MOXIE_CHECK(object.is_object());
}

const json::Value* ConfigReader::find(std::string_view key) const {
  const json::Value* value = object_->find(key);
  return value != nullptr && value->is_null() ? nullptr : value;
}

bool ConfigReader::has_null(std::string_view key) const {
  const json::Value* value = object_->find(key);
  return value != nullptr && value->is_null();
}

void ConfigReader::refuse(std::string_view key, const json::Value* value, std::string expected, std::string got,
                          std::string hint) const {
  std::string name = fmt::format("{}{}", path_, key);
  if (names_ != nullptr) {
    if (const auto known = names_->find(name); known != names_->end()) name = known->second;
  }
  std::string where = fmt::format("{}: {}", source_, name);
  if (value != nullptr) where += fmt::format(" at byte {}", value->offset());
  throw invalid({std::move(where), std::move(expected), std::move(got), std::move(hint)});
}

void ConfigReader::fail(std::string_view key, std::string expected, std::string got, std::string hint) const {
  const json::Value* value = object_->find(key);
  if (got.empty()) got = value == nullptr ? "no such key" : shown(*value);
  refuse(key, value, std::move(expected), std::move(got), std::move(hint));
}

const json::Value& ConfigReader::required(std::string_view key, std::string_view expected) const {
  const json::Value* value = find(key);
  if (value == nullptr) fail(key, std::string(expected));
  return *value;
}

int64_t ConfigReader::checked_integer(std::string_view key, const json::Value& value, IntegerRange range) const {
  const std::optional<int64_t> integer = value.as_int();
  if (!integer || *integer < range.low || *integer > range.high) refuse(key, &value, describe(range), shown(value), "");
  return *integer;
}

double ConfigReader::checked_number(std::string_view key, const json::Value& value, NumberRange range) const {
  if (!value.is_number()) refuse(key, &value, describe(range), shown(value), "");
  const double number = value.as_double();
  const bool high_enough = range.from_low ? number >= range.low : number > range.low;
  if (!(high_enough && number <= range.high)) refuse(key, &value, describe(range), shown(value), "");
  return number;
}

int64_t ConfigReader::integer(std::string_view key, IntegerRange range) const {
  return checked_integer(key, required(key, describe(range)), range);
}

int64_t ConfigReader::integer(std::string_view key, IntegerRange range, int64_t fallback) const {
  const json::Value* value = find(key);
  return value == nullptr ? fallback : checked_integer(key, *value, range);
}

double ConfigReader::number(std::string_view key, NumberRange range) const {
  return checked_number(key, required(key, describe(range)), range);
}

double ConfigReader::number(std::string_view key, NumberRange range, double fallback) const {
  const json::Value* value = find(key);
  return value == nullptr ? fallback : checked_number(key, *value, range);
}

bool ConfigReader::boolean(std::string_view key, bool fallback) const {
  const json::Value* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) fail(key, "true or false");
  return value->as_bool();
}

std::string ConfigReader::string(std::string_view key, std::string_view fallback) const {
  const json::Value* value = find(key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) fail(key, "a string");
  return value->as_string();
}

std::string ConfigReader::choice(std::string_view key, std::initializer_list<std::string_view> allowed,
                                 std::string_view fallback) const {
  std::string text = string(key, fallback);
  for (std::string_view one : allowed) {
    if (text == one) return text;
  }
  fail(key, fmt::format("one of {}", fmt::join(allowed, ", ")));
}

int64_t ConfigReader::integer_of(std::initializer_list<std::string_view> keys, IntegerRange range) const {
  std::string_view found;
  int64_t result = 0;
  for (std::string_view key : keys) {
    if (!has(key)) continue;
    const int64_t value = integer(key, range);
    if (!found.empty() && value != result) fail(key, fmt::format("{}, as {} says", result, found));
    found = key;
    result = value;
  }
  if (found.empty()) fail(*keys.begin(), describe(range));
  return result;
}

const json::Array& ConfigReader::array(std::string_view key) const {
  static const json::Array none;
  const json::Value* value = find(key);
  if (value == nullptr) return none;
  if (!value->is_array()) fail(key, "an array");
  return value->items();
}

std::vector<int64_t> ConfigReader::integers(std::string_view key, IntegerRange range) const {
  const json::Value* value = find(key);
  if (value != nullptr && value->is_integer()) return {checked_integer(key, *value, range)};
  std::vector<int64_t> out;
  for (const json::Value& item : array(key)) out.push_back(checked_integer(key, item, range));
  return out;
}

std::vector<double> ConfigReader::numbers(std::string_view key, NumberRange range) const {
  std::vector<double> out;
  for (const json::Value& item : array(key)) out.push_back(checked_number(key, item, range));
  return out;
}

std::vector<std::string> ConfigReader::strings(std::string_view key) const {
  std::vector<std::string> out;
  for (const json::Value& item : array(key)) {
    if (!item.is_string()) refuse(key, &item, "a string", shown(item), "");
    out.push_back(item.as_string());
  }
  return out;
}

std::optional<ConfigReader> ConfigReader::object(std::string_view key) const {
  const json::Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) fail(key, "an object");
  return ConfigReader(*value, source_, fmt::format("{}{}.", path_, key), names_);
}

}  // namespace moxie
