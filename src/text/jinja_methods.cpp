// Methods of texts, lists, dicts and loops: those of Python that change nothing. str.format is not among them.
#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"
#include "text/jinja_builtins.h"

namespace moxie::jinja {
namespace {

constexpr std::string_view kTextMethods[] = {
    "strip",   "lstrip",  "rstrip",  "split",   "rsplit",  "splitlines", "startswith",   "endswith",     "upper",
    "lower",   "title",   "replace", "find",    "rfind",   "index",      "count",        "join",         "isdigit",
    "isalpha", "isalnum", "isspace", "isupper", "islower", "capitalize", "removeprefix", "removesuffix", "partition"};
constexpr std::string_view kDictMethods[] = {"get", "items", "keys", "values", "copy"};
constexpr std::string_view kSequenceMethods[] = {"index", "count"};
constexpr std::string_view kDictMutators[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kListMutators[] = {"append", "clear",  "extend",  "insert",
                                              "pop",    "remove", "reverse", "sort"};

template <size_t N>
bool among(const std::string_view (&names)[N], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

std::optional<std::string_view> optional_text(const Arguments& arguments, size_t index, std::string_view callee) {
  const Value* value = arguments.find(index);
  if (value == nullptr || value->is(Kind::none)) return std::nullopt;
  return arguments.text(index, callee).view();
}

std::vector<Span> words_of(std::string_view text) {
  std::vector<Span> words;
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const size_t step = utf8_step(text[at]);
    const bool space = is_space(utf8_decode(text, at, static_cast<int>(step)));
    if (!space && !in_word) words.push_back({at, at});
    if (!space) words.back().end = at + step;
    in_word = !space;
    at += step;
  }
  return words;
}

// What is left over once `limit` words are split off stays whole, with the white space at its outer end.
Value split_at_spaces(const Text& text, int64_t limit, bool from_right, Budget& budget) {
  std::vector<Span> words = words_of(text.view());
  if (limit >= 0 && words.size() > static_cast<size_t>(limit)) {
    if (from_right) {
      words.erase(words.begin(), words.end() - limit - 1);
      words.front().begin = 0;
    } else {
      words.resize(static_cast<size_t>(limit) + 1);
      words.back().end = text.size();
    }
  }
  std::vector<Value> pieces;
  budget.spend(words.size() + text.size() / 16);
  for (const Span& word : words) pieces.emplace_back(text.slice(word.begin, word.end));
  return make_sequence(std::move(pieces));
}

Value split(const Text& text, const Arguments& arguments, bool from_right, Budget& budget) {
  const auto separator = optional_text(arguments, 0, "split");
  const int64_t limit = arguments.integer(1, -1, "split");
  budget.spend(1 + text.size() / 16);
  if (!separator) return split_at_spaces(text, limit, from_right, budget);
  if (separator->empty()) fail("empty separator");
  std::vector<Value> pieces;
  size_t begin = 0;
  size_t end = text.size();
  while (limit < 0 || static_cast<int64_t>(pieces.size()) < limit) {
    budget.spend();
    if (from_right) {
      if (end < separator->size()) break;
      const size_t at = text.view().rfind(*separator, end - separator->size());
      if (at == std::string_view::npos) break;
      pieces.emplace_back(text.slice(at + separator->size(), end));
      end = at;
    } else {
      const size_t at = text.view().find(*separator, begin);
      if (at == std::string_view::npos) break;
      pieces.emplace_back(text.slice(begin, at));
      begin = at + separator->size();
    }
  }
  pieces.emplace_back(text.slice(begin, end));
  if (from_right) std::reverse(pieces.begin(), pieces.end());
  return make_sequence(std::move(pieces));
}

bool has_affix(const Text& text, const Value& affix, bool is_prefix) {
  if (affix.is(Kind::sequence)) {
    const auto& any = affix.sequence().items;
    return std::any_of(any.begin(), any.end(), [&](const Value& one) { return has_affix(text, one, is_prefix); });
  }
  if (!affix.is(Kind::text)) fail("startswith and endswith take a str, not a '{}'", type_name(affix));
  const std::string_view wanted = affix.text().view();
  return is_prefix ? text.view().substr(0, wanted.size()) == wanted
                   : text.size() >= wanted.size() && text.view().substr(text.size() - wanted.size()) == wanted;
}

Value find(const Text& text, std::string_view name, const Arguments& arguments) {
  const std::string_view wanted = arguments.text(0, name).view();
  const size_t at = name == "rfind" ? text.view().rfind(wanted) : text.view().find(wanted);
  if (at != std::string_view::npos) return static_cast<int64_t>(count_code_points(text.view().substr(0, at)));
  if (name == "index") fail("substring not found");
  return int64_t{-1};
}

int64_t count(const Text& text, std::string_view wanted, Budget& budget) {
  if (wanted.empty()) return length(text) + 1;
  int64_t found = 0;
  for (size_t at = text.view().find(wanted); at != std::string_view::npos;
       at = text.view().find(wanted, at + wanted.size())) {
    budget.spend();
    ++found;
  }
  return found;
}

// isdigit, isalpha, isalnum, isspace, isupper, islower: of ASCII; other letters count as letters by their case.
bool all_are(const Text& text, std::string_view name) {
  if (name == "isupper" || name == "islower") {
    const Text other = change_case(text, name == "isupper" ? Case::lower : Case::upper);
    const Text same = change_case(text, name == "isupper" ? Case::upper : Case::lower);
    return other.view() != text.view() && same.view() == text.view();
  }
  if (name == "isspace") return !text.empty() && stripped(text.view(), std::nullopt, true, false).begin == text.size();
  return !text.empty() && std::all_of(text.bytes().begin(), text.bytes().end(), [&](char c) {
    const bool is_digit = c >= '0' && c <= '9';
    const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
    return (is_digit && name != "isalpha") || (is_letter && name != "isdigit");
  });
}

Value partition(const Text& text, const Arguments& arguments) {
  const Text& separator = arguments.text(0, "partition");
  if (separator.empty()) fail("empty separator");
  const size_t at = text.view().find(separator.view());
  if (at == std::string_view::npos) return make_sequence({text, Text(), Text()}, Sequence::Type::tuple);
  const size_t end = at + separator.size();
  return make_sequence({text.slice(0, at), text.slice(at, end), text.slice(end, text.size())}, Sequence::Type::tuple);
}

Value text_method(const Text& text, std::string_view name, Arguments& arguments, Budget& budget) {
  budget.spend(1 + text.size() / 16);
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    arguments.bind(name, {"chars"});
    const Span kept = stripped(text.view(), optional_text(arguments, 0, name), name != "rstrip", name != "lstrip");
    return text.slice(kept.begin, kept.end);
  }
  if (name == "split" || name == "rsplit") {
    arguments.bind(name, {"sep", "maxsplit"});
    return split(text, arguments, name == "rsplit", budget);
  }
  if (name == "replace") {
    arguments.bind(name, {"old", "new", "count"});
    return replaced(text, arguments.text(0, name), arguments.text(1, name), arguments.integer(2, -1, name), budget);
  }
  if (name == "join") {
    arguments.bind(name, {"iterable"});
    return joined(*iterate(arguments.need(0, name), budget), text, true, budget);
  }
  if (name == "splitlines") {
    arguments.bind(name, {"keepends"});
    return make_sequence(split_lines(text, arguments.boolean(0, false), budget));
  }
  arguments.bind(name, {"value"});
  if (name == "startswith" || name == "endswith") return has_affix(text, arguments.need(0, name), name == "startswith");
  if (name == "upper") return change_case(text, Case::upper);
  if (name == "lower") return change_case(text, Case::lower);
  if (name == "title") return change_case(text, Case::title);
  if (name == "capitalize") return change_case(text, Case::capitalize);
  if (name == "find" || name == "rfind" || name == "index") return find(text, name, arguments);
  if (name == "count") return count(text, arguments.text(0, name).view(), budget);
  if (name == "partition") return partition(text, arguments);
  if (name == "removeprefix") {
    return has_affix(text, arguments.text(0, name), true) ? text.slice(arguments.text(0, name).size(), text.size())
                                                          : text;
  }
  if (name == "removesuffix") {
    return has_affix(text, arguments.text(0, name), false) ? text.slice(0, text.size() - arguments.text(0, name).size())
                                                           : text;
  }
  return all_are(text, name);
}

Value dict_method(const Value& self, std::string_view name, Arguments& arguments, Budget& budget) {
  const Dict& dict = self.dict();
  if (name == "get") {
    arguments.bind(name, {"key", "default"});
    if (const Value* found = dict.find(arguments.need(0, name), budget)) return *found;
    return arguments.find(1) != nullptr ? *arguments.find(1) : Value(None{});
  }
  arguments.bind(name, {});
  if (name == "copy") return self;
  std::vector<Value> items;
  budget.spend(dict.entries.size());
  for (const auto& [key, value] : dict.entries) {
    if (name == "items") {
      items.push_back(make_sequence({key, value}, Sequence::Type::tuple));
    } else {
      items.push_back(name == "keys" ? key : value);
    }
  }
  return make_sequence(std::move(items));
}

Value sequence_method(const Sequence& sequence, std::string_view name, Arguments& arguments, Budget& budget) {
  arguments.bind(name, {"value"});
  const Value& wanted = arguments.need(0, name);
  int64_t found = 0;
  for (size_t i = 0; i < sequence.items.size(); ++i) {
    if (!equals(sequence.items[i], wanted, budget)) continue;
    if (name == "index") return static_cast<int64_t>(i);
    ++found;
  }
  if (name == "index") fail("the value is not in the list");
  return found;
}

}  // namespace

bool has_method(const Value& value, std::string_view name) {
  if (value.is(Kind::text)) return among(kTextMethods, name);
  if (value.is(Kind::dict)) return among(kDictMethods, name);
  if (value.is(Kind::sequence))
    return among(kSequenceMethods, name) && value.sequence().type != Sequence::Type::generator;
  return value.is(Kind::loop) && name == "cycle";
}

bool is_mutator(const Value& value, std::string_view name) {
  return (value.is(Kind::dict) && among(kDictMutators, name)) ||
         (value.is(Kind::sequence) && among(kListMutators, name));
}

Value call_method(const Value& self, std::string_view name, Arguments arguments, Budget& budget) {
  if (self.is(Kind::text)) return text_method(self.text(), name, arguments, budget);
  if (self.is(Kind::dict)) return dict_method(self, name, arguments, budget);
  if (self.is(Kind::sequence)) return sequence_method(self.sequence(), name, arguments, budget);
  if (arguments.positional.empty() || !arguments.named.empty()) fail("cycle takes the items to choose from");
  return arguments.positional[self.loop().index % arguments.positional.size()];
}

Value loop_attribute(const Loop& loop, std::string_view name) {
  const auto index = static_cast<int64_t>(loop.index);
  const auto size = static_cast<int64_t>(loop.items->items.size());
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return size - index;
  if (name == "revindex0") return size - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == size;
  if (name == "length") return size;
  if (name == "depth") return int64_t{1};
  if (name == "depth0") return int64_t{0};
  if (name == "previtem" && index > 0) return loop.items->items[loop.index - 1];
  if (name == "nextitem" && index + 1 < size) return loop.items->items[loop.index + 1];
  return Value::undefined(fmt::format("the loop has no '{}' here", printable_name(name)));
}

std::string printable_name(std::string_view name) {
  return printable(name);
}

}  // namespace moxie::jinja
