#include "text/jinja_value.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/jinja_builtins.h"

namespace moxie::jinja {
namespace {

constexpr int kMaxValueDepth = 100;

int depth_of(const Value& value) {
  switch (value.kind()) {
    case Kind::sequence:
      return value.sequence().depth;
    case Kind::dict:
      return value.dict().depth;
    case Kind::bound:
      return value.bound().depth;
    case Kind::loop:
      return value.loop().items->depth + 1;
    default:
      return 0;
  }
}

int checked_depth(int inner) {
  if (inner >= kMaxValueDepth) fail("values nest deeper than {} levels", kMaxValueDepth);
  return inner + 1;
}

bool less_sequence(const Sequence& a, const Sequence& b, Budget& budget) {
  for (size_t i = 0; i < a.items.size() && i < b.items.size(); ++i) {
    if (!equals(a.items[i], b.items[i], budget)) return less(a.items[i], b.items[i], budget);
  }
  return a.items.size() < b.items.size();
}

bool equal_dicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = b.find(key, budget);
    if (other == nullptr || !equals(value, *other, budget)) return false;
  }
  return true;
}

// Python's meaning of the ends of a slice: counted from the back if negative, clamped to what exists.
int64_t slice_end(const Value& value, int64_t size, int64_t step, bool is_begin) {
  if (value.is(Kind::none)) return is_begin ? (step > 0 ? 0 : size - 1) : (step > 0 ? size : -1);
  if (!value.is_integral()) fail("slice indices must be integers or None");
  int64_t index = value.integer();
  if (index < 0) index = std::max<int64_t>(index + size, step > 0 ? 0 : -1);
  return std::min<int64_t>(index, step > 0 ? size : size - 1);
}

}  // namespace

Value Value::undefined(std::string why) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(why))};
  return value;
}

std::string Value::undefined_why() const {
  const auto& why = std::get<Undefined>(data_).why;
  return why ? *why : "the value is undefined";
}

const Value* Dict::find(std::string_view key) const {
  const auto found = text_index.find(key);
  return found == text_index.end() ? nullptr : &entries[found->second].second;
}

const Value* Dict::find(const Value& key, Budget& budget) const {
  const size_t at = position(key, budget);
  return at == entries.size() ? nullptr : &entries[at].second;
}

size_t Dict::position(const Value& key, Budget& budget) const {
  if (key.is(Kind::text)) {
    const auto found = text_index.find(key.text().view());
    return found == text_index.end() ? entries.size() : found->second;
  }
  if (!key.is_number() && !key.is(Kind::none) && !key.is(Kind::undefined))
    fail("unhashable type: '{}'", type_name(key));
  for (const size_t entry : other_keys) {
    if (equals(entries[entry].first, key, budget)) return entry;
  }
  return entries.size();
}

Value make_sequence(std::vector<Value> items, Sequence::Type type) {
  auto sequence = std::make_shared<Sequence>();
  sequence->type = type;
  int inner = 0;
  for (const Value& item : items) inner = std::max(inner, depth_of(item));
  sequence->depth = checked_depth(inner);
  sequence->items = std::move(items);
  return Value(std::shared_ptr<const Sequence>(std::move(sequence)));
}

Value make_dict(std::vector<std::pair<Value, Value>> entries, Budget& budget) {
  auto dict = std::make_shared<Dict>();
  dict->entries.reserve(entries.size());
  int inner = 0;
  for (auto& [key, value] : entries) {
    budget.spend();
    inner = std::max(inner, depth_of(value));
    const size_t known = dict->position(key, budget);
    if (known < dict->entries.size()) {
      dict->entries[known].second = std::move(value);
      continue;
    }
    if (key.is(Kind::text)) {
      dict->text_index.emplace(key.text().view(), dict->entries.size());
    } else {
      dict->other_keys.push_back(dict->entries.size());
    }
    dict->entries.emplace_back(std::move(key), std::move(value));
  }
  dict->depth = checked_depth(inner);
  return Value(std::shared_ptr<const Dict>(std::move(dict)));
}

Value make_bound(const Value& self, std::string name) {
  return Value(std::make_shared<const Bound>(Bound{self, std::move(name), checked_depth(depth_of(self))}));
}

