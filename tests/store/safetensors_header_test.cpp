// The safetensors header: what must load, and every malformed header by file, field and byte offset.
#include <gtest/gtest.h>

#include <chrono>

#include "store/safetensors.h"
#include "store_test_util.h"

namespace moxie {
namespace {

std::string refusal(const std::string& file) {
  return refusal_of([&] { parse_safetensors_header(file, "t.safetensors"); });
}

/// A header with one tensor "x" of the given fields.
std::string one(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return fmt::format(R"({{"x":{{"dtype":{},"shape":{},"data_offsets":{}}}}})", dtype, shape, offsets);
}

constexpr std::string_view kByte = R"("dtype":"U8","shape":[1])";

/// A header with one-byte tensors a, b, ... at the given ranges.
std::string bytes_at(std::initializer_list<std::string_view> ranges) {
  std::string header = "{";
  char name = 'a';
  for (const std::string_view range : ranges) {
    header += fmt::format(R"({}"{}":{{{},"data_offsets":{}}})", header.size() > 1 ? "," : "", name++, kByte, range);
  }
  return header + "}";
}

// ---- what must load ----

TEST(SafetensorsHeader, reads_tensors_in_name_order_with_their_ranges) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("a":{"data_offsets":[24,28],"shape":[2],"dtype":"BF16"}}   )";
  const SafetensorsHeader parsed = parse_safetensors_header(file_of(header, 28), "t");
  ASSERT_EQ(parsed.tensors.size(), 2u);
  EXPECT_EQ(parsed.metadata.at("format"), "pt");
  EXPECT_EQ(parsed.data_begin, static_cast<int64_t>(8 + header.size()));
  EXPECT_EQ(parsed.tensors[0].name, "a");
  EXPECT_EQ(parsed.tensors[0].format, FormatId::bf16);
  EXPECT_EQ(parsed.tensors[0].begin, 24);
  EXPECT_EQ(parsed.tensors[1].name, "b");
  EXPECT_EQ(parsed.tensors[1].shape, (Shape{2, 3}));
  EXPECT_EQ(parsed.tensors[1].end, 24);
}

TEST(SafetensorsHeader, accepts_an_empty_object) {
  EXPECT_TRUE(parse_safetensors_header(file_of("{}"), "t").tensors.empty());
}

TEST(SafetensorsHeader, accepts_rank_zero_and_zero_size) {  // S35
  const SafetensorsHeader parsed = parse_safetensors_header(
      file_of(
          R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"z":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]},)"
          R"("y":{"dtype":"F32","shape":[3,0],"data_offsets":[4,4]}})",
          4),
      "t");
  EXPECT_EQ(parsed.tensors[0].shape.rank(), 0);
  EXPECT_EQ(parsed.tensors[0].end, 4);
  EXPECT_EQ(parsed.tensors[1].shape, (Shape{3, 0}));
  EXPECT_EQ(parsed.tensors[2].begin, 0);
}

TEST(SafetensorsHeader, accepts_every_dtype_of_the_format) {
  const std::pair<std::string_view, int> bytes_of_eight[] = {
      {"F64", 64},    {"F32", 32},    {"F16", 16},        {"BF16", 16},      {"I64", 64}, {"U64", 64},
      {"I32", 32},    {"U32", 32},    {"I16", 16},        {"U16", 16},       {"I8", 8},   {"U8", 8},
      {"BOOL", 8},    {"F8_E4M3", 8}, {"F8_E5M2", 8},     {"F8_E8M0", 8},    {"C64", 64}, {"F4", 4},
      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}};
  for (const auto& [dtype, bytes] : bytes_of_eight) {
    const std::string header = one(fmt::format("\"{}\"", dtype), "[8]", fmt::format("[0,{}]", bytes));
    EXPECT_EQ(refusal(file_of(header, static_cast<size_t>(bytes))), "accepted") << dtype;
  }
}

