// Arguments, the global functions, and the text operations that filters and methods share.
#include "text/jinja_builtins.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/jinja_interpreter.h"

namespace moxie::jinja {
namespace {

constexpr int64_t kMaxRange = 100000;  // as Jinja's sandbox

Value make_range(Arguments& arguments, Budget& budget) {
  arguments.bind("range", {"start", "stop", "step"});
  const bool one = arguments.find(1) == nullptr;
  arguments.need(0, "range");
  const int64_t begin = one ? 0 : arguments.integer(0, 0, "range");
  const int64_t end = arguments.integer(one ? 0 : 1, 0, "range");
  const int64_t step = arguments.integer(2, 1, "range");
  if (step == 0) fail("range() arg 3 must not be zero");
  std::vector<Value> items;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (static_cast<int64_t>(items.size()) >= kMaxRange) fail("a range has at most {} items", kMaxRange);
    budget.spend();
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return make_sequence(std::move(items));
}

std::vector<std::pair<Value, Value>> dict_entries(const Arguments& arguments, std::string_view callee) {
  std::vector<std::pair<Value, Value>> entries;
  if (arguments.positional.size() > 1) fail("{} takes at most one positional argument", callee);
  if (!arguments.positional.empty()) {
    if (!arguments.positional[0].is(Kind::dict)) fail("{} takes a dict", callee);
    entries = arguments.positional[0].dict().entries;
  }
  for (const auto& [name, value] : arguments.named) entries.emplace_back(Text(name), value);
  return entries;
}

Value format_now(const Text& format, const std::tm& now) {
  if (format.empty()) return Text();
  if (format.size() > 256) fail("strftime_now takes a format of at most 256 bytes");
  char text[1024];
  const size_t size = std::strftime(text, sizeof text, format.bytes().c_str(), &now);
  if (utf8_error_offset({text, size}) != std::string_view::npos) fail("strftime_now made a text that is not UTF-8");
  return Text(std::string(text, size), !format.user_spans().empty());
}

}  // namespace

void Arguments::bind(std::string_view callee, std::initializer_list<std::string_view> names) {
  if (positional.size() > names.size()) fail("{} takes at most {} arguments", callee, names.size());
  const size_t given = positional.size();
  std::vector<bool> taken(names.size());
  for (auto& [name, value] : named) {
    const auto at = std::find(names.begin(), names.end(), name);
    if (at == names.end()) fail("{} takes no argument '{}'", callee, printable_name(name));
    const auto index = static_cast<size_t>(at - names.begin());
    if (index < given || taken[index]) fail("{} got two values for '{}'", callee, name);
    taken[index] = true;
    if (positional.size() <= index) positional.resize(index + 1, Value::undefined("not given"));
    positional[index] = std::move(value);
  }
  missing_.assign(positional.size(), false);
  for (size_t i = given; i < positional.size(); ++i) missing_[i] = !taken[i];
  named.clear();
}

const Value* Arguments::find(size_t index) const {
  return index < positional.size() && !missing_[index] ? &positional[index] : nullptr;
}

const Value& Arguments::need(size_t index, std::string_view callee) const {
  if (find(index) == nullptr) fail("{} needs {} argument{}", callee, index + 1, index == 0 ? "" : "s");
  return positional[index];
}

const Text& Arguments::text(size_t index, std::string_view callee) const {
  const Value& value = need(index, callee);
  if (value.is(Kind::undefined)) fail("{}", value.undefined_why());
  if (!value.is(Kind::text)) fail("{} takes a str, not a '{}'", callee, type_name(value));
  return value.text();
}

int64_t Arguments::integer(size_t index, int64_t fallback, std::string_view callee) const {
  const Value* value = find(index);
  if (value == nullptr) return fallback;
  if (value->is(Kind::undefined)) fail("{}", value->undefined_why());
  if (!value->is_integral()) fail("{} takes an int, not a '{}'", callee, type_name(*value));
  return value->integer();
}

bool Arguments::boolean(size_t index, bool fallback) const {
  const Value* value = find(index);
  return value == nullptr ? fallback : truthy(*value);
}

Value find_function(std::string_view name) {
  if (name == "range") return Function::range;
  if (name == "dict") return Function::dict;
  if (name == "namespace") return Function::make_namespace;
  if (name == "raise_exception") return Function::raise_exception;
  if (name == "strftime_now") return Function::strftime_now;
  return Value::undefined(fmt::format("'{}' is undefined", printable_name(name)));
}

Value call_function(Function function, Arguments arguments, Interpreter& run) {
  switch (function) {
    case Function::range:
      return make_range(arguments, run.budget());
    case Function::dict:
      return make_dict(dict_entries(arguments, "dict"), run.budget());
    case Function::make_namespace: {
      Namespace* names = run.make_namespace();
      for (auto& [key, value] : dict_entries(arguments, "namespace")) {
        if (!key.is(Kind::text)) fail("a namespace takes names, not a '{}'", type_name(key));
        if (key.text().view().substr(0, 1) == "_")
          fail("a namespace cannot hold '{}'", printable_name(key.text().view()));
        names->names[key.text().bytes()] = value;
      }
      return names;
    }
    case Function::raise_exception:
      arguments.bind("raise_exception", {"message"});
      fail("the template says: {}", to_text(arguments.need(0, "raise_exception"), run.budget()).view());
    case Function::strftime_now:
      arguments.bind("strftime_now", {"format"});
      return format_now(arguments.text(0, "strftime_now"), run.now());
  }
  return {};
}

Text replaced(const Text& text, const Text& old, const Text& with, int64_t count, Budget& budget) {
  Text result;
  size_t begin = 0;
  size_t search = 0;
  for (int64_t i = 0; count < 0 || i < count; ++i) {
    const size_t at = search > text.size() ? std::string_view::npos : text.view().find(old.view(), search);
    if (at == std::string_view::npos) break;
    budget.append_slice(result, text, begin, at);
    budget.append(result, with);
    begin = at + old.size();
    // An empty text is found before every code point and at the end.
    search = !old.empty() ? begin : at < text.size() ? at + utf8_step(text.bytes()[at]) : text.size() + 1;
  }
  budget.append_slice(result, text, begin, text.size());
  return result;
}

Text joined(const Sequence& items, const Text& separator, bool strict, Budget& budget) {
  Text result;
  for (size_t i = 0; i < items.items.size(); ++i) {
    if (i > 0) budget.append(result, separator);
    if (strict && !items.items[i].is(Kind::text)) {
      fail("sequence item {}: expected str instance, {} found", i, type_name(items.items[i]));
    }
    append_text(result, items.items[i], budget);
  }
  return result;
}

std::vector<Value> split_lines(const Text& text, bool keep_ends, Budget& budget) {
  std::vector<Value> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t step = utf8_step(text.bytes()[at]);
    const uint32_t c = utf8_decode(text.view(), at, static_cast<int>(step));
    size_t end = at + step;
    if (c == '\r' && end < text.size() && text.bytes()[end] == '\n') ++end;
    if ((c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029) {
      budget.spend(1 + (end - begin) / 16);
      lines.emplace_back(text.slice(begin, keep_ends ? end : at));
      begin = end;
    }
    at = end;
  }
  if (begin < text.size()) lines.emplace_back(text.slice(begin, text.size()));
  return lines;
}

}  // namespace moxie::jinja
