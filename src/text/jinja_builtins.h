// The filters, tests, methods and functions a template may use. Not how it is run (text/jinja_interpreter.h).
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace moxie::jinja {

class Interpreter;

/// The arguments of one call.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  /// Puts the named arguments at their places; fails on a name that is not there, or too many arguments.
  void bind(std::string_view callee, std::initializer_list<std::string_view> names);

  // Of bound arguments; an argument that was not given is null, or has the value at the right.
  const Value* find(size_t index) const;
  const Value& need(size_t index, std::string_view callee) const;
  const Text& text(size_t index, std::string_view callee) const;
  int64_t integer(size_t index, int64_t fallback, std::string_view callee) const;
  bool boolean(size_t index, bool fallback) const;

 private:
  std::vector<bool> missing_;  // beside `positional`, once bound
};

bool is_filter(std::string_view name);
bool is_test(std::string_view name);

/// value|name(arguments), `value is name(arguments)`, value.name(arguments), name(arguments).
Value call_filter(std::string_view name, const Value& value, Arguments arguments, Interpreter& run);
bool call_test(std::string_view name, const Value& value, Arguments arguments, Interpreter& run);
Value call_method(const Value& self, std::string_view name, Arguments arguments, Budget& budget);
Value call_function(Function function, Arguments arguments, Interpreter& run);

/// The function of that name, or undefined.
Value find_function(std::string_view name);
/// Whether the type of `value` has this method (of those that change nothing).
bool has_method(const Value& value, std::string_view name);
/// Whether this is a method of Python's list or dict that would change the value.
bool is_mutator(const Value& value, std::string_view name);
/// loop.name; undefined if a loop has no such attribute.
Value loop_attribute(const Loop& loop, std::string_view name);

/// text.replace(old, new, count); count below 0: all.
Text replaced(const Text& text, const Text& old, const Text& with, int64_t count, Budget& budget);
/// The items as texts with `separator` between them; with `strict`, an item that is no text fails.
Text joined(const Sequence& items, const Text& separator, bool strict, Budget& budget);
/// text.splitlines(keep_ends), at \n, \r, \r\n and Python's other line ends.
std::vector<Value> split_lines(const Text& text, bool keep_ends, Budget& budget);

/// A name out of a template or request, fit for a message.
std::string printable_name(std::string_view name);

}  // namespace moxie::jinja