// ---- the length and the frame (S1-S12) ----

TEST(SafetensorsHeader, refuses_a_file_shorter_than_the_length_field) {  // S1, S2
  EXPECT_TRUE(says(refusal(""), {"t.safetensors: header length at byte 0", "a file of 0"}));
  EXPECT_TRUE(says(refusal("1234567"), {"t.safetensors: header length at byte 0", "a file of 7"}));
}

TEST(SafetensorsHeader, refuses_a_length_of_zero) {  // S3
  EXPECT_TRUE(says(refusal(std::string(8, '\0')), {"header length at byte 0", "at least 2", "got 0"}));
}

TEST(SafetensorsHeader, refuses_lengths_above_the_limit_or_the_file) {  // S4-S7
  EXPECT_TRUE(says(refusal(std::string(8, '\xff')), {"header length at byte 0", "100000000", "18446744073709551615"}));
  std::string one_past = file_of("{}");
  one_past[0] = 3;
  EXPECT_TRUE(says(refusal(one_past), {"header length at byte 0", "at most 2", "ends at byte 10", "got 3"}));
  const std::string over_limit("\x01\xe1\xf5\x05\0\0\0\0{}", 10);
  EXPECT_TRUE(says(refusal(over_limit), {"header length at byte 0", "at most 100000000", "100000001"}));
  const std::string cut = file_of(one("\"U8\"", "[1]", "[0,1]"), 1).substr(0, 30);
  EXPECT_TRUE(says(refusal(cut), {"header length at byte 0", "the file ends at byte 30", "cut short"}));
}

TEST(SafetensorsHeader, refuses_a_header_that_does_not_begin_with_a_brace) {  // S8
  EXPECT_TRUE(says(refusal(file_of(" {}")), {"header at byte 8", "'{'", "0x20"}));
  EXPECT_TRUE(says(refusal(file_of("\xef\xbb\xbf{}")), {"header at byte 8", "'{'", "0xef"}));
  EXPECT_TRUE(says(refusal(file_of("[]")), {"header at byte 8", "0x5b"}));
}

TEST(SafetensorsHeader, refuses_text_that_is_not_utf8) {  // S9
  for (const char* bad : {"\xff", "\xc0\xaf", "\xed\xa0\x80"}) {
    const std::string header = fmt::format(R"({{"__metadata__":{{"k":"{}"}}}})", bad);
    EXPECT_TRUE(says(refusal(file_of(header)), {"t.safetensors: header: byte 30", "UTF-8"})) << bad[0];
  }
}

