#include "text/jinja_number_filters.h"

#include <charconv>
#include <cmath>

namespace moxie::jinja {
namespace {

// The digits of a text as Python's int and float read them: no white space around, no "_" between.
std::string plain_digits(const Text& text) {
  const Span kept = stripped(text.view(), std::nullopt, true, true);
  std::string_view source = text.view().substr(kept.begin, kept.end - kept.begin);
  if (source.substr(0, 1) == "+" && source.substr(0, 2) != "+-") source.remove_prefix(1);
  std::string digits;
  for (const char c : source) {
    if (c != '_') digits += c;
  }
  return digits;
}

std::optional<double> parse_real(const Text& text) {
  const std::string digits = plain_digits(text);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc::invalid_argument || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

}  // namespace

Value int_filter(const Value& value, Arguments& arguments, Interpreter&) {
  arguments.bind("int", {"default", "base"});
  refuse_undefined(value);
  const int64_t base = arguments.integer(1, 10, "int");
  if (base < 2 || base > 36) fail("int takes a base from 2 to 36");
  if (value.is_integral()) return value.integer();
  std::optional<double> real;
  if (value.is(Kind::real)) real = value.real();
  if (value.is(Kind::text)) {
    const std::string text = plain_digits(value.text());
    std::string_view digits = text;
    if (base == 16 && (digits.substr(0, 2) == "0x" || digits.substr(0, 2) == "0X")) digits.remove_prefix(2);
    int64_t integer = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), integer, static_cast<int>(base));
    if (error == std::errc() && end == digits.data() + digits.size()) return integer;
    real = parse_real(value.text());
  }
  if (!real) return arguments.find(0) != nullptr ? *arguments.find(0) : Value(int64_t{0});
  if (!(std::abs(*real) < 9.2e18)) fail("cannot convert the float {} to an int", *real);
  return static_cast<int64_t>(*real);
}

Value float_filter(const Value& value, Arguments& arguments, Interpreter&) {
  arguments.bind("float", {"default"});
  refuse_undefined(value);
  if (value.is_number()) return value.real();
  if (value.is(Kind::text)) {
    if (const auto real = parse_real(value.text())) return *real;
  }
  return arguments.find(0) != nullptr ? *arguments.find(0) : Value(0.0);
}

Value round_filter(const Value& value, Arguments& arguments, Interpreter&) {
  arguments.bind("round", {"precision", "method"});
  refuse_undefined(value);
  if (!value.is_number()) fail("round takes a number, not a '{}'", type_name(value));
  const int64_t precision = arguments.integer(0, 0, "round");
  if (precision < 0 || precision > 20) fail("round takes a precision from 0 to 20");
  const std::string_view method = arguments.find(1) != nullptr ? arguments.text(1, "round").view() : "common";
  if (method == "common") {
    if (value.is_integral()) return value.integer();
    return std::stod(fmt::format("{:.{}f}", value.real(), precision));
  }
  if (method != "ceil" && method != "floor") fail("the method of round is common, ceil or floor");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = value.real() * scale;
  return (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale;
}

Value abs_filter(const Value& value, Arguments& arguments, Interpreter&) {
  arguments.bind("abs", {});
  refuse_undefined(value);
  if (value.is(Kind::real)) return std::abs(value.real());
  if (!value.is_integral() || value.integer() == INT64_MIN) fail("abs takes a number, not a '{}'", type_name(value));
  return std::abs(value.integer());
}

}  // namespace moxie::jinja
