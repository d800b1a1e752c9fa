// The recursive-descent parser of templates. Runs nothing; parse_template (text/jinja_ast.h) is its way in.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_builtins.h"

namespace moxie::jinja {

/// Statements are in jinja_parser.cpp, expressions in jinja_expression_parser.cpp.
class Parser {
 public:
  Parser(std::string_view source, const std::string& name) : name_(name), tokens_(tokenize(source, name)) {}
  Body parse();

 private:
  // Counts the levels of recursion of one path through the grammar.
  class Level {
   public:
    explicit Level(Parser& parser) : parser_(parser) {
      if (++parser_.level_ > kMaxLevels) parser_.fail_here("nested too deeply");
    }
    ~Level() { --parser_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Parser& parser_;
  };
  static constexpr int kMaxLevels = 200;

  const Token& now() const { return tokens_[next_]; }
  const Token& ahead() const { return tokens_[next_ + 1 < tokens_.size() ? next_ + 1 : next_]; }
  Token take() { return tokens_[next_ + 1 < tokens_.size() ? next_++ : next_]; }
  bool skip_symbol(std::string_view symbol);
  bool skip_name(std::string_view name);
  void expect_symbol(std::string_view symbol);
  std::string expect_any_name();
  void expect(TokenType type, std::string_view what);
  std::string describe_now() const;
  [[noreturn]] void fail_here(const std::string& what) const;

  Body parse_body(std::initializer_list<std::string_view> ends);
  bool at_any(std::initializer_list<std::string_view> names) const;
  void expect_end(std::string_view tag);
  Stmt parse_statement();
  Stmt parse_if(Position at);
  Stmt parse_for(Position at);
  Stmt parse_set(Position at);
  Stmt parse_with(Position at);
  Stmt parse_macro(Position at);
  Stmt parse_call_block(Position at);
  Stmt parse_filter_block(Position at);
  ExprPtr parse_target(bool with_attribute);
  std::vector<Parameter> parse_parameters();

  ExprPtr parse_expression(bool with_condition = true);
  ExprPtr parse_tuple(bool with_condition = true);
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filters = true);
  ExprPtr parse_primary();
  ExprPtr parse_number();
  ExprPtr parse_brackets();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr node);
  ExprPtr parse_filters(ExprPtr node);
  ExprPtr parse_filter(ExprPtr node);
  ExprPtr parse_test(ExprPtr node);
  ExprPtr parse_subscript(ExprPtr node);
  ExprPtr parse_call(ExprPtr node);
  void parse_arguments(Expr& call);
  ExprPtr finish(Expr node) const;

  const std::string& name_;
  std::vector<Token> tokens_;
  size_t next_ = 0;
  int level_ = 0;
  int loops_ = 0;  // for loops around this place, within the macro
};

}  // namespace moxie::jinja
