// The filters that make numbers: int, float, round, abs. The others are in jinja_filters.cpp.
#pragma once

#include "text/jinja_builtins.h"

namespace moxie::jinja {

/// Fails with the reason if the value is undefined.
inline void refuse_undefined(const Value& value) {
  if (value.is(Kind::undefined)) fail("{}", value.undefined_why());
}

Value int_filter(const Value& value, Arguments& arguments, Interpreter& run);
Value float_filter(const Value& value, Arguments& arguments, Interpreter& run);
Value round_filter(const Value& value, Arguments& arguments, Interpreter& run);
Value abs_filter(const Value& value, Arguments& arguments, Interpreter& run);

}  // namespace moxie::jinja
