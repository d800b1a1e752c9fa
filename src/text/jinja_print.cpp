// Values as text: Python's str and repr, and json.dumps as chat templates call it.
#include <utf8proc.h>

#include <algorithm>
#include <cmath>

#include "base/utf8.h"
#include "text/jinja_value.h"

namespace moxie::jinja {
namespace {

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

bool is_printable(uint32_t c) {
  if (c < 0x7F) return c >= 0x20;
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category != UTF8PROC_CATEGORY_CN && category < UTF8PROC_CATEGORY_ZS;
}

void append_quoted(Text& out, const Text& text, Budget& budget) {
  const std::string& bytes = text.bytes();
  const bool has_single = bytes.find('\'') != std::string::npos;
  const char quote = has_single && bytes.find('"') == std::string::npos ? '"' : '\'';
  budget.append(out, std::string_view(&quote, 1));
  for (size_t offset = 0; offset < bytes.size();) {
    const size_t step = utf8_step(bytes[offset]);
    const uint32_t c = utf8_decode(bytes, offset, static_cast<int>(step));
    std::string escaped;
    if (c == static_cast<uint32_t>(quote) || c == '\\') {
      escaped = {'\\', static_cast<char>(c)};
    } else if (c == '\n' || c == '\r' || c == '\t') {
      escaped = c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (!is_printable(c)) {
      escaped = c < 0x100     ? fmt::format("\\x{:02x}", c)
                : c < 0x10000 ? fmt::format("\\u{:04x}", c)
                              : fmt::format("\\U{:08x}", c);
    }
    if (escaped.empty()) {
      budget.append_slice(out, text, offset, offset + step);
    } else {
      budget.append(out, Text(escaped, text.is_user(offset)));
    }
    offset += step;
  }
  budget.append(out, std::string_view(&quote, 1));
}

void append_sequence(Text& out, const Sequence& sequence, Budget& budget) {
  const bool is_tuple = sequence.type == Sequence::Type::tuple;
  budget.append(out, is_tuple ? "(" : "[");
  for (size_t i = 0; i < sequence.items.size(); ++i) {
    if (i > 0) budget.append(out, ", ");
    append_repr(out, sequence.items[i], budget);
  }
  budget.append(out, !is_tuple ? "]" : sequence.items.size() == 1 ? ",)" : ")");
}

void append_dict(Text& out, const Dict& dict, Budget& budget) {
  budget.append(out, "{");
  bool first = true;
  for (const auto& [key, value] : dict.entries) {
    if (!first) budget.append(out, ", ");
    first = false;
    append_repr(out, key, budget);
    budget.append(out, ": ");
    append_repr(out, value, budget);
  }
  budget.append(out, "}");
}

class JsonWriter {
 public:
  JsonWriter(Text& out, const JsonStyle& style, Budget& budget) : out_(out), style_(style), budget_(budget) {}

  void write(const Value& value, int64_t level) {
    switch (value.kind()) {
      case Kind::none:
        return budget_.append(out_, "null");
      case Kind::boolean:
        return budget_.append(out_, value.boolean() ? "true" : "false");
      case Kind::integer:
        return budget_.append(out_, fmt::format("{}", value.integer()));
      case Kind::real:
        if (!std::isfinite(value.real())) {
          return budget_.append(out_, std::isnan(value.real()) ? "NaN" : value.real() < 0 ? "-Infinity" : "Infinity");
        }
        return budget_.append(out_, real_text(value.real()));
      case Kind::text:
        return write_text(value.text());
      case Kind::sequence:
        if (value.sequence().type != Sequence::Type::generator) return write_sequence(value.sequence(), level);
        break;
      case Kind::dict:
        return write_dict(value.dict(), level);
      default:
        break;
    }
    fail("Object of type {} is not JSON serializable", type_name(value));
  }

 private:
  void write_text(const Text& text) {
    const std::string& bytes = text.bytes();
    budget_.append(out_, "\"");
    size_t begin = 0;  // bytes from here on are copied as they are
    for (size_t offset = 0; offset < bytes.size();) {
      const size_t step = utf8_step(bytes[offset]);
      const std::string escaped = escape(utf8_decode(bytes, offset, static_cast<int>(step)));
      if (!escaped.empty()) {
        budget_.append_slice(out_, text, begin, offset);
        budget_.append(out_, Text(escaped, text.is_user(offset)));
        begin = offset + step;
      }
      offset += step;
    }
    budget_.append_slice(out_, text, begin, bytes.size());
    budget_.append(out_, "\"");
  }

  std::string escape(uint32_t c) const {
    switch (c) {
      case '"':
        return "\\\"";
      case '\\':
        return "\\\\";
      case '\n':
        return "\\n";
      case '\r':
        return "\\r";
      case '\t':
        return "\\t";
      case '\f':
        return "\\f";
      case '\b':
        return "\\b";
      default:
        break;
    }
    if (c < 0x20) return fmt::format("\\u{:04x}", c);
    if (c < 0x7F || !style_.ensure_ascii) return {};
    if (c < 0x10000) return fmt::format("\\u{:04x}", c);
    return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + ((c - 0x10000) & 0x3FF));
  }

  void line(int64_t level) {
    if (style_.indent < 0) return;
    budget_.append(out_, "\n");
    budget_.append(out_, std::string(static_cast<size_t>(style_.indent * level), ' '));
  }

  void write_sequence(const Sequence& sequence, int64_t level) {
    budget_.append(out_, "[");
    for (size_t i = 0; i < sequence.items.size(); ++i) {
      if (i > 0) budget_.append(out_, style_.item_separator);
      line(level + 1);
      write(sequence.items[i], level + 1);
    }
    if (!sequence.items.empty()) line(level);
    budget_.append(out_, "]");
  }

  void write_dict(const Dict& dict, int64_t level) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto* a, const auto* b) { return less(a->first, b->first, budget_); });
    }
    budget_.append(out_, "{");
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) budget_.append(out_, style_.item_separator);
      line(level + 1);
      if (entries[i]->first.is(Kind::text)) {
        write_text(entries[i]->first.text());
      } else {
        budget_.append(out_, "\"");
        write(entries[i]->first, 0);
        budget_.append(out_, "\"");
      }
      budget_.append(out_, style_.key_separator);
      write(entries[i]->second, level + 1);
    }
    if (!entries.empty()) line(level);
    budget_.append(out_, "}");
  }

  Text& out_;
  const JsonStyle& style_;
  Budget& budget_;
};

}  // namespace

