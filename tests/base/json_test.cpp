// JSON: the tree, its offsets, and what the parser refuses.
#include "base/json.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace moxie {
namespace {

std::string refusal(std::string_view text, int max_depth = 64) {
  try {
    json::parse(text, {.source = "t.json", .max_depth = max_depth});
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid);
    return error.text();
  }
  return "accepted";
}

TEST(Json, keeps_values_and_their_offsets) {
  const json::Value root = json::parse(R"({"a": [1, -2, 3.5, 18446744073709551615], "b": {"c": "x\u00e9\n"}})", {});
  const json::Value& a = *root.find("a");
  EXPECT_EQ(a.offset(), 6u);
  EXPECT_EQ(a.items()[0].as_int(), 1);
  EXPECT_EQ(a.items()[1].as_int(), -2);
  EXPECT_EQ(a.items()[1].as_uint(), std::nullopt);
  EXPECT_EQ(a.items()[2].type(), json::Type::number);
  EXPECT_EQ(a.items()[2].as_double(), 3.5);
  EXPECT_EQ(a.items()[3].as_uint(), UINT64_MAX);
  EXPECT_EQ(a.items()[3].as_int(), std::nullopt);
  EXPECT_EQ(root.find("b")->find("c")->as_string(), "x\xc3\xa9\n");
  EXPECT_EQ(root.members()[1].key_offset, 42u);
  EXPECT_EQ(root.find("none"), nullptr);
}

TEST(Json, an_exponent_is_not_an_integer) {
  const json::Value root = json::parse("[1e3, 1.0, 2]", {});
  EXPECT_FALSE(root.items()[0].is_integer());
  EXPECT_FALSE(root.items()[1].is_integer());
  EXPECT_TRUE(root.items()[2].is_integer());
}

TEST(Json, duplicate_keys_are_named_with_both_offsets) {
  const std::string text = refusal(R"({"a": 1, "b": 2, "a": 3})");
  EXPECT_NE(text.find("byte 17"), std::string::npos) << text;
  EXPECT_NE(text.find("first at byte 1"), std::string::npos) << text;
}

TEST(Json, refuses_what_is_not_json) {
  for (const char* bad : {"",           " ",       "1",          "\"x\"",          "{",
                          "[1,",        "{\"a\"}", "{\"a\":1}x", "{} {}",          "[NaN]",
                          "[01]",       "[nul]",   "[1 2]",      "{\"a\":1,}",     "[\"\\ud800\"]",
                          "[\"a\nb\"]", "[tru]",   "[-]",        "\xef\xbb\xbf{}", "[1.]"}) {
    EXPECT_NE(refusal(bad).find("t.json: byte "), std::string::npos) << bad << " -> " << refusal(bad);
  }
}

TEST(Json, names_the_byte_of_invalid_utf8) {
  EXPECT_NE(refusal("{\"a\": \"\xff\"}").find("byte 7"), std::string::npos);
  EXPECT_NE(refusal("{\"a\": \"\xc0\x80\"}").find("byte 7"), std::string::npos);
  EXPECT_NE(refusal("{\"a\": \"\xed\xa0\x80\"}").find("byte 7"), std::string::npos);
}

TEST(Json, depth_is_limited_without_recursion_running_away) {
  EXPECT_NE(refusal(std::string(100000, '[')).find("levels"), std::string::npos) << refusal(std::string(100000, '['));
  EXPECT_EQ(refusal(std::string(64, '[') + std::string(64, ']')), "accepted");
}

TEST(Json, writes_utf8_whatever_bytes_a_string_holds) {
  EXPECT_EQ(json::quote("\xff"
                        "a\xc3\xa9\xe2\x82"),
            "\"\xef\xbf\xbd"
            "a\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\"");
}

TEST(Json, dump_and_parse_are_inverse) {
  const std::string text = R"({"a": [1, -2, 3.5, true, null], "b": {"c": "x\n\"é"}})";
  EXPECT_EQ(json::parse(text, {}).dump(), text);
  EXPECT_EQ(json::parse(json::parse(text, {}).dump(2), {}).dump(), text);
}

}  // namespace
}  // namespace moxie
