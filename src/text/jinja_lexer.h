// Template source to tokens, with Jinja's white space control. Knows no grammar.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace moxie::jinja {

struct Position {
  int line = 1;
  int column = 1;  // in bytes
};

enum class TokenType { data, output_begin, output_end, block_begin, block_end, name, text, integer, real, symbol, end };

/// `text`: the data, the name, the string with its escapes resolved, the digits, or the symbol.
struct Token {
  TokenType type;
  std::string text;
  Position at;

  bool is_symbol(std::string_view symbol) const { return type == TokenType::symbol && text == symbol; }
  bool is_name(std::string_view name) const { return type == TokenType::name && text == name; }
};

/// The error of a template: "NAME: line 3, column 7: ...".
Error template_error(const std::string& name, Position at, const std::string& what);

/// Splits a template as transformers sets Jinja up: trim_blocks, lstrip_blocks, one trailing newline dropped. Comments
/// are gone and raw blocks are data. The last token is `end`. Throws Error{invalid} with line and column. Linear.
std::vector<Token> tokenize(std::string_view source, const std::string& name);

}  // namespace moxie::jinja