TEST(SafetensorsHeader, refuses_json_that_is_cut) {  // S10
  EXPECT_TRUE(says(refusal(file_of(R"({"x":{"dtype":"U8","shape":[)")), {"t.safetensors: header: byte", "valid JSON"}));
  EXPECT_TRUE(says(refusal(file_of(R"({"x)")), {"t.safetensors: header: byte"}));
}

TEST(SafetensorsHeader, refuses_anything_but_spaces_after_the_object) {  // S11
  EXPECT_EQ(refusal(file_of("{}     ")), "accepted");
  for (const auto& [tail, name] : {std::pair<std::string, const char*>{"\t", "0x09"},
                                   {std::string(1, '\0'), "0x00"},
                                   {"{}", "0x7b"},
                                   {"\x80", "0x80"},
                                   {"\n", "0x0a"}}) {
    EXPECT_TRUE(says(refusal(file_of("{}  " + tail)), {"header at byte 12", "spaces", name}));
  }
}

TEST(SafetensorsHeader, refuses_deep_nesting_without_overflowing_the_stack) {  // S12
  const std::string deep = R"({"x":)" + std::string(100'000, '[') + std::string(100'000, ']') + "}";
  EXPECT_TRUE(says(refusal(file_of(deep)), {"t.safetensors: header: byte", "levels of nesting"}));
  const std::string open = "{" + std::string(100'000, '[');
  EXPECT_TRUE(says(refusal(file_of(open)), {"t.safetensors: header: byte"}));
}

// ---- many tensors, and headers parsed in pieces (S13) ----

std::string many(int count) {
  std::string header = "{";
  for (int i = 0; i < count; ++i) {
    header += fmt::format(R"({}"{}":{{{},"data_offsets":[{},{}]}})", i > 0 ? "," : "", i, kByte, i, i + 1);
  }
  return header + "}";
}

TEST(SafetensorsHeader, half_a_million_tensors_load_in_linear_time) {  // S13
  const auto seconds = [](int count) {
    const std::string file = file_of(many(count), static_cast<size_t>(count));
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(parse_safetensors_header(file, "t").tensors.size(), static_cast<size_t>(count));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const double small = seconds(50'000);
  EXPECT_LT(seconds(500'000), 30 * small + 0.5);  // 10x the tensors: quadratic would be 100x
}

TEST(SafetensorsHeader, offsets_and_faults_are_the_same_in_every_piece_of_a_long_header) {
  constexpr int kCount = 30'000;  // some two pieces
  const std::string good = many(kCount);
  ASSERT_GT(good.size(), size_t{1} << 20);
  const auto with = [&](std::string_view from, std::string_view to) {
    std::string header = good;
    header.replace(header.find(from), from.size(), to);
    return header;
  };
  const std::string bad_dtype = with(R"("29999":{"dtype":"U8")", R"("29999":{"dtype":"Q8")");
  EXPECT_TRUE(says(refusal(file_of(bad_dtype, kCount)), {"tensor \"29999\" dtype", at_byte(bad_dtype, "\"Q8\"")}));
  const std::string again = with(R"("29999":)", R"("1":)");
  EXPECT_TRUE(says(refusal(file_of(again, kCount)),
                   {"tensor \"1\" at byte " + std::to_string(8 + again.rfind("\"1\":")), at_byte(again, "\"1\":")}));
  const std::string trailing = good.substr(0, good.size() - 1) + ",}";
  EXPECT_NE(refusal(file_of(trailing, kCount)), "accepted");
  // A comma that ends the text right where one piece ends and the next begins.
  const size_t cut = good.find(",\"", (size_t{1} << 20) + 100);
  EXPECT_NE(refusal(file_of(good.substr(0, cut) + ",}", kCount)), "accepted");
  EXPECT_NE(refusal(file_of(good.substr(0, cut) + "," + good.substr(cut), kCount)), "accepted");
  EXPECT_NE(refusal(file_of(good.substr(0, cut) + "]" + good.substr(cut + 1), kCount)), "accepted");
}

// ---- keys (S14-S19) ----

TEST(SafetensorsHeader, refuses_a_name_twice_and_says_where_both_stand) {  // S14
  const std::string header = R"({"xy":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("xy":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})";
  const std::string text = refusal(file_of(header, 2));
  EXPECT_TRUE(says(text, {"t.safetensors: header: byte 62", "xy", "first at byte 9"}));
}

TEST(SafetensorsHeader, refuses_a_field_twice) {  // S15
  const std::string header = R"({"x":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  EXPECT_TRUE(says(refusal(file_of(header, 1)), {"header: byte 27", "dtype", "first at byte 14"}));
}

TEST(SafetensorsHeader, refuses_metadata_twice) {  // S16
  EXPECT_TRUE(
      says(refusal(file_of(R"({"__metadata__":{},"__metadata__":{}})")), {"byte 27", "__metadata__", "byte 9"}));
}

TEST(SafetensorsHeader, refuses_metadata_that_is_not_strings) {  // S17
  for (const std::string_view value : {"1", "{}", "null", "[]", "true"}) {
    const std::string header = fmt::format(R"({{"__metadata__":{{"k":{}}}}})", value);
    EXPECT_TRUE(says(refusal(file_of(header)), {"t.safetensors: __metadata__ \"k\" at byte 29", "a string"}));
  }
  EXPECT_TRUE(says(refusal(file_of(R"({"__metadata__":3})")), {"__metadata__ at byte 24", "an object"}));
}

TEST(SafetensorsHeader, refuses_an_unknown_field) {  // S18
  const std::string header = R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"crc":1}})";
  EXPECT_TRUE(says(refusal(file_of(header, 1)), {"tensor \"x\"", at_byte(header, "\"crc\""), "got \"crc\""}));
}

TEST(SafetensorsHeader, refuses_a_missing_field) {  // S19
  const std::pair<const char*, const char*> cases[] = {{"dtype", R"({"x":{"shape":[1],"data_offsets":[0,1]}})"},
                                                       {"shape", R"({"x":{"dtype":"U8","data_offsets":[0,1]}})"},
                                                       {"data_offsets", R"({"x":{"dtype":"U8","shape":[1]}})"}};
  for (const auto& [field, header] : cases) {
    EXPECT_TRUE(says(refusal(file_of(header, 1)), {"tensor \"x\" at byte 13", "expected " + std::string(field)}));
  }
  EXPECT_TRUE(says(refusal(file_of(R"({"x":7})")), {"tensor \"x\" at byte 13", "an object"}));
}

// ---- dtype and shape (S20-S24) ----

TEST(SafetensorsHeader, refuses_an_unknown_dtype) {  // S20
  for (const std::string_view dtype : {"\"F12\"", "\"f32\"", "\"\"", "32", "null"}) {
    EXPECT_TRUE(says(refusal(file_of(one(dtype, "[1]", "[0,4]"), 4)), {"tensor \"x\" dtype at byte 22"})) << dtype;
  }
}

TEST(SafetensorsHeader, refuses_dimensions_that_are_no_sizes) {  // S21
  for (const std::string_view dim :
       {"-1", "1.5", "1e3", "\"4\"", "9223372036854775808", "18446744073709551616", "null"}) {
    const std::string header = one("\"U8\"", fmt::format("[2,{}]", dim), "[0,4]");
    EXPECT_TRUE(says(refusal(file_of(header, 4)), {"tensor \"x\" shape at byte"})) << dim;
  }
  const std::string negative = one("\"U8\"", "[2,-1]", "[0,4]");
  EXPECT_TRUE(says(refusal(file_of(negative, 4)), {at_byte(negative, "-1"), "got -1"}));
  EXPECT_TRUE(says(refusal(file_of(one("\"U8\"", "4", "[0,4]"), 4)), {"tensor \"x\" shape at byte", "an array"}));
}

TEST(SafetensorsHeader, refuses_products_that_wrap) {  // S22, S23
  for (const auto& [dtype, shape] : {std::pair<std::string_view, std::string_view>{"\"U8\"", "[4294967296,4294967296]"},
                                     {"\"U8\"", "[4294967296,4294967296,4294967296]"},
                                     {"\"F64\"", "[4611686018427387904]"},
                                     {"\"F32\"", "[3,6148914691236517206]"},
                                     {"\"F32\"", "[0,9223372036854775807,9223372036854775807]"},
                                     {"\"F64\"", "[0,9223372036854775807]"}}) {
    const std::string header = one(dtype, shape, "[0,0]");
    EXPECT_TRUE(says(refusal(file_of(header)), {"tensor \"x\" shape", at_byte(header, shape), "2^63"})) << shape;
  }
}

TEST(SafetensorsHeader, refuses_more_dimensions_than_eight) {  // S24
  std::string shape = "[1";
  for (int i = 1; i < 10'000; ++i) shape += ",1";
  EXPECT_TRUE(says(refusal(file_of(one("\"U8\"", shape + "]", "[0,1]"), 1)),
                   {"tensor \"x\" shape at byte 35", "at most 8 dimensions", "10000"}));
  EXPECT_EQ(refusal(file_of(one("\"U8\"", "[1,1,1,1,1,1,1,1]", "[0,1]"), 1)), "accepted");
}

// ---- ranges (S25-S34) ----

TEST(SafetensorsHeader, refuses_a_range_that_ends_before_it_begins) {  // S25
  EXPECT_TRUE(says(refusal(file_of(one("\"U8\"", "[1]", "[2,1]"), 4)), {"data_offsets at byte 54", "begin <= end"}));
}

TEST(SafetensorsHeader, refuses_a_range_past_the_data) {  // S26
  const std::string header = one("\"U8\"", "[5]", "[0,5]");
  EXPECT_TRUE(says(refusal(file_of(header, 4)), {"tensor \"x\" data_offsets", at_byte(header, "5]}"), "at most 4"}));
}

TEST(SafetensorsHeader, refuses_overlaps_holes_and_aliases) {  // S27-S31
  const std::string overlap = R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                              R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})";
  EXPECT_TRUE(says(refusal(file_of(overlap, 3)),
                   {"tensor \"b\" data_offsets", at_byte(overlap, "[1,3]"), "begin at 2", "tensor \"a\"", "overlap"}));
  const std::string hole = bytes_at({"[0,1]", "[2,3]"});
  EXPECT_TRUE(says(refusal(file_of(hole, 3)), {"tensor \"b\"", at_byte(hole, "[2,3]"), "begin at 1", "a hole"}));
  const std::string first = bytes_at({"[1,2]"});
  EXPECT_TRUE(says(refusal(file_of(first, 2)), {at_byte(first, "[1,2]"), "start of the data", "a hole"}));
  const std::string good = bytes_at({"[0,1]"});
  EXPECT_TRUE(says(refusal(file_of(good, 2)), {"data at byte " + std::to_string(8 + good.size() + 1), "1 more bytes"}));
  EXPECT_TRUE(says(refusal(file_of("{}", 1)), {"data at byte 10", "1 more bytes"}));
  const std::string alias = bytes_at({"[0,1]", "[0,1]"});
  EXPECT_TRUE(says(refusal(file_of(alias, 1)), {"tensor \"b\"", "overlap"}));
}

TEST(SafetensorsHeader, refuses_a_range_of_another_size_than_the_shape) {  // S32
  for (const std::string_view range : {"[0,7]", "[0,9]"}) {
    const std::string header = one("\"F32\"", "[2]", range);
    EXPECT_TRUE(says(refusal(file_of(header, static_cast<size_t>(range[3] - '0'))),
                     {"tensor \"x\" data_offsets", at_byte(header, range), "8 bytes (F32 [2])"}));
  }
}

TEST(SafetensorsHeader, refuses_rows_of_broken_bytes) {  // S33
  EXPECT_TRUE(says(refusal(file_of(one("\"F4\"", "[3]", "[0,2]"), 2)), {"tensor \"x\" shape at byte 35", "F4"}));
  EXPECT_TRUE(says(refusal(file_of(one("\"F4\"", "[]", "[0,1]"), 1)), {"tensor \"x\" shape at byte 35", "F4"}));
  EXPECT_TRUE(says(refusal(file_of(one("\"F6_E2M3\"", "[2,2]", "[0,3]"), 3)), {"shape at byte 40", "F6_E2M3"}));
}

TEST(SafetensorsHeader, refuses_offsets_that_are_no_pair_of_integers) {  // S34
  for (const std::string_view range :
       {"[0,1.0]", "[0,\"1\"]", "[0,1,2]", "[-1,0]", "[0]", "[]", "{}", "[0,1e0]", "1"}) {
    EXPECT_TRUE(says(refusal(file_of(one("\"U8\"", "[1]", range), 1)), {"tensor \"x\" data_offsets at byte"})) << range;
  }
}

}  // namespace
}  // namespace moxie
