// Normal forms, and UTF-8 that is made whole however it is cut.
#include "text/unicode.h"

#include <gtest/gtest.h>

namespace moxie::text {
namespace {

std::string normal(std::string_view text, NormalForm form) {
  std::string out;
  append_normalized(out, text, form);
  EXPECT_TRUE(out == text || !is_surely_normal(text, form));
  return out;
}

TEST(Unicode, normal_forms_are_those_of_the_standard) {
  EXPECT_EQ(normal("e\u0301 \u212b \u2126 \ufb01", NormalForm::nfc), "\u00e9 \u00c5 \u03a9 \ufb01");
  EXPECT_EQ(normal("\u00e9 \ufb01", NormalForm::nfd), "e\u0301 \ufb01");
  EXPECT_EQ(normal("\ufb01 \uff21 \u00bd \u3250", NormalForm::nfkc), "fi A 1\u20442 PTE");
  EXPECT_EQ(normal("\u1e9b\u0323", NormalForm::nfkd), "s\u0323\u0307");
  EXPECT_EQ(normal("\u1100\u1161\u11a8", NormalForm::nfc), "\uac01");
  EXPECT_EQ(normal("\uac01", NormalForm::nfd), "\u1100\u1161\u11a8");
  EXPECT_EQ(normal("a\u0301\u0323", NormalForm::nfc), "\u1ea1\u0301");  // marks are put in order first
  EXPECT_EQ(normal("\u0958", NormalForm::nfc), "\u0915\u093c");         // excluded from composition
  EXPECT_EQ(normal("a\r\nb\tc", NormalForm::nfkc), "a\r\nb\tc");
}

TEST(Unicode, sorts_a_megabyte_of_marks_in_good_time) {
  std::string marks = "a";
  for (int i = 0; i < 250000; ++i) marks += "\u0301\u0323";
  const std::string sorted = normal(marks, NormalForm::nfd);
  EXPECT_EQ(sorted.size(), marks.size());
  EXPECT_EQ(sorted.substr(0, 5), "a\u0323\u0323");
  EXPECT_TRUE(sorted.ends_with("\u0301\u0301"));
}

TEST(Unicode, broken_utf8_becomes_whole_however_it_is_cut) {
  const std::string bytes = "a\xf0\x9f\x99\x82\xe2\x82\xff\xed\xa0\x80z\xc3\xa9\xf4\x90\x80\xf0\x9f\x99";
  std::string whole, held;
  append_whole_utf8(whole, held, bytes);
  EXPECT_EQ(held, "\xf0\x9f\x99");
  EXPECT_EQ(first_invalid_utf8(whole), std::string::npos);
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    for (size_t next = cut; next <= bytes.size(); ++next) {
      std::string out, rest;
      append_whole_utf8(out, rest, std::string_view(bytes).substr(0, cut));
      append_whole_utf8(out, rest, std::string_view(bytes).substr(cut, next - cut));
      append_whole_utf8(out, rest, std::string_view(bytes).substr(next));
      EXPECT_EQ(out, whole) << cut << " " << next;
      EXPECT_EQ(rest, held);
    }
  }
}

TEST(Unicode, lower_case_and_white_space) {
  std::string out;
  append_lowercase(out, "ÀÉ ΑΣ \u0130 ǅ ẞ");
  EXPECT_EQ(out, "àé ασ i\u0307 ǆ ß");
  EXPECT_EQ(leading_white_space(" \t\u3000x "), 5u);
  EXPECT_EQ(trailing_white_space(" x\u00a0\u2028 "), 6u);
  EXPECT_FALSE(is_white_space(0x180e));
}

}  // namespace
}  // namespace moxie::text
