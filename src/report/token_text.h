// Token bytes made fit to be seen: valid UTF-8, nothing that moves a cursor or turns the reading direction. Not
// escaping for HTML or JSON (the writers do that).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace moxie {

/// One token on its own: newline "↵", tab "⇥", other control characters as their pictures (U+2400 on), invisible and
/// direction-changing characters and bytes that are no UTF-8 as hex in brackets: "⟨e2⟩". Linear.
std::string visible_text(std::string_view bytes);

/// The tokens of a text in order. A character cut by token edges stands on the token that completes it; the pieces
/// before it show "◦". All else as visible_text. Linear.
std::vector<std::string> visible_tokens(const std::vector<std::string>& tokens);

/// Columns of a visible text on a terminal; a code point that the C locale data calls wide counts 2, a combining mark
/// 0.
int display_width(std::string_view visible);

}  // namespace moxie