Value from_json(const json::Value& value, bool from_user, Budget& budget, int depth) {
  budget.spend();
  checked_depth(depth);
  switch (value.type()) {
    case json::Type::null:
      return None{};
    case json::Type::boolean:
      return value.as_bool();
    case json::Type::integer:
      if (!value.as_int()) fail("the integer {} does not fit 64 bits with a sign", *value.as_uint());
      return *value.as_int();
    case json::Type::number:
      return value.as_double();
    case json::Type::string:
      if (utf8_error_offset(value.as_string()) != std::string::npos) fail("a string of the context is not UTF-8");
      return Text(value.as_string(), from_user);
    case json::Type::array: {
      std::vector<Value> items;
      items.reserve(value.items().size());
      for (const json::Value& item : value.items()) items.push_back(from_json(item, from_user, budget, depth + 1));
      return make_sequence(std::move(items));
    }
    case json::Type::object: {
      std::vector<std::pair<Value, Value>> entries;
      entries.reserve(value.members().size());
      for (const json::Member& member : value.members()) {
        if (utf8_error_offset(member.key) != std::string::npos) fail("a key of the context is not UTF-8");
        entries.emplace_back(Text(member.key, from_user), from_json(member.value, from_user, budget, depth + 1));
      }
      return make_dict(std::move(entries), budget);
    }
  }
  return None{};
}

std::string_view type_name(const Value& value) {
  constexpr std::string_view names[] = {"Undefined", "None",      "bool",  "int",    "float",       "str",     "list",
                                        "dict",      "Namespace", "Macro", "method", "LoopContext", "function"};
  if (value.is(Kind::sequence) && value.sequence().type == Sequence::Type::tuple) return "tuple";
  if (value.is(Kind::sequence) && value.sequence().type == Sequence::Type::generator) return "generator";
  return names[static_cast<int>(value.kind())];
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return value.integer() != 0;
    case Kind::real:
      return value.real() != 0;
    case Kind::text:
      return !value.text().empty();
    case Kind::sequence:
      return value.sequence().type == Sequence::Type::generator || !value.sequence().items.empty();
    case Kind::dict:
      return !value.dict().entries.empty();
    default:
      return true;
  }
}

bool equals(const Value& a, const Value& b, Budget& budget) {
  budget.spend();
  if (a.is_number() && b.is_number()) {
    return a.is(Kind::real) || b.is(Kind::real) ? a.real() == b.real() : a.integer() == b.integer();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::undefined:
    case Kind::none:
      return true;
    case Kind::text:
      budget.spend(std::min(a.text().size(), b.text().size()) / 16);
      return a.text().view() == b.text().view();
    case Kind::sequence: {
      const Sequence& left = a.sequence();
      const Sequence& right = b.sequence();
      return left.type == right.type &&
             std::equal(left.items.begin(), left.items.end(), right.items.begin(), right.items.end(),
                        [&](const Value& x, const Value& y) { return equals(x, y, budget); });
    }
    case Kind::dict:
      return equal_dicts(a.dict(), b.dict(), budget);
    case Kind::name_space:
      return a.name_space() == b.name_space();
    case Kind::macro:
      return a.macro() == b.macro();
    case Kind::bound:
      return a.bound().name == b.bound().name && equals(a.bound().self, b.bound().self, budget);
    case Kind::loop:
      return &a.loop() == &b.loop();
    default:
      return a.function() == b.function();
  }
}

bool less(const Value& a, const Value& b, Budget& budget) {
  budget.spend();
  for (const Value* value : {&a, &b}) {
    if (value->is(Kind::undefined)) fail("{}", value->undefined_why());
  }
  if (a.is_number() && b.is_number()) {
    return a.is(Kind::real) || b.is(Kind::real) ? a.real() < b.real() : a.integer() < b.integer();
  }
  if (a.is(Kind::text) && b.is(Kind::text)) return a.text().view() < b.text().view();
  if (type_name(a) == type_name(b) && a.is(Kind::sequence) && a.sequence().type != Sequence::Type::generator) {
    return less_sequence(a.sequence(), b.sequence(), budget);
  }
  fail("'{}' and '{}' have no order", type_name(a), type_name(b));
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  switch (container.kind()) {
    case Kind::undefined:
      return false;
    case Kind::text:
      if (item.is(Kind::undefined)) fail("{}", item.undefined_why());
      if (!item.is(Kind::text)) fail("'in <string>' requires string as left operand, not {}", type_name(item));
      budget.spend(container.text().size() / 16);
      return container.text().view().find(item.text().view()) != std::string_view::npos;
    case Kind::dict:
      return container.dict().find(item, budget) != nullptr;
    case Kind::sequence: {
      const auto& items = container.sequence().items;
      return std::any_of(items.begin(), items.end(), [&](const Value& one) { return equals(one, item, budget); });
    }
    default:
      fail("argument of type '{}' is not iterable", type_name(container));
  }
}

int64_t length(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return 0;
    case Kind::text:
      return static_cast<int64_t>(count_code_points(value.text().view()));
    case Kind::dict:
      return static_cast<int64_t>(value.dict().entries.size());
    case Kind::sequence:
      if (value.sequence().type != Sequence::Type::generator)
        return static_cast<int64_t>(value.sequence().items.size());
      [[fallthrough]];
    default:
      fail("object of type '{}' has no len()", type_name(value));
  }
}

