// The filters: those of Jinja's default environment that chat templates use, and transformers' own tojson.
#include <algorithm>
#include <charconv>
#include <map>
#include <unordered_set>

#include "text/jinja_interpreter.h"
#include "text/jinja_number_filters.h"

namespace moxie::jinja {
namespace {

using A = Arguments&;
using R = Interpreter&;
using Filter = Value (*)(const Value& value, Arguments& arguments, Interpreter& run);

// The values at "a.b.0" below an item, as the filters' attribute argument means it.
Value at_path(Value item, const Value& path, Budget& budget) {
  if (!path.is(Kind::text)) return get_item(item, path, budget);
  std::string_view rest = path.text().view();
  for (;;) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index = error == std::errc() && end == part.data() + part.size() && part[0] != '-';
    item = get_item(item, is_index ? Value(index) : Value(Text(std::string(part))), budget);
    if (dot == std::string_view::npos) return item;
    rest = rest.substr(dot + 1);
  }
}

// What sort, unique, min, max and dictsort compare.
Value key_of(const Value& item, const Value* path, bool case_sensitive, Budget& budget) {
  Value key = path != nullptr && !path->is(Kind::none) ? at_path(item, *path, budget) : item;
  if (case_sensitive || !key.is(Kind::text)) return key;
  budget.spend(key.text().size() / 16);
  return change_case(key.text(), Case::lower);
}

using Keyed = std::pair<Value, Value>;  // key, item

std::vector<Keyed> keyed(const Value& value, const Value* path, bool case_sensitive, Budget& budget) {
  std::vector<Keyed> result;
  const auto items = iterate(value, budget);
  for (const Value& item : items->items) {
    budget.spend();
    result.emplace_back(key_of(item, path, case_sensitive, budget), item);
  }
  return result;
}

Value sorted(std::vector<Keyed> entries, bool reverse, Budget& budget) {
  std::stable_sort(entries.begin(), entries.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? less(b.first, a.first, budget) : less(a.first, b.first, budget);
  });
  std::vector<Value> items;
  for (Keyed& entry : entries) items.push_back(std::move(entry.second));
  return make_sequence(std::move(items));
}

Value sort_filter(const Value& value, A arguments, R run) {
  arguments.bind("sort", {"reverse", "case_sensitive", "attribute"});
  auto entries = keyed(value, arguments.find(2), arguments.boolean(1, false), run.budget());
  return sorted(std::move(entries), arguments.boolean(0, false), run.budget());
}

Value dictsort_filter(const Value& value, A arguments, R run) {
  arguments.bind("dictsort", {"case_sensitive", "by", "reverse"});
  refuse_undefined(value);
  if (!value.is(Kind::dict)) fail("dictsort takes a dict, not a '{}'", type_name(value));
  const bool by_value = arguments.find(1) != nullptr && arguments.text(1, "dictsort").view() == "value";
  std::vector<Keyed> entries;
  for (const auto& [key, item] : value.dict().entries) {
    entries.emplace_back(key_of(by_value ? item : key, nullptr, arguments.boolean(0, false), run.budget()),
                         make_sequence({key, item}, Sequence::Type::tuple));
  }
  return sorted(std::move(entries), arguments.boolean(2, false), run.budget());
}

Value unique_filter(const Value& value, A arguments, R run) {
  arguments.bind("unique", {"case_sensitive", "attribute"});
  std::unordered_set<std::string> texts;
  std::vector<Value> others;
  std::vector<Value> kept;
  for (Keyed& entry : keyed(value, arguments.find(1), arguments.boolean(0, false), run.budget())) {
    const Value& key = entry.first;
    if (key.is(Kind::text)) {
      if (!texts.insert(key.text().bytes()).second) continue;
    } else {
      const auto same = [&](const Value& known) { return equals(known, key, run.budget()); };
      if (std::any_of(others.begin(), others.end(), same)) continue;
      others.push_back(key);
    }
    kept.push_back(std::move(entry.second));
  }
  return make_sequence(std::move(kept), Sequence::Type::generator);
}

