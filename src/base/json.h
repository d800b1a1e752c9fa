// JSON as a tree that knows where in the source each value stood. Not a streaming parser: the whole text is in memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace moxie::json {

enum class Type { null, boolean, integer, number, string, array, object };

/// Name of a type for messages: "an integer".
std::string_view type_name(Type type);

class Value;
struct Member;
using Array = std::vector<Value>;
using Object = std::vector<Member>;  // in source order; keys are unique when parsed

/// One JSON value. An `integer` was written without point or exponent and fits int64 (as_int) or uint64 (as_uint);
/// every other number is a `number`. Accessors CHECK the type: ask type() first, or use the reader of the format.
class Value {
 public:
  Value();
  Value(bool value);
  Value(int value);
  Value(int64_t value);
  Value(uint64_t value);
  Value(double value);
  Value(std::string value);
  Value(std::string_view value);
  Value(const char* value);
  Value(Array value);
  Value(Object value);

  Type type() const { return type_; }
  bool is_null() const { return type_ == Type::null; }
  bool is_string() const { return type_ == Type::string; }
  bool is_array() const { return type_ == Type::array; }
  bool is_object() const { return type_ == Type::object; }
  bool is_integer() const { return type_ == Type::integer; }
  bool is_number() const { return type_ == Type::integer || type_ == Type::number; }
  bool is_boolean() const { return type_ == Type::boolean; }

  bool as_bool() const;
  std::optional<int64_t> as_int() const;    // empty if not an integer, or out of range
  std::optional<uint64_t> as_uint() const;  // empty if not an integer, or negative
  double as_double() const;                 // of an integer or a number
  const std::string& as_string() const;
  const Array& items() const;
  const Object& members() const;

  /// The member of that name, or nullptr (also if this is not an object). Linear in the number of members.
  const Value* find(std::string_view key) const;

  /// Byte offset of the value's first character in the parsed text; of one made by hand, what set_offset said, else
  /// zero.
  size_t offset() const { return offset_; }
  Value& set_offset(size_t offset) {
    offset_ = offset;
    return *this;
  }

  /// Appends a member to an object (a null value becomes an object), or an item to an array likewise.
  Value& set(std::string key, Value value);
  Value& push(Value value);

  /// Serialises: UTF-8 as is (U+FFFD for bytes that are not), no HTML escapes. indent < 0: one line. Cost: linear.
  std::string dump(int indent = -1) const;

 private:
  friend class Builder;
  Type type_ = Type::null;
  bool negative_ = false;  // of an integer, which is kept as the bits of an int64 then
  size_t offset_ = 0;
  std::variant<uint64_t, double, std::string, Array, Object> data_;  // one at a time: vocabularies hold millions
};

struct Member {
  std::string key;
  Value value;
  size_t key_offset = 0;
};

// Below Member, because a constructor must know how to destroy the members it has made.
inline Value::Value() = default;
inline Value::Value(bool value) : type_(Type::boolean), data_(uint64_t{value}) {}
inline Value::Value(int value) : Value(static_cast<int64_t>(value)) {}
inline Value::Value(int64_t value) : type_(Type::integer), negative_(value < 0), data_(static_cast<uint64_t>(value)) {}
inline Value::Value(uint64_t value) : type_(Type::integer), data_(value) {}
inline Value::Value(double value) : type_(Type::number), data_(value) {}
inline Value::Value(std::string value) : type_(Type::string), data_(std::move(value)) {}
inline Value::Value(std::string_view value) : Value(std::string(value)) {}
inline Value::Value(const char* value) : Value(std::string(value)) {}
inline Value::Value(Array value) : type_(Type::array), data_(std::move(value)) {}
inline Value::Value(Object value) : type_(Type::object), data_(std::move(value)) {}

struct ParseOptions {
  std::string source;      // what to call the text in errors: "config.json"
  int max_depth = 64;      // nesting limit
  size_t base_offset = 0;  // added to every offset, when the text is a part of a larger file
};

/// Parses one JSON document, whole: the root is an object or an array, nothing but whitespace follows it, keys are
/// unique in their object, the text is UTF-8. Throws Error{invalid} naming source, byte offset and what is wrong.
/// Cost: linear time; memory a small multiple of the text.
Value parse(std::string_view text, const ParseOptions& options);

/// `text` as a JSON string literal, quotes included. A byte that is not UTF-8 becomes U+FFFD.
std::string quote(std::string_view text);

/// Version of the library that parses: "3.0.1".
std::string_view backend_version();

}  // namespace moxie::json
