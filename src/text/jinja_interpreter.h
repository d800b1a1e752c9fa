// One run of a parsed template: scopes, statements, expressions. Parses nothing and outlives nothing.
#pragma once

#include <ctime>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_builtins.h"
#include "text/jinja_value.h"

namespace moxie::jinja {

/// The names set in one block; those around it are seen through `parent`.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string_view, Value>> names;  // views of names in the template or the context

  void set(std::string_view name, Value value);
};

/// A macro, or the body of a call block, with the scope it was written in.
struct Macro {
  const Stmt* definition;
  std::shared_ptr<Scope> closure;
};

/// Statements are in jinja_interpreter.cpp, expressions in jinja_evaluate.cpp.
class Interpreter {
 public:
  Interpreter(const Budget& budget, const std::tm& now) : budget_(budget), now_(now) {}

  /// Runs the template with these names set. Throws RunError; position() then says where.
  Text run(const Body& body, std::vector<std::pair<std::string_view, Value>> context);
  Position position() const { return at_; }

  // For the built-ins.
  Budget& budget() { return budget_; }
  const std::tm& now() const { return now_; }
  Namespace* make_namespace() { return &namespaces_.emplace_back(); }

 private:
  enum class Flow { normal, leave_loop, next_iteration };
  class Level {
   public:
    explicit Level(Interpreter& run) : run_(run) {
      run_.budget_.spend();
      if (++run_.level_ > kMaxLevels) fail("the template calls itself too deeply");
    }
    ~Level() { --run_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Interpreter& run_;
  };
  static constexpr int kMaxLevels = 1000;

  Flow execute(const Body& body);
  Flow execute(const Stmt& node);
  Flow execute_loop(const Stmt& node);
  Flow execute_loop_body(const Stmt& node, const std::shared_ptr<const Sequence>& items);
  void execute_set_block(const Stmt& node);
  Flow execute_in_scope(const Body& body, std::vector<std::pair<std::string_view, Value>> names = {});
  std::shared_ptr<const Sequence> loop_items(const Stmt& node);
  Text capture(const Body& body);
  void assign(const Expr& target, Value value);
  Value make_macro(const Stmt& node);
  Value call_macro(const Macro& macro, Arguments arguments);

  Value evaluate(const Expr& node);
  Value evaluate_name(const Expr& node);
  Value evaluate_items(const Expr& node);
  Value evaluate_dict(const Expr& node);
  Value evaluate_get(const Expr& node);
  Value evaluate_slice(const Expr& node);
  Value evaluate_call(const Expr& node, const Value* caller = nullptr);
  Value evaluate_builtin(const Expr& node);
  Value evaluate_sign(const Expr& node);
  Value evaluate_logic(const Expr& node);
  Value evaluate_compare(const Expr& node);
  Value evaluate_binary(const Expr& node);
  Value evaluate_concat(const Expr& node);
  Arguments evaluate_arguments(const Expr& node);
  Value call(const Value& callee, Arguments arguments);

  Budget budget_;
  std::tm now_;
  std::shared_ptr<Scope> scope_;
  Text* out_ = nullptr;
  Value block_text_;                  // for ExprKind::block_text
  std::deque<Namespace> namespaces_;  // owned here, so that values hold no cycle of owners
  std::deque<Macro> macros_;
  Position at_;
  int level_ = 0;
};

}  // namespace moxie::jinja
