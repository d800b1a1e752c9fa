// Values of a template run, with Python's meaning, and the budget that bounds the run. Reaches nothing outside the run.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"
#include "text/jinja_text.h"

namespace moxie::jinja {

/// Thrown inside a run; the interpreter adds the position and throws moxie::Error.
struct RunError {
  std::string message;
};

template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw RunError{fmt::format(format, std::forward<Args>(args)...)};
}

/// What one run may spend. Work is counted in steps: one a node visited or item made, one more for every 16 bytes.
class Budget {
 public:
  Budget(uint64_t steps, size_t max_text_bytes) : steps_(steps), max_text_bytes_(max_text_bytes) {}
  void spend(uint64_t steps = 1) {
    if (steps > steps_) fail("the template did not end within its limit of steps");
    steps_ -= steps;
  }
  /// Appends, unless the text would be longer than the limit.
  void append(Text& out, const Text& more) { append_slice(out, more, 0, more.size()); }
  void append_slice(Text& out, const Text& more, size_t begin, size_t end) {
    grow(out, end - begin);
    out.append_slice(more, begin, end);
  }
  void append(Text& out, std::string_view more) {
    grow(out, more.size());
    out.append(more);
  }

 private:
  void grow(const Text& out, size_t bytes) {
    if (bytes > max_text_bytes_ || out.size() > max_text_bytes_ - bytes) {
      fail("the text grew beyond its limit of {} bytes", max_text_bytes_);
    }
    spend(1 + bytes / 16);
  }
  uint64_t steps_;
  size_t max_text_bytes_;
};

class Value;
struct Macro;
struct Sequence;
struct Dict;
struct Bound;
struct Loop;
struct Namespace;

struct Undefined {
  std::shared_ptr<const std::string> why;  // "'x' is undefined"
};
struct None {};
/// The functions a template may call by name.
enum class Function { range, dict, make_namespace, raise_exception, strftime_now };

enum class Kind {
  undefined,
  none,
  boolean,
  integer,
  real,
  text,
  sequence,
  dict,
  name_space,
  macro,
  bound,
  loop,
  function
};

/// One value. All but namespaces are immutable, so no value can hold itself; namespaces and macros belong to the run.
class Value {
 public:
  Value() = default;
  Value(None) : data_(None{}) {}
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(Text value) : data_(std::make_shared<const Text>(std::move(value))) {}
  Value(std::shared_ptr<const Sequence> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<const Dict> value) : data_(std::move(value)) {}
  Value(Namespace* value) : data_(value) {}
  Value(const Macro* value) : data_(value) {}
  Value(std::shared_ptr<const Bound> value) : data_(std::move(value)) {}
  Value(std::shared_ptr<const Loop> value) : data_(std::move(value)) {}
  Value(Function value) : data_(value) {}
  Value(const char*) = delete;
  static Value undefined(std::string why);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind kind_) const { return kind() == kind_; }
  bool is_integral() const { return is(Kind::integer) || is(Kind::boolean); }
  bool is_number() const { return is_integral() || is(Kind::real); }

  // Each asks for its kind first; a number is also had as the other kinds of number.
  int64_t integer() const { return is(Kind::boolean) ? std::get<bool>(data_) : std::get<int64_t>(data_); }
  double real() const { return is(Kind::real) ? std::get<double>(data_) : static_cast<double>(integer()); }
  bool boolean() const { return std::get<bool>(data_); }
  const Text& text() const { return *std::get<std::shared_ptr<const Text>>(data_); }
  const Sequence& sequence() const { return *std::get<std::shared_ptr<const Sequence>>(data_); }
  const std::shared_ptr<const Sequence>& sequence_ptr() const {
    return std::get<std::shared_ptr<const Sequence>>(data_);
  }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Namespace* name_space() const { return std::get<Namespace*>(data_); }
  const Macro* macro() const { return std::get<const Macro*>(data_); }
  const Bound& bound() const { return *std::get<std::shared_ptr<const Bound>>(data_); }
  const Loop& loop() const { return *std::get<std::shared_ptr<const Loop>>(data_); }
  Function function() const { return std::get<Function>(data_); }
  /// Why it is undefined: "'x' is undefined".
  std::string undefined_why() const;

 private:
  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Text>, std::shared_ptr<const Sequence>,
               std::shared_ptr<const Dict>, Namespace*, const Macro*, std::shared_ptr<const Bound>,
               std::shared_ptr<const Loop>, Function>
      data_;
};

/// A list, a tuple, or what a lazy filter gives (always true, has no length, cannot be indexed).
struct Sequence {
  enum class Type { list, tuple, generator };
  Type type = Type::list;
  std::vector<Value> items;
  int depth = 1;  // levels of values below and with this one
};

/// Keys are unique and in order of first insertion.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_map<std::string_view, size_t> text_index;  // views of the keys of `entries`
  std::vector<size_t> other_keys;                           // entries whose key is not a text
  int depth = 1;

  const Value* find(std::string_view key) const;
  const Value* find(const Value& key, Budget& budget) const;
  /// Index in `entries`, or their number if the key is not there.
  size_t position(const Value& key, Budget& budget) const;
};

struct Namespace {
  std::map<std::string, Value, std::less<>> names;
};

/// A method taken off its value: `x.get` without a call.
struct Bound {
  Value self;
  std::string name;
  int depth = 1;
};

/// The `loop` variable of a running for loop.
struct Loop {
  std::shared_ptr<const Sequence> items;
  mutable size_t index = 0;
  int64_t level = 0;
};

/// Wraps the items; fails if values nest deeper than 100 levels.
Value make_sequence(std::vector<Value> items, Sequence::Type type = Sequence::Type::list);
Value make_dict(std::vector<std::pair<Value, Value>> entries, Budget& budget);
Value make_bound(const Value& self, std::string name);

/// A JSON value; `from_user` marks every string and key of it. Integers outside int64 and nesting beyond 100 fail.
Value from_json(const json::Value& value, bool from_user, Budget& budget, int depth = 0);

/// Python's name of the type: "str".
std::string_view type_name(const Value& value);
bool truthy(const Value& value);
bool equals(const Value& a, const Value& b, Budget& budget);
/// a < b; fails if the types have no order.
bool less(const Value& a, const Value& b, Budget& budget);
/// `item in container`.
bool contains(const Value& container, const Value& item, Budget& budget);
/// len(value).
int64_t length(const Value& value);
/// The items a for loop visits: list items, keys, characters; nothing for an undefined value.
std::shared_ptr<const Sequence> iterate(const Value& value, Budget& budget);
/// value[key]; undefined if there is none.
Value get_item(const Value& value, const Value& key, Budget& budget);
/// value.name: a method of the value, else value["name"]; undefined if there is neither.
Value get_attribute(const Value& value, std::string_view name);
/// value[begin:end:step].
Value get_slice(const Value& value, const Value& begin, const Value& end, const Value& step, Budget& budget);

/// str(value) and repr(value).
Text to_text(const Value& value, Budget& budget);
void append_text(Text& out, const Value& value, Budget& budget);
void append_repr(Text& out, const Value& value, Budget& budget);

struct JsonStyle {
  int64_t indent = -1;  // below 0: one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool ensure_ascii = false;
  bool sort_keys = false;
};
/// json.dumps(value). Fails on what JSON cannot hold.
Text to_json(const Value& value, const JsonStyle& style, Budget& budget);

}  // namespace moxie::jinja
