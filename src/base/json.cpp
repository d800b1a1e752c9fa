#include "base/json.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "base/utf8.h"

namespace moxie::json {

std::string_view type_name(Type type) {
  constexpr std::string_view names[] = {"null",     "true or false", "an integer", "a number",
                                        "a string", "an array",      "an object"};
  return names[static_cast<int>(type)];
}

bool Value::as_bool() const {
  MOXIE_CHECK(is_boolean());
  return std::get<uint64_t>(data_) != 0;
}

std::optional<int64_t> Value::as_int() const {
  if (!is_integer()) return std::nullopt;
  const uint64_t bits = std::get<uint64_t>(data_);
  if (negative_ || bits <= static_cast<uint64_t>(INT64_MAX)) return static_cast<int64_t>(bits);
  return std::nullopt;
}

std::optional<uint64_t> Value::as_uint() const {
  if (!is_integer() || negative_) return std::nullopt;
  return std::get<uint64_t>(data_);
}

double Value::as_double() const {
  MOXIE_CHECK(is_number());
  if (type_ == Type::number) return std::get<double>(data_);
  const uint64_t bits = std::get<uint64_t>(data_);
  return negative_ ? static_cast<double>(static_cast<int64_t>(bits)) : static_cast<double>(bits);
}

const std::string& Value::as_string() const {
  MOXIE_CHECK(is_string());
  return std::get<std::string>(data_);
}

const Array& Value::items() const {
  MOXIE_CHECK(is_array());
  return std::get<Array>(data_);
}

const Object& Value::members() const {
  MOXIE_CHECK(is_object());
  return std::get<Object>(data_);
}

const Value* Value::find(std::string_view key) const {
  if (!is_object()) return nullptr;
  for (const Member& member : members()) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

Value& Value::set(std::string key, Value value) {
  MOXIE_CHECK(is_null() || is_object());
  if (is_null()) data_ = Object{};
  type_ = Type::object;
  std::get<Object>(data_).push_back({std::move(key), std::move(value), 0});
  return *this;
}

Value& Value::push(Value value) {
  MOXIE_CHECK(is_null() || is_array());
  if (is_null()) data_ = Array{};
  type_ = Type::array;
  std::get<Array>(data_).push_back(std::move(value));
  return *this;
}

// Builds the tree from simdjson's on-demand walk, which knows where each token stands in the source.
class Builder {
 public:
  Builder(std::string_view text, const ParseOptions& options) : options_(options), padded_(text), text_(text) {}

  Value parse() {
    const size_t bad = utf8_error_offset(text_);
    if (bad != std::string_view::npos) {
      fail(bad, "UTF-8 text", fmt::format("byte 0x{:02x}", static_cast<unsigned char>(text_[bad])));
    }
    simdjson::ondemand::parser parser;
    simdjson::ondemand::document document;
    check(parser.iterate(padded_).get(document), 0);
    document_ = &document;
    simdjson::ondemand::json_type type{};
    check(document.type().get(type), 0);
    if (type != simdjson::ondemand::json_type::object && type != simdjson::ondemand::json_type::array) {
      fail(text_.find_first_not_of(" \t\r\n"), "an object or an array", "another value");
    }
    simdjson::ondemand::value root;
    check(document.get_value().get(root), 0);
    Value value = build(root, 1);
    const char* rest = nullptr;
    if (document.current_location().get(rest) == simdjson::SUCCESS) {
      fail(offset_of(rest), "the end of the text", "more after the JSON value");
    }
    return value;
  }

 private:
  [[noreturn]] void fail(size_t offset, std::string expected, std::string got) const {
    throw invalid({.where = fmt::format("{}: byte {}", options_.source, options_.base_offset + offset),
                   .expected = std::move(expected),
                   .got = std::move(got)});
  }

  size_t offset_of(const char* position) const {
    const auto offset = static_cast<size_t>(position - padded_.data());
    return offset <= text_.size() ? offset : text_.size();
  }

  size_t here() const {
    const char* position = nullptr;
    if (document_ == nullptr || document_->current_location().get(position) != simdjson::SUCCESS) return text_.size();
    return offset_of(position);
  }

  void check(simdjson::error_code code, size_t offset) const {
    if (code == simdjson::SUCCESS) return;
    if (code == simdjson::EMPTY) fail(0, "a JSON object or array", "an empty text");
    fail(offset > 0 ? offset : here(), "valid JSON", simdjson::error_message(code));
  }

  Value build(simdjson::ondemand::value& source, int depth) {
    const std::string_view token = source.raw_json_token();
    const size_t offset = offset_of(token.data());
    if (depth > options_.max_depth)
      fail(offset, fmt::format("at most {} levels of nesting", options_.max_depth), "more");
    simdjson::ondemand::json_type type{};
    check(source.type().get(type), offset);
    Value value;
    switch (type) {
      case simdjson::ondemand::json_type::object:
        value = build_object(source, depth, offset);
        break;
      case simdjson::ondemand::json_type::array: {
        simdjson::ondemand::array array;
        check(source.get_array().get(array), offset);
        Array items;
        for (auto item : array) {
          simdjson::ondemand::value inner;
          check(std::move(item).get(inner), 0);
          items.push_back(build(inner, depth + 1));
        }
        value = Value(std::move(items));
        break;
      }
      case simdjson::ondemand::json_type::string: {
        std::string_view text;
        check(source.get_string().get(text), offset);
        value = Value(text);
        break;
      }
      case simdjson::ondemand::json_type::number:
        value = build_number(source, token, offset);
        break;
      case simdjson::ondemand::json_type::boolean: {
        bool flag = false;
        check(source.get_bool().get(flag), offset);
        value = Value(flag);
        break;
      }
      case simdjson::ondemand::json_type::null:
        if (trimmed(token) != "null") fail(offset, "valid JSON", printable(trimmed(token)));
        break;
    }
    value.offset_ = options_.base_offset + offset;
    return value;
  }

  Value build_object(simdjson::ondemand::value& source, int depth, size_t offset) {
    simdjson::ondemand::object object;
    check(source.get_object().get(object), offset);
    Object members;
    for (auto entry : object) {
      simdjson::ondemand::field field;
      check(std::move(entry).get(field), 0);
      const size_t key_offset = offset_of(field.key().raw()) - 1;  // the opening quote
      std::string_view key;
      check(field.unescaped_key().get(key), key_offset);
      std::string name(key);
      simdjson::ondemand::value inner = field.value();
      members.push_back({std::move(name), build(inner, depth + 1), options_.base_offset + key_offset});
    }
    reject_duplicates(members);
    return Value(std::move(members));
  }

  void reject_duplicates(const Object& object) const {
    if (object.size() < 2) return;
    std::unordered_map<std::string_view, size_t> seen;
    seen.reserve(object.size());
    for (const Member& member : object) {
      const auto [entry, is_new] = seen.emplace(member.key, member.key_offset);
      if (is_new) continue;
      fail(member.key_offset - options_.base_offset, "each key once",
           fmt::format("\"{}\" again (first at byte {})", printable(member.key), entry->second));
    }
  }

  static std::string_view trimmed(std::string_view token) {
    const size_t end = token.find_last_not_of(" \t\r\n");
    return token.substr(0, end == std::string_view::npos ? 0 : end + 1);
  }

  Value build_number(simdjson::ondemand::value& source, std::string_view token, size_t offset) const {
    const std::string_view digits = trimmed(token);
    if (digits.find_first_of(".eE") == std::string_view::npos) {
      int64_t signed_value = 0;
      uint64_t unsigned_value = 0;
      if (source.get_int64().get(signed_value) == simdjson::SUCCESS) return Value(signed_value);
      if (source.get_uint64().get(unsigned_value) == simdjson::SUCCESS) return Value(unsigned_value);
    }
    double number = 0;
    check(source.get_double().get(number), offset);
    return Value(number);
  }

  const ParseOptions& options_;
  simdjson::padded_string padded_;
  std::string_view text_;
  simdjson::ondemand::document* document_ = nullptr;
};

Value parse(std::string_view text, const ParseOptions& options) {
  return Builder(text, options).parse();
}

std::string quote(std::string_view text) {
  std::string out = "\"";
  for (size_t at = 0; at < text.size();) {
    const int length = utf8_sequence_length(text, at);
    if (length != 1) {  // JSON is UTF-8, whatever a user typed
      out += length == 0 ? "\xef\xbf\xbd" : text.substr(at, static_cast<size_t>(length));
      at += static_cast<size_t>(std::max(length, 1));
      continue;
    }
    const char c = text[at++];
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
        } else {
          out += c;
        }
    }
  }
  return out + "\"";
}

