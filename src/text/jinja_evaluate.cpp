// Expressions of a run: names, operators, calls.
#include <cmath>

#include "text/jinja_interpreter.h"

namespace moxie::jinja {
namespace {

int64_t checked(bool overflow, int64_t result) {
  if (overflow) fail("an integer left the range of 64 bits");
  return result;
}

int64_t floor_divide(int64_t a, int64_t b) {
  if (a == INT64_MIN && b == -1) checked(true, 0);
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

int64_t integer_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (;;) {
    if (exponent % 2 == 1 && __builtin_mul_overflow(result, base, &result)) checked(true, 0);
    exponent /= 2;
    if (exponent == 0) return result;
    if (__builtin_mul_overflow(base, base, &base)) checked(true, 0);
  }
}

Value integer_binary(char op, bool is_double, int64_t a, int64_t b) {
  int64_t result = 0;
  const bool overflow = op == '+'                 ? __builtin_add_overflow(a, b, &result)
                        : op == '-'               ? __builtin_sub_overflow(a, b, &result)
                        : op == '*' && !is_double ? __builtin_mul_overflow(a, b, &result)
                                                  : false;
  if (op == '+' || op == '-' || (op == '*' && !is_double)) return checked(overflow, result);
  if (op == '*')
    return b < 0 ? Value(std::pow(static_cast<double>(a), static_cast<double>(b))) : Value(integer_power(a, b));
  if (b == 0) fail("division by zero");
  if (op == '/' && !is_double) return static_cast<double>(a) / static_cast<double>(b);
  const int64_t quotient = floor_divide(a, b);
  return op == '/' ? quotient : a - quotient * b;
}

Value real_binary(char op, bool is_double, double a, double b) {
  if (op == '+') return a + b;
  if (op == '-') return a - b;
  if (op == '*') return is_double ? std::pow(a, b) : a * b;
  if (b == 0) fail("division by zero");
  if (op == '/') return is_double ? std::floor(a / b) : a / b;
  const double rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Value repeated(const Value& value, int64_t times, Budget& budget) {
  if (value.is(Kind::text)) {
    Text text;
    for (int64_t i = 0; i < times && !value.text().empty(); ++i) budget.append(text, value.text());
    return text;
  }
  std::vector<Value> items;
  const auto& source = value.sequence().items;
  for (int64_t i = 0; i < times && !source.empty(); ++i) {
    budget.spend(source.size());
    items.insert(items.end(), source.begin(), source.end());
  }
  return make_sequence(std::move(items), value.sequence().type);
}

Value joined_sequence(const Sequence& a, const Sequence& b, Budget& budget) {
  budget.spend(a.items.size() + b.items.size());
  std::vector<Value> items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return make_sequence(std::move(items), a.type);
}

bool is_list(const Value& value) {
  return value.is(Kind::sequence) && value.sequence().type != Sequence::Type::generator;
}

bool compare(std::string_view op, const Value& a, const Value& b, Budget& budget) {
  if (op == "==") return equals(a, b, budget);
  if (op == "!=") return !equals(a, b, budget);
  if (op == "in") return contains(b, a, budget);
  if (op == "not in") return !contains(b, a, budget);
  if (op == "<") return less(a, b, budget);
  if (op == ">") return less(b, a, budget);
  // Not the inverse of the other order: a NaN is on no side.
  return equals(a, b, budget) || (op == "<=" ? less(a, b, budget) : less(b, a, budget));
}

}  // namespace

Value Interpreter::evaluate(const Expr& node) {
  const Level level(*this);
  switch (node.kind) {
    case ExprKind::constant:
      return node.value;
    case ExprKind::name:
      return evaluate_name(node);
    case ExprKind::block_text:
      return std::exchange(block_text_, Value());
    case ExprKind::list:
    case ExprKind::tuple:
      return evaluate_items(node);
    case ExprKind::dict:
      return evaluate_dict(node);
    case ExprKind::attribute:
    case ExprKind::item:
      return evaluate_get(node);
    case ExprKind::slice:
      return evaluate_slice(node);
    case ExprKind::call:
      return evaluate_call(node);
    case ExprKind::filter:
    case ExprKind::test:
      return evaluate_builtin(node);
    case ExprKind::negate:
    case ExprKind::plus:
      return evaluate_sign(node);
    case ExprKind::logical_not:
      return !truthy(evaluate(*node.operands[0]));
    case ExprKind::logical_and:
    case ExprKind::logical_or:
    case ExprKind::conditional:
      return evaluate_logic(node);
    case ExprKind::compare:
      return evaluate_compare(node);
    case ExprKind::binary:
      return evaluate_binary(node);
    case ExprKind::concat:
      return evaluate_concat(node);
  }
  return {};
}

Value Interpreter::evaluate_name(const Expr& node) {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    budget_.spend(scope->names.size() / 8);
    for (const auto& [name, value] : scope->names) {
      if (name == node.name) return value;
    }
  }
  return find_function(node.name);
}

Value Interpreter::evaluate_items(const Expr& node) {
  std::vector<Value> items;
  for (const ExprPtr& operand : node.operands) items.push_back(evaluate(*operand));
  at_ = node.at;
  return make_sequence(std::move(items), node.kind == ExprKind::tuple ? Sequence::Type::tuple : Sequence::Type::list);
}

Value Interpreter::evaluate_dict(const Expr& node) {
  std::vector<std::pair<Value, Value>> entries;
  for (size_t i = 0; i < node.operands.size(); i += 2) {
    Value key = evaluate(*node.operands[i]);
    entries.emplace_back(std::move(key), evaluate(*node.operands[i + 1]));
  }
  at_ = node.at;
  return make_dict(std::move(entries), budget_);
}

Value Interpreter::evaluate_get(const Expr& node) {
  const Value owner = evaluate(*node.operands[0]);
  if (node.kind == ExprKind::attribute) {
    at_ = node.at;
    return get_attribute(owner, node.name);
  }
  const Value key = evaluate(*node.operands[1]);
  at_ = node.at;
  return get_item(owner, key, budget_);
}

Value Interpreter::evaluate_slice(const Expr& node) {
  const Value owner = evaluate(*node.operands[0]);
  Value parts[3];
  for (size_t i = 0; i < 3; ++i) parts[i] = node.operands[i + 1] ? evaluate(*node.operands[i + 1]) : Value(None{});
  at_ = node.at;
  return get_slice(owner, parts[0], parts[1], parts[2], budget_);
}

Arguments Interpreter::evaluate_arguments(const Expr& node) {
  Arguments arguments;
  for (size_t i = 1; i < node.operands.size(); ++i) arguments.positional.push_back(evaluate(*node.operands[i]));
  for (const auto& [name, expression] : node.named) {
    const Value value = evaluate(*expression);
    if (name == "*") {
      const auto items = iterate(value, budget_);
      budget_.spend(items->items.size());
      arguments.positional.insert(arguments.positional.end(), items->items.begin(), items->items.end());
    } else if (name == "**") {
      if (!value.is(Kind::dict)) fail("** takes a dict, not a '{}'", type_name(value));
      for (const auto& [key, item] : value.dict().entries) {
        if (!key.is(Kind::text)) fail("** takes a dict with str keys");
        arguments.named.emplace_back(key.text().bytes(), item);
      }
    } else {
      arguments.named.emplace_back(name, value);
    }
  }
  at_ = node.at;
  return arguments;
}

Value Interpreter::evaluate_call(const Expr& node, const Value* caller) {
  const Value callee = evaluate(*node.operands[0]);
  Arguments arguments = evaluate_arguments(node);
  if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
  return call(callee, std::move(arguments));
}

Value Interpreter::call(const Value& callee, Arguments arguments) {
  switch (callee.kind()) {
    case Kind::macro:
      return call_macro(*callee.macro(), std::move(arguments));
    case Kind::bound:
      return call_method(callee.bound().self, callee.bound().name, std::move(arguments), budget_);
    case Kind::function:
      return call_function(callee.function(), std::move(arguments), *this);
    case Kind::undefined:
      fail("{}", callee.undefined_why());
    default:
      fail("'{}' object is not callable", type_name(callee));
  }
}

Value Interpreter::evaluate_builtin(const Expr& node) {
  const Value value = evaluate(*node.operands[0]);
  Arguments arguments = evaluate_arguments(node);
  if (node.kind == ExprKind::filter) return call_filter(node.name, value, std::move(arguments), *this);
  return call_test(node.name, value, std::move(arguments), *this);
}

Value Interpreter::evaluate_sign(const Expr& node) {
  const Value value = evaluate(*node.operands[0]);
  at_ = node.at;
  if (value.is(Kind::undefined)) fail("{}", value.undefined_why());
  if (!value.is_number()) fail("a '{}' has no sign", type_name(value));
  if (node.kind == ExprKind::plus) return value.is(Kind::real) ? value : Value(value.integer());
  if (value.is(Kind::real)) return -value.real();
  return integer_binary('-', false, 0, value.integer());
}

Value Interpreter::evaluate_logic(const Expr& node) {
  if (node.kind == ExprKind::conditional) {
    if (truthy(evaluate(*node.operands[1]))) return evaluate(*node.operands[0]);
    return node.operands[2] ? evaluate(*node.operands[2]) : Value::undefined("the inline if has no else");
  }
  Value left = evaluate(*node.operands[0]);
  return truthy(left) == (node.kind == ExprKind::logical_or) ? left : evaluate(*node.operands[1]);
}

Value Interpreter::evaluate_compare(const Expr& node) {
  Value left = evaluate(*node.operands[0]);
  for (size_t i = 0; i < node.operators.size(); ++i) {
    Value right = evaluate(*node.operands[i + 1]);
    at_ = node.at;
    if (!compare(node.operators[i], left, right, budget_)) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::evaluate_binary(const Expr& node) {
  const Value a = evaluate(*node.operands[0]);
  const Value b = evaluate(*node.operands[1]);
  at_ = node.at;
  for (const Value* value : {&a, &b}) {
    if (value->is(Kind::undefined)) fail("{}", value->undefined_why());
  }
  const char op = node.name[0];
  const bool is_double = node.name.size() == 2;
  if (a.is_number() && b.is_number()) {
    if (a.is(Kind::real) || b.is(Kind::real)) return real_binary(op, is_double, a.real(), b.real());
    return integer_binary(op, is_double, a.integer(), b.integer());
  }
  if (op == '+' && a.is(Kind::text) && b.is(Kind::text)) {
    Text text;
    budget_.append(text, a.text());
    budget_.append(text, b.text());
    return text;
  }
  if (op == '+' && is_list(a) && is_list(b) && a.sequence().type == b.sequence().type) {
    return joined_sequence(a.sequence(), b.sequence(), budget_);
  }
  if (op == '*' && !is_double && (a.is(Kind::text) || is_list(a)) && b.is_integral())
    return repeated(a, b.integer(), budget_);
  if (op == '*' && !is_double && (b.is(Kind::text) || is_list(b)) && a.is_integral())
    return repeated(b, a.integer(), budget_);
  fail("unsupported operand types for {}: '{}' and '{}'", node.name, type_name(a), type_name(b));
}

Value Interpreter::evaluate_concat(const Expr& node) {
  Text text;
  for (const ExprPtr& operand : node.operands) {
    const Value value = evaluate(*operand);
    append_text(text, value, budget_);
  }
  return text;
}

}  // namespace moxie::jinja
