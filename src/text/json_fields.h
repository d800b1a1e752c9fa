// Typed access to members of JSON objects, with errors that name file, offset and field. For tokenizer files.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace moxie::text {

/// An object of a file and where it stands: "tokenizer.json: byte 17: model".
class Fields {
 public:
  /// `value` must be an object, else Error{invalid}.
  Fields(const json::Value& value, const std::string& source, std::string path);

  const json::Value& value() const { return value_; }
  const std::string& source() const { return source_; }

  /// The member, or nullptr if it is absent or null.
  const json::Value* find(std::string_view key) const;

  std::string string(std::string_view key) const;
  std::string string(std::string_view key, std::string_view otherwise) const;
  bool boolean(std::string_view key, bool otherwise) const;
  int64_t integer(std::string_view key) const;
  int64_t integer(std::string_view key, int64_t otherwise) const;
  const json::Array& array(std::string_view key) const;
  Fields object(std::string_view key) const;

  /// The member "type", which is how tokenizer files tell components apart.
  std::string type() const { return string("type"); }

  /// "SOURCE: byte N: PATH.KEY"; an empty key means the object itself.
  std::string where(std::string_view key = {}) const;
  std::string where(const json::Value& value, std::string_view what) const;

  [[noreturn]] void fail(std::string_view key, std::string expected, std::string got, std::string hint = {}) const;
  /// Refuses the "type" of this object, naming those that are supported.
  [[noreturn]] void unsupported(std::string_view supported) const;

 private:
  const json::Value& require(std::string_view key) const;

  const json::Value& value_;
  const std::string& source_;
  std::string path_;
};

}  // namespace moxie::text
