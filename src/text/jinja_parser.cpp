#include "text/jinja_parser.h"

#include <algorithm>

namespace moxie::jinja {

Body parse_template(std::string_view source, const std::string& name) {
  return Parser(source, name).parse();
}

Body Parser::parse() {
  Body body = parse_body({});
  if (now().type != TokenType::end) fail_here(fmt::format("{} has no beginning", describe_now()));
  return body;
}

bool Parser::skip_symbol(std::string_view symbol) {
  if (!now().is_symbol(symbol)) return false;
  ++next_;
  return true;
}

bool Parser::skip_name(std::string_view name) {
  if (!now().is_name(name)) return false;
  ++next_;
  return true;
}

void Parser::expect_symbol(std::string_view symbol) {
  if (!skip_symbol(symbol)) fail_here(fmt::format("expected '{}', got {}", symbol, describe_now()));
}

std::string Parser::expect_any_name() {
  if (now().type != TokenType::name) fail_here(fmt::format("expected a name, got {}", describe_now()));
  return take().text;
}

void Parser::expect(TokenType type, std::string_view what) {
  if (now().type != type) fail_here(fmt::format("expected {}, got {}", what, describe_now()));
  take();
}

std::string Parser::describe_now() const {
  switch (now().type) {
    case TokenType::end:
      return "the end of the template";
    case TokenType::block_end:
      return "the end of the tag";
    case TokenType::output_end:
      return "'}}'";
    default:
      return fmt::format("'{}'", printable(now().text));
  }
}

void Parser::fail_here(const std::string& what) const {
  throw template_error(name_, now().at, what);
}

bool Parser::at_any(std::initializer_list<std::string_view> names) const {
  return now().type == TokenType::block_begin && ahead().type == TokenType::name &&
         std::find(names.begin(), names.end(), ahead().text) != names.end();
}

// Reads until the begin of a tag named in `ends`, and stops on that tag's name.
Body Parser::parse_body(std::initializer_list<std::string_view> ends) {
  const Level level(*this);
  Body body;
  while (now().type != TokenType::end) {
    if (at_any(ends)) {
      take();
      return body;
    }
    const Position at = now().at;
    if (now().type == TokenType::data) {
      Expr data{.kind = ExprKind::constant, .at = at, .value = Value(Text(take().text))};
      body.push_back({.kind = StmtKind::text, .at = at, .value = finish(std::move(data))});
    } else if (now().type == TokenType::output_begin) {
      take();
      Stmt output{.kind = StmtKind::output, .at = at, .value = parse_tuple()};
      expect(TokenType::output_end, "'}}'");
      body.push_back(std::move(output));
    } else {
      expect(TokenType::block_begin, "a tag");
      body.push_back(parse_statement());
    }
  }
  if (ends.size() > 0) fail_here(fmt::format("expected '{}', got the end of the template", *(ends.end() - 1)));
  return body;
}

void Parser::expect_end(std::string_view tag) {
  if (!skip_name(tag)) fail_here(fmt::format("expected '{}', got {}", tag, describe_now()));
  expect(TokenType::block_end, "the end of the tag");
}

Stmt Parser::parse_statement() {
  const Position at = now().at;
  if (now().type != TokenType::name) fail_here(fmt::format("expected the name of a tag, got {}", describe_now()));
  const std::string& tag = now().text;
  for (const std::string_view refused : {"include", "import", "from", "extends", "block"}) {
    if (tag == refused) fail_here(fmt::format("'{}' is not allowed: a chat template is one text", tag));
  }
  if (skip_name("if")) return parse_if(at);
  if (skip_name("for")) return parse_for(at);
  if (skip_name("set")) return parse_set(at);
  if (skip_name("with")) return parse_with(at);
  if (skip_name("macro")) return parse_macro(at);
  if (skip_name("call")) return parse_call_block(at);
  if (skip_name("filter")) return parse_filter_block(at);
  if (skip_name("generation")) {
    Stmt scope{.kind = StmtKind::scope, .at = at};
    expect(TokenType::block_end, "the end of the tag");
    scope.body = parse_body({"endgeneration"});
    expect_end("endgeneration");
    return scope;
  }
  if (tag == "break" || tag == "continue") {
    if (loops_ == 0) fail_here(fmt::format("'{}' outside of a loop", tag));
    const bool is_break = take().text == "break";
    expect(TokenType::block_end, "the end of the tag");
    return {.kind = is_break ? StmtKind::break_loop : StmtKind::continue_loop, .at = at};
  }
  if (tag.substr(0, 3) == "end" || tag == "else" || tag == "elif") fail_here(fmt::format("'{}' has no beginning", tag));
  fail_here(fmt::format("unknown tag '{}'", printable(tag)));
}

Stmt Parser::parse_if(Position at) {
  Stmt node{.kind = StmtKind::condition, .at = at};
  do {
    Branch branch;
    branch.condition = parse_tuple(false);
    expect(TokenType::block_end, "the end of the tag");
    branch.body = parse_body({"elif", "else", "endif"});
    node.branches.push_back(std::move(branch));
  } while (skip_name("elif"));
  if (skip_name("else")) {
    expect(TokenType::block_end, "the end of the tag");
    node.otherwise = parse_body({"endif"});
  }
  expect_end("endif");
  return node;
}

Stmt Parser::parse_for(Position at) {
  Stmt node{.kind = StmtKind::loop, .at = at};
  node.target = parse_target(false);
  if (!skip_name("in")) fail_here(fmt::format("expected 'in', got {}", describe_now()));
  node.value = parse_tuple(false);
  if (skip_name("if")) node.condition = parse_expression();
  if (now().is_name("recursive")) fail_here("recursive loops are not supported");
  expect(TokenType::block_end, "the end of the tag");
  ++loops_;
  node.body = parse_body({"else", "endfor"});
  --loops_;
  if (skip_name("else")) {
    expect(TokenType::block_end, "the end of the tag");
    node.otherwise = parse_body({"endfor"});
  }
  expect_end("endfor");
  return node;
}

// A name, a tuple of names, or (where it is allowed) an attribute of a namespace.
ExprPtr Parser::parse_target(bool with_attribute) {
  const auto name = [&] {
    const Position at = now().at;
    return Expr{.kind = ExprKind::name, .at = at, .name = expect_any_name()};
  };
  const Position at = now().at;
  const bool in_brackets = skip_symbol("(");
  Expr first = name();
  if (with_attribute && !in_brackets && skip_symbol(".")) {
    Expr attribute{.kind = ExprKind::attribute, .at = at, .name = expect_any_name()};
    attribute.operands.push_back(finish(std::move(first)));
    return finish(std::move(attribute));
  }
  if (!now().is_symbol(",")) {
    if (in_brackets) expect_symbol(")");
    return finish(std::move(first));
  }
  Expr tuple{.kind = ExprKind::tuple, .at = at};
  tuple.operands.push_back(finish(std::move(first)));
  while (skip_symbol(",") && now().type == TokenType::name && !now().is_name("in")) {
    tuple.operands.push_back(finish(name()));
  }
  if (in_brackets) expect_symbol(")");
  return finish(std::move(tuple));
}

Stmt Parser::parse_set(Position at) {
  Stmt node{.kind = StmtKind::set, .at = at};
  node.target = parse_target(true);
  if (skip_symbol("=")) {
    node.value = parse_tuple();
    expect(TokenType::block_end, "the end of the tag");
    return node;
  }
  node.kind = StmtKind::set_block;
  node.value = parse_filters(finish({.kind = ExprKind::block_text, .at = at}));
  expect(TokenType::block_end, "the end of the tag");
  node.body = parse_body({"endset"});
  expect_end("endset");
  return node;
}

Stmt Parser::parse_with(Position at) {
  Stmt node{.kind = StmtKind::with, .at = at};
  while (now().type == TokenType::name) {
    Parameter variable;
    variable.name = expect_any_name();
    expect_symbol("=");
    variable.fallback = parse_expression();
    node.parameters.push_back(std::move(variable));
    if (!skip_symbol(",")) break;
  }
  expect(TokenType::block_end, "the end of the tag");
  node.body = parse_body({"endwith"});
  expect_end("endwith");
  return node;
}

std::vector<Parameter> Parser::parse_parameters() {
  std::vector<Parameter> parameters;
  expect_symbol("(");
  while (!skip_symbol(")")) {
    if (!parameters.empty()) expect_symbol(",");
    Parameter parameter;
    parameter.name = expect_any_name();
    if (skip_symbol("=")) {
      parameter.fallback = parse_expression();
    } else if (!parameters.empty() && parameters.back().fallback) {
      fail_here("a parameter without a default follows one with a default");
    }
    parameters.push_back(std::move(parameter));
  }
  return parameters;
}

Stmt Parser::parse_macro(Position at) {
  Stmt node{.kind = StmtKind::macro, .at = at};
  node.name = expect_any_name();
  node.parameters = parse_parameters();
  expect(TokenType::block_end, "the end of the tag");
  const int outer_loops = std::exchange(loops_, 0);
  node.body = parse_body({"endmacro"});
  loops_ = outer_loops;
  expect_end("endmacro");
  return node;
}

Stmt Parser::parse_call_block(Position at) {
  Stmt node{.kind = StmtKind::call, .at = at, .name = "caller"};
  if (now().is_symbol("(")) node.parameters = parse_parameters();
  node.value = parse_expression();
  if (node.value->kind != ExprKind::call) fail_here("expected a call in a call block");
  expect(TokenType::block_end, "the end of the tag");
  const int outer_loops = std::exchange(loops_, 0);
  node.body = parse_body({"endcall"});
  loops_ = outer_loops;
  expect_end("endcall");
  return node;
}

Stmt Parser::parse_filter_block(Position at) {
  Stmt node{.kind = StmtKind::filter, .at = at};
  node.value = parse_filters(parse_filter(finish({.kind = ExprKind::block_text, .at = at})));
  expect(TokenType::block_end, "the end of the tag");
  node.body = parse_body({"endfilter"});
  expect_end("endfilter");
  return node;
}

}  // namespace moxie::jinja
