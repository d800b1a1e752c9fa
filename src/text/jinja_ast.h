// The parsed template: what the parser builds and the interpreter walks. Holds no state of a run.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_lexer.h"
#include "text/jinja_value.h"

namespace moxie::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<const Expr>;

enum class ExprKind {
  constant,     // value
  name,         // name
  block_text,   // the text of the filter or set block around it
  list,         // operands
  tuple,        // operands
  dict,         // operands: key, value, key, value
  attribute,    // operands[0].name
  item,         // operands[0][operands[1]]
  slice,        // operands[0][operands[1]:operands[2]:operands[3]], which may be null
  call,         // operands[0](operands[1...], named)
  filter,       // operands[0]|name(operands[1...], named)
  test,         // operands[0] is name(operands[1...], named)
  negate,       // -operands[0]
  plus,         // +operands[0]
  logical_not,  // not operands[0]
  logical_and,  // operands[0] and operands[1]
  logical_or,   // operands[0] or operands[1]
  compare,      // operands[0] operators[0] operands[1] operators[1] ...
  binary,       // operands[0] name operands[1]
  concat,       // operands[0] ~ operands[1] ~ ...
  conditional,  // operands[0] if operands[1] else operands[2], which may be null
};

struct Expr {
  ExprKind kind;
  Position at;
  std::string name;
  Value value;
  std::vector<ExprPtr> operands;
  std::vector<std::pair<std::string, ExprPtr>> named;  // a name "*" or "**": an unpacked list or dict
  std::vector<std::string> operators;
  int depth = 1;  // levels of expressions below and with this one
};

struct Stmt;
using Body = std::vector<Stmt>;

enum class StmtKind {
  text,       // the value of `value`, as it is
  output,     // {{ value }}
  set,        // {% set target = value %}
  set_block,  // {% set target %}body{% endset %}, through the filters of value
  filter,     // {% filter value %}body{% endfilter %}
  with,       // {% with parameters %}body{% endwith %}
  condition,  // {% if %}: branches, then otherwise
  loop,       // {% for target in value if condition %}body{% else %}otherwise{% endfor %}
  macro,      // {% macro name(parameters) %}body{% endmacro %}
  call,       // {% call(parameters) value %}body{% endcall %}
  scope,      // {% generation %}body{% endgeneration %}
  break_loop,
  continue_loop
};

struct Parameter {
  std::string name;
  ExprPtr fallback;  // null: none
};

struct Branch {
  ExprPtr condition;
  Body body;
};

struct Stmt {
  StmtKind kind;
  Position at;
  std::string name;
  ExprPtr target;  // a name, an attribute of a name, or a tuple of names
  ExprPtr value;
  ExprPtr condition;
  std::vector<Parameter> parameters;
  std::vector<Branch> branches;
  Body body;
  Body otherwise;
};

/// Parses a template. Throws Error{invalid} with line and column; so does nesting beyond 200 levels.
Body parse_template(std::string_view source, const std::string& name);

}  // namespace moxie::jinja
