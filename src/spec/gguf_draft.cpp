#include "spec/gguf_draft.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "base/error.h"

namespace moxie {
namespace {

constexpr std::string_view kRopeScaling = "rope_scaling.";

// The value a field gets, or nullptr for a list that says different things of different layers.
const json::Value* one_for_all(const json::Value& value) {
  if (!value.is_array()) return &value;
  const json::Array& items = value.items();
  if (items.empty()) return nullptr;
  for (const json::Value& item : items) {
    if (!item.is_number() || item.as_double() != items.front().as_double()) return nullptr;
  }
  return &items.front();
}

json::Value as_written(const json::Value& value) {
  json::Value out = value;
  if (value.type() == json::Type::number) out = json::Value(decimal_of(value.as_double()));
  return out.set_offset(value.offset());
}

}  // namespace

double decimal_of(double value) {
  const auto narrow = static_cast<float>(value);
  if (!std::isfinite(narrow) || static_cast<double>(narrow) != value) return value;
  char digits[32];
  const char* end = std::to_chars(digits, digits + sizeof digits, narrow).ptr;
  double out = value;
  std::from_chars(digits, end, out);
  return out;
}

GgufDraft::GgufDraft(const json::Value& metadata, const GgufTensorFacts& tensors, std::string source)
    : metadata_(metadata), tensors_(tensors), source_(std::move(source)) {
  architecture_ = ConfigReader(metadata, source_).string("general.architecture", "");
}

std::string GgufDraft::full(std::string_view key) const {
  return fmt::format("{}.{}", architecture_, key);
}

int64_t GgufDraft::integer(std::string_view key, IntegerRange range, int64_t fallback) const {
  const json::Value* value = find(key);
  const json::Value* one = value == nullptr ? nullptr : one_for_all(*value);
  if (value == nullptr) return fallback;
  const std::optional<int64_t> integer = one == nullptr ? std::nullopt : one->as_int();
  if (!integer || *integer < range.low || *integer > range.high) {
    fail(key, fmt::format("an integer from {} to {}", range.low, range.high),
         integer ? fmt::format("{}", *integer) : "");
  }
  return *integer;
}

int64_t GgufDraft::integer(std::string_view key, IntegerRange range) const {
  if (find(key) == nullptr) fail(key, fmt::format("an integer from {} to {}", range.low, range.high));
  return integer(key, range, 0);
}

void GgufDraft::put(std::string_view field, json::Value value, std::string_view key) {
  if (!key.empty()) {
    const std::string full_key = full(key);
    names_.insert_or_assign(std::string(field), full_key);
    if (const json::Value* from = metadata_.find(full_key)) value.set_offset(from->offset());
  }
  if (field.starts_with(kRopeScaling)) {
    rope_scaling_.insert_or_assign(std::string(field.substr(kRopeScaling.size())), std::move(value));
  } else {
    fields_.insert_or_assign(std::string(field), std::move(value));
  }
}

bool GgufDraft::copy_from(std::string_view field, const std::string& full_key) {
  names_.insert_or_assign(std::string(field), full_key);
  const json::Value* value = metadata_.find(full_key);
  if (value == nullptr) return false;
  const json::Value* one = one_for_all(*value);
  if (one == nullptr) {
    ConfigReader(metadata_, source_).fail(full_key, "one value for all layers", "a list of different ones");
  }
  put(field, as_written(*one));
  return true;
}

bool GgufDraft::copy(std::string_view field, std::string_view key) {
  return copy_from(field, full(key));
}

bool GgufDraft::copy_global(std::string_view field, std::string_view key) {
  return copy_from(field, std::string(key));
}

void GgufDraft::require(std::string_view field, std::string_view key) {
  if (!copy(field, key)) fail(key, "a number");
}

void GgufDraft::fail(std::string_view key, std::string expected, std::string got, std::string hint) const {
  ConfigReader(metadata_, source_).fail(full(key), std::move(expected), std::move(got), std::move(hint));
}

void GgufDraft::fail_global(std::string_view key, std::string expected, std::string got) const {
  ConfigReader(metadata_, source_).fail(key, std::move(expected), std::move(got));
}

GgufConfig GgufDraft::finish() && {
  GgufConfig made{.config = json::Value(json::Object{}), .names = std::move(names_)};
  if (!rope_scaling_.empty()) {
    json::Value scaling{json::Object{}};
    for (auto& [field, value] : rope_scaling_) scaling.set(field, std::move(value));
    fields_.insert_or_assign("rope_scaling", std::move(scaling));
  }
  for (auto& [field, value] : fields_) made.config.set(field, std::move(value));
  return made;
}

}  // namespace moxie
