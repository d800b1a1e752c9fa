#include "text/jinja_interpreter.h"

namespace moxie::jinja {

void Scope::set(std::string_view name, Value value) {
  for (auto& [known, old] : names) {
    if (known == name) {
      old = std::move(value);
      return;
    }
  }
  names.emplace_back(name, std::move(value));
}

Text Interpreter::run(const Body& body, std::vector<std::pair<std::string_view, Value>> context) {
  scope_ = std::make_shared<Scope>();
  scope_->names = std::move(context);
  Text out;
  out_ = &out;
  execute(body);
  return out;
}

Interpreter::Flow Interpreter::execute(const Body& body) {
  const Level level(*this);
  for (const Stmt& node : body) {
    budget_.spend();
    at_ = node.at;
    const Flow flow = execute(node);
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute(const Stmt& node) {
  switch (node.kind) {
    case StmtKind::text:
      budget_.append(*out_, node.value->value.text());
      return Flow::normal;
    case StmtKind::output: {
      const Value value = evaluate(*node.value);
      append_text(*out_, value, budget_);
      return Flow::normal;
    }
    case StmtKind::set:
      assign(*node.target, evaluate(*node.value));
      return Flow::normal;
    case StmtKind::set_block:
      execute_set_block(node);
      return Flow::normal;
    case StmtKind::filter:
      block_text_ = capture(node.body);
      append_text(*out_, evaluate(*node.value), budget_);
      return Flow::normal;
    case StmtKind::with: {
      std::vector<std::pair<std::string_view, Value>> names;
      for (const Parameter& one : node.parameters) names.emplace_back(one.name, evaluate(*one.fallback));
      return execute_in_scope(node.body, std::move(names));
    }
    case StmtKind::condition:
      for (const Branch& branch : node.branches) {
        if (truthy(evaluate(*branch.condition))) return execute(branch.body);
      }
      return execute(node.otherwise);
    case StmtKind::loop:
      return execute_loop(node);
    case StmtKind::macro:
      scope_->set(node.name, make_macro(node));
      return Flow::normal;
    case StmtKind::call: {
      const Value caller = make_macro(node);
      append_text(*out_, evaluate_call(*node.value, &caller), budget_);
      return Flow::normal;
    }
    case StmtKind::scope:
      return execute_in_scope(node.body);
    case StmtKind::break_loop:
      return Flow::leave_loop;
    case StmtKind::continue_loop:
      return Flow::next_iteration;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute_in_scope(const Body& body,
                                                std::vector<std::pair<std::string_view, Value>> names) {
  auto outer = scope_;
  scope_ = std::make_shared<Scope>(Scope{outer, std::move(names)});
  const Flow flow = execute(body);
  scope_ = std::move(outer);
  return flow;
}

Text Interpreter::capture(const Body& body) {
  Text text;
  Text* outer = std::exchange(out_, &text);
  execute_in_scope(body);
  out_ = outer;
  return text;
}

void Interpreter::execute_set_block(const Stmt& node) {
  block_text_ = capture(node.body);
  assign(*node.target, evaluate(*node.value));
}

std::shared_ptr<const Sequence> Interpreter::loop_items(const Stmt& node) {
  const Value value = evaluate(*node.value);
  at_ = node.at;
  auto items = iterate(value, budget_);
  if (!node.condition) return items;
  std::vector<Value> kept;
  auto outer = scope_;
  for (const Value& item : items->items) {
    scope_ = std::make_shared<Scope>(Scope{outer, {}});
    assign(*node.target, item);
    if (truthy(evaluate(*node.condition))) kept.push_back(item);
  }
  scope_ = std::move(outer);
  return make_sequence(std::move(kept)).sequence_ptr();
}

Interpreter::Flow Interpreter::execute_loop(const Stmt& node) {
  const auto items = loop_items(node);
  if (items->items.empty()) return execute(node.otherwise);
  return execute_loop_body(node, items);
}

Interpreter::Flow Interpreter::execute_loop_body(const Stmt& node, const std::shared_ptr<const Sequence>& items) {
  auto loop = std::make_shared<Loop>();
  loop->items = items;
  const Value loop_value(std::shared_ptr<const Loop>{loop});
  auto outer = scope_;
  for (const Value& item : items->items) {
    budget_.spend();
    scope_ = std::make_shared<Scope>(Scope{outer, {}});
    scope_->set("loop", loop_value);
    assign(*node.target, item);
    const Flow flow = execute(node.body);
    ++loop->index;
    if (flow == Flow::leave_loop) break;
  }
  scope_ = std::move(outer);
  return Flow::normal;
}

void Interpreter::assign(const Expr& target, Value value) {
  at_ = target.at;
  if (target.kind == ExprKind::name) {
    budget_.spend(scope_->names.size() / 8);
    return scope_->set(target.name, std::move(value));
  }
  if (target.kind == ExprKind::attribute) {
    const Value owner = evaluate(*target.operands[0]);
    if (!owner.is(Kind::name_space)) fail("cannot assign to an attribute of a '{}'", type_name(owner));
    if (target.name[0] == '_') fail("a namespace cannot hold '{}'", printable_name(target.name));
    owner.name_space()->names[target.name] = std::move(value);
    return;
  }
  const auto items = iterate(value, budget_);
  if (items->items.size() != target.operands.size()) {
    fail("cannot unpack {} values into {} names", items->items.size(), target.operands.size());
  }
  for (size_t i = 0; i < target.operands.size(); ++i) assign(*target.operands[i], items->items[i]);
}

Value Interpreter::make_macro(const Stmt& node) {
  const Macro* macro = &macros_.emplace_back(Macro{&node, scope_});
  return macro;
}

Value Interpreter::call_macro(const Macro& macro, Arguments arguments) {
  const Level level(*this);
  const Stmt& definition = *macro.definition;
  const auto& parameters = definition.parameters;
  if (arguments.positional.size() > parameters.size()) {
    fail("macro '{}' takes not more than {} arguments", definition.name, parameters.size());
  }
  auto outer = std::exchange(scope_, std::make_shared<Scope>(Scope{macro.closure, {}}));
  for (auto& [name, value] : arguments.named) {
    if (name == "caller") scope_->set("caller", std::move(value));
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    Value value = Value::undefined(fmt::format("parameter '{}' was not provided", parameter.name));
    bool given = i < arguments.positional.size();
    if (given) value = arguments.positional[i];
    for (auto& [name, named_value] : arguments.named) {
      if (name != parameter.name) continue;
      if (given) fail("macro '{}' got two values for '{}'", definition.name, name);
      given = true;
      value = std::move(named_value);
      name.clear();
    }
    if (!given && parameter.fallback) value = evaluate(*parameter.fallback);
    scope_->set(parameter.name, std::move(value));
  }
  for (const auto& [name, value] : arguments.named) {
    if (!name.empty() && name != "caller")
      fail("macro '{}' takes no argument '{}'", definition.name, printable_name(name));
  }
  Text text;
  Text* outer_out = std::exchange(out_, &text);
  execute(definition.body);
  out_ = outer_out;
  scope_ = std::move(outer);
  return text;
}

}  // namespace moxie::jinja
