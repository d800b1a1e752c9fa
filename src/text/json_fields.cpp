#include "text/json_fields.h"

#include "base/error.h"

namespace moxie::text {

Fields::Fields(const json::Value& value, const std::string& source, std::string path)
    : value_(value), source_(source), path_(std::move(path)) {
  if (!value.is_object()) fail({}, "an object", std::string(json::type_name(value.type())));
}

const json::Value* Fields::find(std::string_view key) const {
  const json::Value* member = value_.find(key);
  return member == nullptr || member->is_null() ? nullptr : member;
}

const json::Value& Fields::require(std::string_view key) const {
  const json::Value* member = find(key);
  if (member == nullptr) fail({}, fmt::format("a member \"{}\"", key), "none");
  return *member;
}

std::string Fields::string(std::string_view key) const {
  const json::Value& member = require(key);
  if (!member.is_string()) fail(key, "a string", std::string(json::type_name(member.type())));
  return member.as_string();
}

std::string Fields::string(std::string_view key, std::string_view otherwise) const {
  return find(key) == nullptr ? std::string(otherwise) : string(key);
}

bool Fields::boolean(std::string_view key, bool otherwise) const {
  const json::Value* member = find(key);
  if (member == nullptr) return otherwise;
  if (!member->is_boolean()) fail(key, "true or false", std::string(json::type_name(member->type())));
  return member->as_bool();
}

int64_t Fields::integer(std::string_view key) const {
  const json::Value& member = require(key);
  const std::optional<int64_t> value = member.as_int();
  if (!value) fail(key, "an integer", std::string(json::type_name(member.type())));
  return *value;
}

int64_t Fields::integer(std::string_view key, int64_t otherwise) const {
  return find(key) == nullptr ? otherwise : integer(key);
}

const json::Array& Fields::array(std::string_view key) const {
  const json::Value& member = require(key);
  if (!member.is_array()) fail(key, "an array", std::string(json::type_name(member.type())));
  return member.items();
}

Fields Fields::object(std::string_view key) const {
  return {require(key), source_, fmt::format("{}.{}", path_, key)};
}

std::string Fields::where(std::string_view key) const {
  const json::Value* member = key.empty() ? nullptr : value_.find(key);
  if (member == nullptr) return where(value_, {});
  return where(*member, fmt::format(".{}", key));
}

std::string Fields::where(const json::Value& value, std::string_view what) const {
  return fmt::format("{}: byte {}: {}{}", source_, value.offset(), path_, what);
}

void Fields::fail(std::string_view key, std::string expected, std::string got, std::string hint) const {
  throw invalid({.where = where(key), .expected = std::move(expected), .got = std::move(got), .hint = std::move(hint)});
}

void Fields::unsupported(std::string_view supported) const {
  fail("type", fmt::format("one of {}", supported), fmt::format("\"{}\"", printable(type())));
}

}  // namespace moxie::text