Value extreme(const Value& value, A arguments, R run, bool is_max) {
  arguments.bind(is_max ? "max" : "min", {"case_sensitive", "attribute"});
  const auto entries = keyed(value, arguments.find(1), arguments.boolean(0, false), run.budget());
  if (entries.empty()) return Value::undefined("no aggregated item, sequence was empty");
  size_t best = 0;
  for (size_t i = 1; i < entries.size(); ++i) {
    const auto& [a, b] = is_max ? std::tie(entries[best], entries[i]) : std::tie(entries[i], entries[best]);
    if (less(a.first, b.first, run.budget())) best = i;
  }
  return entries[best].second;
}

Value sum_filter(const Value& value, A arguments, R run) {
  arguments.bind("sum", {"attribute", "start"});
  const Value* path = arguments.find(0);
  Value total = arguments.find(1) != nullptr ? *arguments.find(1) : Value(int64_t{0});
  for (const Keyed& entry : keyed(value, path, true, run.budget())) {
    const Value& item = entry.first;
    refuse_undefined(item);
    if (!item.is_number() || !total.is_number()) fail("sum takes numbers, not a '{}'", type_name(item));
    int64_t next = 0;
    if (item.is(Kind::real) || total.is(Kind::real)) {
      total = total.real() + item.real();
    } else if (__builtin_add_overflow(total.integer(), item.integer(), &next)) {
      fail("an integer left the range of 64 bits");
    } else {
      total = next;
    }
  }
  return total;
}

Value map_filter(const Value& value, A arguments, R run) {
  if (!truthy(value)) return make_sequence({}, Sequence::Type::generator);  // as Jinja: none has no items
  const auto items = iterate(value, run.budget());
  std::vector<Value> mapped;
  if (arguments.positional.empty()) {
    arguments.bind("map", {"attribute", "default"});
    for (const Value& item : items->items) {
      run.budget().spend();
      Value found = at_path(item, arguments.need(0, "map"), run.budget());
      const bool use_default = found.is(Kind::undefined) && arguments.find(1) != nullptr;
      mapped.push_back(use_default ? *arguments.find(1) : std::move(found));
    }
  } else {
    const Value name = arguments.positional[0];
    if (!name.is(Kind::text)) fail("map takes the name of a filter");
    arguments.positional.erase(arguments.positional.begin());
    for (const Value& item : items->items) {
      run.budget().spend(1 + arguments.positional.size());
      mapped.push_back(call_filter(name.text().view(), item, arguments, run));
    }
  }
  return make_sequence(std::move(mapped), Sequence::Type::generator);
}

// select, reject, selectattr, rejectattr: the items (or what stands at a path below them) that pass a test, or do not.
Value selection(const Value& value, A arguments, R run, bool by_path, bool wanted) {
  if (!truthy(value)) return make_sequence({}, Sequence::Type::generator);
  auto& given = arguments.positional;
  if (by_path && given.empty()) fail("selectattr and rejectattr take the name of an attribute");
  const Value path = by_path ? given[0] : Value();
  if (by_path) given.erase(given.begin());
  const Value test = given.empty() ? Value() : given[0];
  if (!given.empty()) given.erase(given.begin());
  if (!test.is(Kind::text) && !test.is(Kind::undefined)) fail("a selection takes the name of a test");
  const auto items = iterate(value, run.budget());
  std::vector<Value> kept;
  for (const Value& item : items->items) {
    run.budget().spend(1 + given.size());
    const Value subject = by_path ? at_path(item, path, run.budget()) : item;
    const bool passes = test.is(Kind::text) ? call_test(test.text().view(), subject, arguments, run) : truthy(subject);
    if (passes == wanted) kept.push_back(item);
  }
  return make_sequence(std::move(kept), Sequence::Type::generator);
}

Value default_filter(const Value& value, A arguments, R) {
  arguments.bind("default", {"default_value", "boolean"});
  const bool use_default = value.is(Kind::undefined) || (arguments.boolean(1, false) && !truthy(value));
  if (!use_default) return value;
  return arguments.find(0) != nullptr ? *arguments.find(0) : Value(Text());
}