void append_repr(Text& out, const Value& value, Budget& budget) {
  budget.spend();
  switch (value.kind()) {
    case Kind::undefined:
      return budget.append(out, "Undefined");
    case Kind::none:
      return budget.append(out, "None");
    case Kind::boolean:
      return budget.append(out, value.boolean() ? "True" : "False");
    case Kind::integer:
      return budget.append(out, fmt::format("{}", value.integer()));
    case Kind::real:
      return budget.append(out, real_text(value.real()));
    case Kind::text:
      return append_quoted(out, value.text(), budget);
    case Kind::sequence:
      return append_sequence(out, value.sequence(), budget);
    case Kind::dict:
      return append_dict(out, value.dict(), budget);
    default:
      return budget.append(out, fmt::format("<{}>", type_name(value)));
  }
}

void append_text(Text& out, const Value& value, Budget& budget) {
  if (value.is(Kind::text)) return budget.append(out, value.text());
  if (!value.is(Kind::undefined)) append_repr(out, value, budget);
}

Text to_text(const Value& value, Budget& budget) {
  Text result;
  append_text(result, value, budget);
  return result;
}

Text to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  if (style.indent > 64) fail("tojson indents by at most 64 spaces");
  Text result;
  JsonWriter(result, style, budget).write(value, 0);
  return result;
}

}  // namespace moxie::jinja
