// The expressions of the template parser: precedence, filters, tests, calls. Statements stand in jinja_parser.cpp.
#include <algorithm>
#include <charconv>

#include "text/jinja_parser.h"

namespace moxie::jinja {
namespace {

constexpr size_t kMaxNamedArguments = 100;

Expr node_of(ExprKind kind, Position at, std::string name = {}) {
  return Expr{.kind = kind, .at = at, .name = std::move(name)};
}

}  // namespace

// Every node passes here: the depth of the tree is what evaluation and destruction recurse on.
ExprPtr Parser::finish(Expr node) const {
  for (const ExprPtr& operand : node.operands) {
    if (operand) node.depth = std::max(node.depth, operand->depth + 1);
  }
  for (const auto& [name, value] : node.named) node.depth = std::max(node.depth, value->depth + 1);
  if (node.depth > kMaxLevels) fail_here("this expression is nested too deeply");
  return std::make_unique<const Expr>(std::move(node));
}

ExprPtr Parser::parse_expression(bool with_condition) {
  const Level level(*this);
  ExprPtr result = parse_or();
  while (with_condition && now().is_name("if")) {
    Expr choice = node_of(ExprKind::conditional, take().at);
    choice.operands.push_back(std::move(result));
    choice.operands.push_back(parse_or());
    choice.operands.push_back(skip_name("else") ? parse_expression() : nullptr);
    result = finish(std::move(choice));
  }
  return result;
}

// One expression, or a tuple where a comma follows; the tuple ends before a token that begins no expression.
ExprPtr Parser::parse_tuple(bool with_condition) {
  const Position at = now().at;
  ExprPtr first = parse_expression(with_condition);
  if (!now().is_symbol(",")) return first;
  Expr tuple = node_of(ExprKind::tuple, at);
  tuple.operands.push_back(std::move(first));
  while (skip_symbol(",")) {
    const TokenType type = now().type;
    if (now().is_symbol(")") || type == TokenType::block_end || type == TokenType::output_end) break;
    tuple.operands.push_back(parse_expression(with_condition));
  }
  return finish(std::move(tuple));
}

ExprPtr Parser::parse_or() {
  ExprPtr left = parse_and();
  while (now().is_name("or")) {
    Expr node = node_of(ExprKind::logical_or, take().at);
    node.operands.push_back(std::move(left));
    node.operands.push_back(parse_and());
    left = finish(std::move(node));
  }
  return left;
}

ExprPtr Parser::parse_and() {
  ExprPtr left = parse_not();
  while (now().is_name("and")) {
    Expr node = node_of(ExprKind::logical_and, take().at);
    node.operands.push_back(std::move(left));
    node.operands.push_back(parse_not());
    left = finish(std::move(node));
  }
  return left;
}

ExprPtr Parser::parse_not() {
  const Level level(*this);
  if (!now().is_name("not")) return parse_compare();
  Expr node = node_of(ExprKind::logical_not, take().at);
  node.operands.push_back(parse_not());
  return finish(std::move(node));
}

ExprPtr Parser::parse_compare() {
  const Position at = now().at;
  ExprPtr first = parse_sum();
  Expr node = node_of(ExprKind::compare, at);
  for (;;) {
    std::string op;
    for (const std::string_view symbol : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (op.empty() && skip_symbol(symbol)) op = symbol;
    }
    if (op.empty() && skip_name("in")) op = "in";
    if (op.empty() && now().is_name("not") && ahead().is_name("in")) {
      next_ += 2;
      op = "not in";
    }
    if (op.empty()) break;
    node.operators.push_back(std::move(op));
    node.operands.push_back(parse_sum());
  }
  if (node.operators.empty()) return first;
  node.operands.insert(node.operands.begin(), std::move(first));
  return finish(std::move(node));
}

ExprPtr Parser::parse_sum() {
  ExprPtr left = parse_concat();
  while (now().is_symbol("+") || now().is_symbol("-")) {
    const Token op = take();
    Expr node = node_of(ExprKind::binary, op.at, op.text);
    node.operands.push_back(std::move(left));
    node.operands.push_back(parse_concat());
    left = finish(std::move(node));
  }
  return left;
}

ExprPtr Parser::parse_concat() {
  const Position at = now().at;
  ExprPtr first = parse_product();
  if (!now().is_symbol("~")) return first;
  Expr node = node_of(ExprKind::concat, at);
  node.operands.push_back(std::move(first));
  while (skip_symbol("~")) node.operands.push_back(parse_product());
  return finish(std::move(node));
}

ExprPtr Parser::parse_product() {
  ExprPtr left = parse_power();
  while (now().is_symbol("*") || now().is_symbol("/") || now().is_symbol("//") || now().is_symbol("%")) {
    const Token op = take();
    Expr node = node_of(ExprKind::binary, op.at, op.text);
    node.operands.push_back(std::move(left));
    node.operands.push_back(parse_power());
    left = finish(std::move(node));
  }
  return left;
}

ExprPtr Parser::parse_power() {
  ExprPtr left = parse_unary();
  while (now().is_symbol("**")) {
    const Token op = take();
    Expr node = node_of(ExprKind::binary, op.at, op.text);
    node.operands.push_back(std::move(left));
    node.operands.push_back(parse_unary());
    left = finish(std::move(node));
  }
  return left;
}

ExprPtr Parser::parse_unary(bool with_filters) {
  const Level level(*this);
  ExprPtr node;
  if (now().is_symbol("-") || now().is_symbol("+")) {
    const Token sign = take();
    Expr unary = node_of(sign.text == "-" ? ExprKind::negate : ExprKind::plus, sign.at);
    unary.operands.push_back(parse_unary(false));
    node = finish(std::move(unary));
  } else {
    node = parse_primary();
  }
  node = parse_postfix(std::move(node));
  return with_filters ? parse_filters(std::move(node)) : std::move(node);
}

ExprPtr Parser::parse_primary() {
  const Token token = now();
  Expr node = node_of(ExprKind::constant, token.at);
  if (token.type == TokenType::integer || token.type == TokenType::real) return parse_number();
  if (token.type == TokenType::text) {
    std::string text;
    while (now().type == TokenType::text) text += take().text;
    node.value = Text(std::move(text));
    return finish(std::move(node));
  }
  if (token.type != TokenType::name) return parse_brackets();
  for (const std::string_view reserved : {"and", "or", "not", "in", "is", "if", "else", "elif"}) {
    if (token.text == reserved) fail_here(fmt::format("expected an expression, got '{}'", token.text));
  }
  take();
  if (token.text == "true" || token.text == "True" || token.text == "false" || token.text == "False") {
    node.value = token.text == "true" || token.text == "True";
  } else if (token.text == "none" || token.text == "None") {
    node.value = None{};
  } else {
    node.kind = ExprKind::name;
    node.name = token.text;
  }
  return finish(std::move(node));
}

ExprPtr Parser::parse_number() {
  Expr node = node_of(ExprKind::constant, now().at);
  const std::string& digits = now().text;
  const char* end = digits.data() + digits.size();
  int64_t integer = 0;
  double real = 0;
  std::from_chars_result result{};
  if (now().type == TokenType::integer) {
    result = std::from_chars(digits.data(), end, integer);
    node.value = integer;
  } else {
    result = std::from_chars(digits.data(), end, real);
    node.value = real;
  }
  if (result.ec != std::errc() || result.ptr != end) fail_here(fmt::format("{} is not a number", describe_now()));
  take();
  return finish(std::move(node));
}

ExprPtr Parser::parse_brackets() {
  const Position at = now().at;
  if (skip_symbol("(")) {
    if (skip_symbol(")")) return finish(node_of(ExprKind::tuple, at));
    ExprPtr inner = parse_tuple();
    expect_symbol(")");
    return inner;
  }
  if (skip_symbol("[")) {
    Expr list = node_of(ExprKind::list, at);
    while (!skip_symbol("]")) {
      if (!list.operands.empty()) expect_symbol(",");
      if (skip_symbol("]")) break;
      list.operands.push_back(parse_expression());
    }
    return finish(std::move(list));
  }
  if (skip_symbol("{")) return parse_dict();
  fail_here(fmt::format("expected an expression, got {}", describe_now()));
}

ExprPtr Parser::parse_dict() {
  Expr dict = node_of(ExprKind::dict, now().at);
  while (!skip_symbol("}")) {
    if (!dict.operands.empty()) expect_symbol(",");
    if (skip_symbol("}")) break;
    dict.operands.push_back(parse_expression());
    expect_symbol(":");
    dict.operands.push_back(parse_expression());
  }
  return finish(std::move(dict));
}

ExprPtr Parser::parse_postfix(ExprPtr node) {
  while (now().is_symbol(".") || now().is_symbol("[") || now().is_symbol("(")) {
    node = now().is_symbol("(") ? parse_call(std::move(node)) : parse_subscript(std::move(node));
  }
  return node;
}

ExprPtr Parser::parse_filters(ExprPtr node) {
  for (;;) {
    if (now().is_symbol("|")) {
      node = parse_filter(std::move(node));
    } else if (now().is_name("is")) {
      node = parse_test(std::move(node));
    } else if (now().is_symbol("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

// `|name(...)`; the first filter of a filter block stands without its bar.
ExprPtr Parser::parse_filter(ExprPtr node) {
  skip_symbol("|");
  if (!is_filter(now().text)) fail_here(fmt::format("there is no filter {}", describe_now()));
  Expr filter = node_of(ExprKind::filter, now().at, expect_any_name());
  filter.operands.push_back(std::move(node));
  if (now().is_symbol("(")) parse_arguments(filter);
  return finish(std::move(filter));
}

ExprPtr Parser::parse_test(ExprPtr node) {
  const Position at = take().at;
  const bool negated = skip_name("not");
  if (!is_test(now().text)) fail_here(fmt::format("there is no test {}", describe_now()));
  Expr test = node_of(ExprKind::test, at, expect_any_name());
  test.operands.push_back(std::move(node));
  const Token& next = now();
  const bool is_word = next.type == TokenType::name;
  if (next.is_symbol("(")) {
    parse_arguments(test);
  } else if (next.is_name("is")) {
    fail_here("tests cannot be chained");
  } else if ((is_word && next.text != "else" && next.text != "or" && next.text != "and" && next.text != "if" &&
              next.text != "in" && next.text != "not") ||
             next.type == TokenType::text || next.type == TokenType::integer || next.type == TokenType::real ||
             next.is_symbol("[") || next.is_symbol("{")) {
    test.operands.push_back(parse_postfix(parse_primary()));
  }
  ExprPtr result = finish(std::move(test));
  if (!negated) return result;
  Expr inverse = node_of(ExprKind::logical_not, at);
  inverse.operands.push_back(std::move(result));
  return finish(std::move(inverse));
}

ExprPtr Parser::parse_subscript(ExprPtr node) {
  const Token token = take();
  if (token.text == ".") {
    Expr get = node_of(ExprKind::attribute, now().at, now().text);
    get.operands.push_back(std::move(node));
    if (now().type == TokenType::integer) {
      get.kind = ExprKind::item;
      get.operands.push_back(parse_number());
    } else {
      expect_any_name();
    }
    return finish(std::move(get));
  }
  Expr get = node_of(ExprKind::item, token.at);
  get.operands.push_back(std::move(node));
  get.operands.push_back(now().is_symbol(":") ? nullptr : parse_tuple());
  if (now().is_symbol(":")) {
    get.kind = ExprKind::slice;
    for (int part = 0; part < 2; ++part) {
      const bool given = skip_symbol(":") && !now().is_symbol(":") && !now().is_symbol("]");
      get.operands.push_back(given ? parse_expression() : nullptr);
    }
  }
  expect_symbol("]");
  return finish(std::move(get));
}

ExprPtr Parser::parse_call(ExprPtr node) {
  Expr call = node_of(ExprKind::call, now().at);
  call.operands.push_back(std::move(node));
  parse_arguments(call);
  return finish(std::move(call));
}

void Parser::parse_arguments(Expr& call) {
  expect_symbol("(");
  bool first = true;
  while (!skip_symbol(")")) {
    if (!first) expect_symbol(",");
    first = false;
    if (skip_symbol(")")) break;
    if (now().is_symbol("*") || now().is_symbol("**")) {
      std::string stars = take().text;
      call.named.emplace_back(std::move(stars), parse_expression());
      continue;
    }
    if (now().type == TokenType::name && ahead().is_symbol("=")) {
      std::string name = take().text;
      take();
      for (const auto& [known, value] : call.named) {
        if (known == name) fail_here(fmt::format("argument '{}' is given twice", printable(name)));
      }
      if (call.named.size() >= kMaxNamedArguments) fail_here("too many named arguments");
      call.named.emplace_back(std::move(name), parse_expression());
    } else {
      if (!call.named.empty()) fail_here("a positional argument follows a named one");
      call.operands.push_back(parse_expression());
    }
  }
}

}  // namespace moxie::jinja