Value edge_filter(const Value& value, A arguments, R run, bool is_first) {
  arguments.bind(is_first ? "first" : "last", {});
  const auto items = iterate(value, run.budget());
  if (items->items.empty()) return Value::undefined("no item: the sequence was empty");
  return is_first ? items->items.front() : items->items.back();
}

Value reverse_filter(const Value& value, A arguments, R run) {
  arguments.bind("reverse", {});
  if (value.is(Kind::text)) return get_slice(value, None{}, None{}, int64_t{-1}, run.budget());
  auto items = iterate(value, run.budget())->items;
  run.budget().spend(items.size());
  std::reverse(items.begin(), items.end());
  return make_sequence(std::move(items), Sequence::Type::generator);
}

Value join_filter(const Value& value, A arguments, R run) {
  arguments.bind("join", {"d", "attribute"});
  const Text separator = arguments.find(0) != nullptr ? to_text(*arguments.find(0), run.budget()) : Text();
  auto items = iterate(value, run.budget());
  if (const Value* path = arguments.find(1)) {
    std::vector<Value> found;
    for (const Value& item : items->items) found.push_back(at_path(item, *path, run.budget()));
    items = make_sequence(std::move(found)).sequence_ptr();
  }
  return joined(*items, separator, false, run.budget());
}

Value items_filter(const Value& value, A arguments, R run) {
  if (value.is(Kind::undefined)) return make_sequence({});
  if (!value.is(Kind::dict)) fail("items takes a dict, not a '{}'", type_name(value));
  return call_method(value, "items", std::move(arguments), run.budget());
}

Value indent_filter(const Value& value, A arguments, R run) {
  arguments.bind("indent", {"width", "first", "blank"});
  Text indentation;
  if (arguments.find(0) != nullptr && arguments.find(0)->is(Kind::text)) {
    indentation = arguments.text(0, "indent");
  } else {
    const int64_t width = arguments.integer(0, 4, "indent");
    if (width > 1000) fail("indent takes a width of at most 1000");
    indentation = Text(std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' '));
  }
  refuse_undefined(value);
  if (!value.is(Kind::text)) fail("indent takes a str, not a '{}'", type_name(value));
  Text ended = value.text();
  ended.append("\n");
  Text result;
  if (arguments.boolean(1, false)) run.budget().append(result, indentation);
  const auto lines = split_lines(ended, false, run.budget());
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) run.budget().append(result, "\n");
    if (i > 0 && (arguments.boolean(2, false) || !lines[i].text().empty())) run.budget().append(result, indentation);
    run.budget().append(result, lines[i].text());
  }
  return result;
}