namespace {

std::string dump_number(double number) {
  if (!std::isfinite(number)) return "null";  // JSON has no NaN or infinity
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), number);
  std::string text(buffer, result.ptr);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

void dump_value(const Value& value, int indent, int level, std::string& out) {
  const auto newline = [&](int to_level) {
    if (indent < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(indent) * static_cast<size_t>(to_level), ' ');
  };
  switch (value.type()) {
    case Type::null:
      out += "null";
      return;
    case Type::boolean:
      out += value.as_bool() ? "true" : "false";
      return;
    case Type::integer:
      out += value.as_int() ? std::to_string(*value.as_int()) : std::to_string(*value.as_uint());
      return;
    case Type::number:
      out += dump_number(value.as_double());
      return;
    case Type::string:
      out += quote(value.as_string());
      return;
    case Type::array: {
      out += '[';
      bool first = true;
      for (const Value& item : value.items()) {
        if (!first) out += indent < 0 ? ", " : ",";
        first = false;
        newline(level + 1);
        dump_value(item, indent, level + 1, out);
      }
      if (!first) newline(level);
      out += ']';
      return;
    }
    case Type::object: {
      out += '{';
      bool first = true;
      for (const Member& member : value.members()) {
        if (!first) out += indent < 0 ? ", " : ",";
        first = false;
        newline(level + 1);
        out += quote(member.key) + ": ";
        dump_value(member.value, indent, level + 1, out);
      }
      if (!first) newline(level);
      out += '}';
      return;
    }
  }
}

}  // namespace

std::string Value::dump(int indent) const {
  std::string out;
  dump_value(*this, indent, 0, out);
  return out;
}

std::string_view backend_version() {
  static const std::string version = fmt::format("{}.{}.{}", simdjson::SIMDJSON_VERSION_MAJOR,
                                                 simdjson::SIMDJSON_VERSION_MINOR, simdjson::SIMDJSON_VERSION_REVISION);
  return version;
}

}  // namespace moxie::json