std::shared_ptr<const Sequence> iterate(const Value& value, Budget& budget) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Kind::sequence:
      return value.sequence_ptr();
    case Kind::undefined:
      break;
    case Kind::dict:
      budget.spend(value.dict().entries.size());
      for (const auto& [key, unused] : value.dict().entries) items.push_back(key);
      break;
    case Kind::text: {
      const Text& text = value.text();
      budget.spend(text.size());
      for (size_t offset = 0; offset < text.size();) {
        const size_t step = utf8_step(text.bytes()[offset]);
        items.emplace_back(text.slice(offset, offset + step));
        offset += step;
      }
      break;
    }
    default:
      fail("'{}' object is not iterable", type_name(value));
  }
  return make_sequence(std::move(items)).sequence_ptr();
}

Value get_item(const Value& value, const Value& key, Budget& budget) {
  if (value.is(Kind::undefined)) fail("{}", value.undefined_why());
  const bool hashable = key.is(Kind::text) || key.is_number() || key.is(Kind::none);
  if (value.is(Kind::dict) && hashable) {
    if (const Value* found = value.dict().find(key, budget)) return *found;
  } else if (key.is_integral() && (value.is(Kind::text) || value.is(Kind::sequence))) {
    const int64_t size = length(value);
    int64_t index = key.integer();
    if (index < 0) index += size;
    if (index >= 0 && index < size) {
      if (value.is(Kind::sequence)) return value.sequence().items[static_cast<size_t>(index)];
      budget.spend(value.text().size() / 16);
      const size_t begin = code_point_offset(value.text().view(), static_cast<size_t>(index));
      return value.text().slice(begin, begin + utf8_step(value.text().bytes()[begin]));
    }
  }
  if (key.is(Kind::text)) return get_attribute(value, key.text().view());
  return Value::undefined(fmt::format("'{} object' has no such element", type_name(value)));
}

Value get_attribute(const Value& value, std::string_view name) {
  if (value.is(Kind::undefined)) fail("{}", value.undefined_why());
  if (name.substr(0, 2) == "__") fail("access to attribute '{}' is unsafe", name);
  if (has_method(value, name)) return make_bound(value, std::string(name));
  if (is_mutator(value, name)) {
    return Value::undefined(
        fmt::format("'{}' would change a '{}' object, which is not allowed", name, type_name(value)));
  }
  if (value.is(Kind::dict)) {
    if (const Value* found = value.dict().find(name)) return *found;
  } else if (value.is(Kind::name_space)) {
    const auto found = value.name_space()->names.find(name);
    if (found != value.name_space()->names.end()) return found->second;
  } else if (value.is(Kind::loop)) {
    return loop_attribute(value.loop(), name);
  }
  return Value::undefined(fmt::format("'{} object' has no attribute '{}'", type_name(value), printable_name(name)));
}

Value get_slice(const Value& value, const Value& begin, const Value& end, const Value& step, Budget& budget) {
  if (value.is(Kind::undefined)) fail("{}", value.undefined_why());
  const bool sliceable = value.is(Kind::text) || value.is(Kind::sequence);
  if (!sliceable) return Value::undefined(fmt::format("'{} object' has no slices", type_name(value)));
  const int64_t size = length(value);
  if (!step.is_integral() && !step.is(Kind::none)) fail("slice indices must be integers or None");
  const int64_t stride = step.is(Kind::none) ? 1 : step.integer();
  if (stride == 0) fail("slice step cannot be zero");
  const int64_t first = slice_end(begin, size, stride, true);
  const int64_t last = slice_end(end, size, stride, false);
  const int64_t span = stride > 0 ? last - first : first - last;
  const uint64_t width = stride > 0 ? static_cast<uint64_t>(stride) : 0 - static_cast<uint64_t>(stride);
  const uint64_t count = span <= 0 ? 0 : (static_cast<uint64_t>(span) - 1) / width + 1;
  budget.spend(count + static_cast<uint64_t>(size) / 16);
  const auto at = [&](uint64_t i) { return static_cast<size_t>(first + static_cast<int64_t>(i) * stride); };
  if (value.is(Kind::sequence)) {
    std::vector<Value> items;
    for (uint64_t i = 0; i < count; ++i) items.push_back(value.sequence().items[at(i)]);
    return make_sequence(std::move(items), value.sequence().type);
  }
  const Text& text = value.text();
  if (stride == 1 && count > 0) {
    const size_t from = code_point_offset(text.view(), at(0));
    return text.slice(from, from + code_point_offset(text.view().substr(from), count));
  }
  std::vector<size_t> offsets;
  for (size_t offset = 0; offset < text.size(); offset += utf8_step(text.bytes()[offset])) offsets.push_back(offset);
  Text result;
  for (uint64_t i = 0; i < count; ++i) {
    const size_t from = offsets[at(i)];
    result.append_slice(text, from, from + utf8_step(text.bytes()[from]));
  }
  return result;
}

}  // namespace moxie::jinja