Value tojson_filter(const Value& value, A arguments, R run) {
  arguments.bind("tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = arguments.boolean(0, false);
  if (arguments.find(1) != nullptr && !arguments.find(1)->is(Kind::none)) {
    style.indent = std::max<int64_t>(arguments.integer(1, 0, "tojson"), 0);
    style.item_separator = std::string(1, ',');  // as json.dumps has it
  }
  if (const Value* separators = arguments.find(2); separators != nullptr && !separators->is(Kind::none)) {
    const auto pair = iterate(*separators, run.budget());
    if (pair->items.size() != 2 || !pair->items[0].is(Kind::text) || !pair->items[1].is(Kind::text)) {
      fail("tojson takes two separators");
    }
    style.item_separator = pair->items[0].text().bytes();
    style.key_separator = pair->items[1].text().bytes();
  }
  style.sort_keys = arguments.boolean(3, false);
  return to_json(value, style, run.budget());
}

Value escape_filter(const Value& value, A arguments, R run) {
  arguments.bind("escape", {});
  Text text = to_text(value, run.budget());
  for (const auto& [plain, entity] : std::initializer_list<std::pair<const char*, const char*>>{
           {"&", "&amp;"}, {">", "&gt;"}, {"<", "&lt;"}, {"'", "&#39;"}, {"\"", "&#34;"}}) {
    text = replaced(text, Text(plain), Text(entity), -1, run.budget());
  }
  return text;
}

Value cased(const Value& value, A arguments, R run, Case to) {
  arguments.bind("this filter", {});
  return change_case(to_text(value, run.budget()), to, true);
}

Value trim_filter(const Value& value, A arguments, R run) {
  arguments.bind("trim", {"chars"});
  const Text text = to_text(value, run.budget());
  const bool given = arguments.find(0) != nullptr && !arguments.find(0)->is(Kind::none);
  const Span kept =
      stripped(text.view(), given ? std::optional(arguments.text(0, "trim").view()) : std::nullopt, true, true);
  return text.slice(kept.begin, kept.end);
}

Value replace_filter(const Value& value, A arguments, R run) {
  arguments.bind("replace", {"old", "new", "count"});
  return replaced(to_text(value, run.budget()), to_text(arguments.need(0, "replace"), run.budget()),
                  to_text(arguments.need(1, "replace"), run.budget()), arguments.integer(2, -1, "replace"),
                  run.budget());
}

Value length_filter(const Value& value, A arguments, R) {
  arguments.bind("length", {});
  return length(value);
}

Value string_filter(const Value& value, A arguments, R run) {
  arguments.bind("string", {});
  return value.is(Kind::text) ? value : Value(to_text(value, run.budget()));
}

Value list_filter(const Value& value, A arguments, R run) {
  arguments.bind("list", {});
  const auto items = iterate(value, run.budget());
  run.budget().spend(items->items.size());
  return make_sequence(items->items);
}

const std::map<std::string_view, Filter>& filters() {
  static const std::map<std::string_view, Filter> table = {
      {"abs", abs_filter},
      {"capitalize", [](const Value& v, A a, R r) { return cased(v, a, r, Case::capitalize); }},
      {"count", length_filter},
      {"d", default_filter},
      {"default", default_filter},
      {"dictsort", dictsort_filter},
      {"e", escape_filter},
      {"escape", escape_filter},
      {"first", [](const Value& v, A a, R r) { return edge_filter(v, a, r, true); }},
      {"float", float_filter},
      {"indent", indent_filter},
      {"int", int_filter},
      {"items", items_filter},
      {"join", join_filter},
      {"last", [](const Value& v, A a, R r) { return edge_filter(v, a, r, false); }},
      {"length", length_filter},
      {"list", list_filter},
      {"lower", [](const Value& v, A a, R r) { return cased(v, a, r, Case::lower); }},
      {"map", map_filter},
      {"max", [](const Value& v, A a, R r) { return extreme(v, a, r, true); }},
      {"min", [](const Value& v, A a, R r) { return extreme(v, a, r, false); }},
      {"reject", [](const Value& v, A a, R r) { return selection(v, a, r, false, false); }},
      {"rejectattr", [](const Value& v, A a, R r) { return selection(v, a, r, true, false); }},
      {"replace", replace_filter},
      {"reverse", reverse_filter},
      {"round", round_filter},
      {"safe", string_filter},  // nothing is escaped, so nothing need be marked as safe
      {"select", [](const Value& v, A a, R r) { return selection(v, a, r, false, true); }},
      {"selectattr", [](const Value& v, A a, R r) { return selection(v, a, r, true, true); }},
      {"sort", sort_filter},
      {"string", string_filter},
      {"sum", sum_filter},
      {"title", [](const Value& v, A a, R r) { return cased(v, a, r, Case::title); }},
      {"tojson", tojson_filter},
      {"trim", trim_filter},
      {"unique", unique_filter},
      {"upper", [](const Value& v, A a, R r) { return cased(v, a, r, Case::upper); }},
  };
  return table;
}

}  // namespace

bool is_filter(std::string_view name) {
  return filters().count(name) > 0;
}

Value call_filter(std::string_view name, const Value& value, Arguments arguments, Interpreter& run) {
  const auto filter = filters().find(name);
  if (filter == filters().end()) fail("there is no filter '{}'", printable_name(name));
  return filter->second(value, arguments, run);
}

}  // namespace moxie::jinja
