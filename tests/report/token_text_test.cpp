// Token bytes made visible.
#include "report/token_text.h"

#include <gtest/gtest.h>

#include "base/utf8.h"

namespace moxie {
namespace {

TEST(TokenText, shows_controls_and_broken_bytes) {
  EXPECT_EQ(visible_text("a\n\t\x1b[31m\x7f"), "a↵⇥␛[31m␡");
  EXPECT_EQ(visible_text(std::string_view("\0", 1)), "␀");
  EXPECT_EQ(visible_text("\xc3"), "⟨c3⟩");
  EXPECT_EQ(visible_text("\xed\xa0\x80"), "⟨ed⟩⟨a0⟩⟨80⟩");  // a surrogate
  EXPECT_EQ(visible_text("\u202e\u2028\ufeff"), "⟨U+202E⟩⟨U+2028⟩⟨U+FEFF⟩");
  EXPECT_EQ(visible_text("naïve 漢字 🙂"), "naïve 漢字 🙂");
}

TEST(TokenText, every_byte_string_becomes_valid_utf8_without_controls) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string shown = visible_text(std::string{static_cast<char>(a), static_cast<char>(b)});
      ASSERT_EQ(utf8_error_offset(shown), std::string::npos);
      for (const char c : shown) ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
    }
  }
}

TEST(TokenText, a_cut_character_stands_on_the_token_that_completes_it) {
  EXPECT_EQ(visible_tokens({"H\xc3", "\xa4", "u"}), (std::vector<std::string>{"H◦", "ä", "u"}));
  EXPECT_EQ(visible_tokens({"\xf0", "\x9f\x99", "", "\x82!"}), (std::vector<std::string>{"◦", "◦", "", "🙂!"}));
  EXPECT_EQ(visible_tokens({"\xc3", "x\xa4"}), (std::vector<std::string>{"⟨c3⟩", "x⟨a4⟩"}));
  EXPECT_TRUE(visible_tokens({}).empty());
}

TEST(TokenText, counts_terminal_columns) {
  EXPECT_EQ(display_width("abc"), 3);
  EXPECT_EQ(display_width("漢字"), 4);
  EXPECT_EQ(display_width("e\u0301"), 1);
}

}  // namespace
}  // namespace moxie
