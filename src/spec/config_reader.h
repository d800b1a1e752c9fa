// Checked access to the keys of a config object: every refusal names file, field, byte offset, expected and got.
// It knows JSON and ranges, no architecture.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace moxie {

/// Inclusive bounds of an integer field.
struct IntegerRange {
  int64_t low;
  int64_t high;
};

/// Bounds of a number field; `low` itself is allowed only where `from_low`. NaN and infinities never pass.
struct NumberRange {
  double low;
  double high;
  bool from_low = false;
};

/// What to call the fields of a config that was made of another file: full path ("rope_scaling.factor") -> its key
/// there.
using FieldNames = std::map<std::string, std::string, std::less<>>;

/// One JSON object of a config. A key that is null counts as absent, as in transformers. Each accessor throws
/// Error{invalid} if the value has another type or is out of range; those without a fallback also if it is absent.
/// Keeps a reference to the object: it must outlive the reader.
class ConfigReader {
 public:
  /// `source` names the file in errors; `path` is put before field names ("rope_scaling."); `names`, which must outlive
  /// the reader too, says what to call fields instead.
  ConfigReader(const json::Value& object, std::string source, std::string path = "", const FieldNames* names = nullptr);

  bool has(std::string_view key) const { return find(key) != nullptr; }
  bool has_null(std::string_view key) const;  // present, and null

  int64_t integer(std::string_view key, IntegerRange range) const;
  int64_t integer(std::string_view key, IntegerRange range, int64_t fallback) const;
  double number(std::string_view key, NumberRange range) const;
  double number(std::string_view key, NumberRange range, double fallback) const;
  bool boolean(std::string_view key, bool fallback) const;
  std::string string(std::string_view key, std::string_view fallback) const;

  /// A string that must be one of a few.
  std::string choice(std::string_view key, std::initializer_list<std::string_view> allowed,
                     std::string_view fallback) const;

  /// An integer that has several spellings; those present must agree.
  int64_t integer_of(std::initializer_list<std::string_view> keys, IntegerRange range) const;

  /// Arrays; absent: empty. An integer alone counts as an array of one.
  std::vector<int64_t> integers(std::string_view key, IntegerRange range) const;
  std::vector<double> numbers(std::string_view key, NumberRange range) const;
  std::vector<std::string> strings(std::string_view key) const;

  /// A nested object, if present.
  std::optional<ConfigReader> object(std::string_view key) const;

  /// Refuses a field, at its offset if it is present. `got` empty: the value itself is shown.
  [[noreturn]] void fail(std::string_view key, std::string expected, std::string got = "", std::string hint = "") const;

 private:
  const json::Value* find(std::string_view key) const;  // nullptr if absent or null
  const json::Value& required(std::string_view key, std::string_view expected) const;
  int64_t checked_integer(std::string_view key, const json::Value& value, IntegerRange range) const;
  double checked_number(std::string_view key, const json::Value& value, NumberRange range) const;
  const json::Array& array(std::string_view key) const;
  [[noreturn]] void refuse(std::string_view key, const json::Value* value, std::string expected, std::string got,
                           std::string hint) const;

  const json::Value* object_;
  std::string source_;
  std::string path_;
  const FieldNames* names_;
};

}  // namespace moxie
