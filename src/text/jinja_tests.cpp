// The tests of `is`: what Jinja's default environment has, without those that ask about the environment itself.
#include <cmath>
#include <map>

#include "text/jinja_builtins.h"
#include "text/jinja_interpreter.h"

namespace moxie::jinja {
namespace {

using Test = bool (*)(const Value& value, const Arguments& arguments, Budget& budget);

bool is_remainder(const Value& value, int64_t divisor, int64_t wanted) {
  if (!value.is_integral()) fail("this test asks for an int, not a '{}'", type_name(value));
  if (divisor == 0) fail("division by zero");
  if (divisor == -1) return wanted == 0;
  return ((value.integer() % divisor) + divisor) % divisor == wanted;
}

bool has_case(const Value& value, std::string_view name) {
  if (!value.is(Kind::text)) fail("this test asks for a str, not a '{}'", type_name(value));
  const Text& text = value.text();
  const Text changed = change_case(text, name == "upper" ? Case::upper : Case::lower);
  const Text inverse = change_case(text, name == "upper" ? Case::lower : Case::upper);
  return changed.view() == text.view() && inverse.view() != text.view();
}

bool is_same(const Value& a, const Value& b, Budget& budget) {
  return a.kind() == b.kind() && equals(a, b, budget);
}

const Value& other(const Arguments& arguments) {
  return arguments.need(0, "this test");
}

const std::map<std::string_view, Test>& tests() {
  using A = const Arguments&;
  static const std::map<std::string_view, Test> table = {
      {"defined", [](const Value& v, A, Budget&) { return !v.is(Kind::undefined); }},
      {"undefined", [](const Value& v, A, Budget&) { return v.is(Kind::undefined); }},
      {"none", [](const Value& v, A, Budget&) { return v.is(Kind::none); }},
      {"boolean", [](const Value& v, A, Budget&) { return v.is(Kind::boolean); }},
      {"true", [](const Value& v, A, Budget&) { return v.is(Kind::boolean) && v.boolean(); }},
      {"false", [](const Value& v, A, Budget&) { return v.is(Kind::boolean) && !v.boolean(); }},
      {"integer", [](const Value& v, A, Budget&) { return v.is(Kind::integer); }},
      {"float", [](const Value& v, A, Budget&) { return v.is(Kind::real); }},
      {"number", [](const Value& v, A, Budget&) { return v.is_number(); }},
      {"string", [](const Value& v, A, Budget&) { return v.is(Kind::text); }},
      {"mapping", [](const Value& v, A, Budget&) { return v.is(Kind::dict); }},
      {"iterable",
       [](const Value& v, A, Budget&) {
         return v.is(Kind::text) || v.is(Kind::sequence) || v.is(Kind::dict) || v.is(Kind::undefined);
       }},
      {"sequence",
       [](const Value& v, A, Budget&) {
         return v.is(Kind::text) || v.is(Kind::dict) || v.is(Kind::undefined) ||
                (v.is(Kind::sequence) && v.sequence().type != Sequence::Type::generator);
       }},
      {"callable",
       [](const Value& v, A, Budget&) {
         return v.is(Kind::undefined) || v.is(Kind::macro) || v.is(Kind::bound) || v.is(Kind::function);
       }},
      {"odd", [](const Value& v, A, Budget&) { return is_remainder(v, 2, 1); }},
      {"even", [](const Value& v, A, Budget&) { return is_remainder(v, 2, 0); }},
      {"divisibleby", [](const Value& v, A a, Budget&) { return is_remainder(v, a.integer(0, 0, "divisibleby"), 0); }},
      {"lower", [](const Value& v, A, Budget&) { return has_case(v, "lower"); }},
      {"upper", [](const Value& v, A, Budget&) { return has_case(v, "upper"); }},
      {"eq", [](const Value& v, A a, Budget& b) { return equals(v, other(a), b); }},
      {"ne", [](const Value& v, A a, Budget& b) { return !equals(v, other(a), b); }},
      {"lt", [](const Value& v, A a, Budget& b) { return less(v, other(a), b); }},
      {"gt", [](const Value& v, A a, Budget& b) { return less(other(a), v, b); }},
      {"le", [](const Value& v, A a, Budget& b) { return equals(v, other(a), b) || less(v, other(a), b); }},
      {"ge", [](const Value& v, A a, Budget& b) { return equals(v, other(a), b) || less(other(a), v, b); }},
      {"in", [](const Value& v, A a, Budget& b) { return contains(other(a), v, b); }},
      {"sameas", [](const Value& v, A a, Budget& b) { return is_same(v, other(a), b); }},
  };
  return table;
}

// Jinja's other names of the same tests; as `select("==", x)` and the like they may be symbols.
std::string_view plain_name(std::string_view name) {
  static const std::map<std::string_view, std::string_view> aliases = {
      {"==", "eq"}, {"equalto", "eq"}, {"!=", "ne"},          {"<", "lt"}, {"lessthan", "lt"},
      {">", "gt"},  {"<=", "le"},      {"greaterthan", "gt"}, {">=", "ge"}};
  const auto found = aliases.find(name);
  return found == aliases.end() ? name : found->second;
}

}  // namespace

bool is_test(std::string_view name) {
  return tests().count(plain_name(name)) > 0;
}

bool call_test(std::string_view name, const Value& value, Arguments arguments, Interpreter& run) {
  const auto test = tests().find(plain_name(name));
  if (test == tests().end()) fail("there is no test '{}'", printable_name(name));
  arguments.bind(name, {"other"});
  return test->second(value, arguments, run.budget());
}

}  // namespace moxie::jinja
