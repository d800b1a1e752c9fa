// tokenizer.model: what is read from the protobuf, and what is refused.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/error.h"
#include "text/tokenizer.h"
#include "text/tokenizer_data.h"

namespace moxie {
namespace {

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}

std::string number(int field, uint64_t value) {
  return varint(static_cast<uint64_t>(field) << 3) + varint(value);
}

std::string bytes(int field, const std::string& payload) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(payload.size()) + payload;
}

std::string real(int field, float value) {
  std::string result = varint(static_cast<uint64_t>(field) << 3 | 5);
  for (int i = 0; i < 4; ++i) result += static_cast<char>(std::bit_cast<uint32_t>(value) >> (8 * i) & 0xff);
  return result;
}

enum Type : uint64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

std::string piece(const std::string& text, float score, Type type = kNormal) {
  return bytes(1, bytes(1, text) + real(2, score) + number(3, type));
}

struct Spec {
  std::string pieces = piece("<unk>", 0, kUnknown) + piece("<s>", 0, kControl) + piece("</s>", 0, kControl) +
                       piece("ab", -1) + piece("bb", -1) + piece("\xe2\x96\x81", -5) + piece("a", -6) + piece("b", -7);
  int model_type = 2;
  bool dummy_prefix = false, remove_extra_spaces = false;
  std::string trainer, normalizer;  // more fields

  std::string model() const {
    return pieces + bytes(2, number(3, static_cast<uint64_t>(model_type)) + trainer) +
           bytes(3, number(3, dummy_prefix) + number(4, remove_extra_spaces) + normalizer);
  }
  Tokenizer open() const { return Tokenizer::from_sentencepiece(model(), "t.model"); }
};

std::vector<int32_t> ids(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text, {.add_special = false});
}

std::string refusal(const std::string& model) {
  try {
    Tokenizer::from_sentencepiece(model, "t.model");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid);
    EXPECT_NE(error.text().find("t.model"), std::string::npos) << error.text();
    return error.text();
  }
  return "accepted";
}

using Ids = std::vector<int32_t>;

TEST(SentencePiece, merges_the_leftmost_of_equal_scores) {
  EXPECT_EQ(ids(Spec().open(), "abb"), (Ids{3, 7}));
  EXPECT_EQ(ids(Spec().open(), "bbb"), (Ids{4, 7}));
}

TEST(SentencePiece, joins_unknown_characters) {
  EXPECT_EQ(ids(Spec().open(), "axyzb"), (Ids{6, 0, 7}));
}

TEST(SentencePiece, adds_bos_and_the_dummy_prefix) {
  const Tokenizer tokenizer = Spec{.dummy_prefix = true}.open();
  EXPECT_EQ(tokenizer.encode("ab"), (Ids{1, 5, 3}));
  EXPECT_EQ(tokenizer.encode(""), (Ids{1}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(" ab")), " ab");
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
}

TEST(SentencePiece, removes_extra_spaces_where_the_model_says_so) {
  EXPECT_EQ(ids(Spec{.remove_extra_spaces = true}.open(), "  a   b "), (Ids{6, 5, 7}));
  EXPECT_EQ(ids(Spec().open(), "a  b"), (Ids{6, 5, 5, 7}));
}

TEST(SentencePiece, keeps_user_defined_pieces_whole) {
  Spec spec;
  spec.pieces += piece("bab", 0, kUserDefined);
  EXPECT_EQ(ids(spec.open(), "abab"), (Ids{6, 8}));
}

TEST(SentencePiece, text_does_not_reach_control_pieces) {
  Spec spec;
  spec.pieces += piece("<", -8) + piece("s", -9) + piece(">", -10) + piece("<s", -2);
  EXPECT_EQ(spec.open().encode("<s>", {.add_special = false, .parse_special = false}), (Ids{11, 10}));
  EXPECT_EQ(spec.open().encode("<s>", {.add_special = false}), (Ids{1}));
}

TEST(SentencePiece, refuses_malformed_protobuf) {  // T11
  const std::string model = Spec().model();
  EXPECT_NE(refusal(""), "accepted");
  EXPECT_NE(refusal("\x0a\xff").find("byte 2"), std::string::npos);                         // a varint cut short
  EXPECT_NE(refusal("\x0a\xff\xff\xff\xff\x0f").find("length"), std::string::npos);         // a length beyond the end
  EXPECT_NE(refusal(std::string("\x0a") + std::string(11, '\xff')), "accepted");            // a varint without end
  EXPECT_NE(refusal(std::string("\x0b", 1) + model).find("wire type"), std::string::npos);  // a group
  EXPECT_NE(refusal(std::string("\x02", 1) + model).find("field number"), std::string::npos);
  EXPECT_NE(refusal(bytes(1, number(1, 5)) + model).find("wire type"), std::string::npos);  // a piece that is a number
  for (size_t length = 0; length < model.size(); ++length) refusal(model.substr(0, length));
}

TEST(SentencePiece, refuses_wrong_pieces) {  // T11
  EXPECT_NE(refusal(piece("x", NAN) + Spec().model()).find("finite"), std::string::npos);
  EXPECT_NE(refusal(piece("x", INFINITY) + Spec().model()).find("finite"), std::string::npos);
  EXPECT_NE(refusal(piece("x", 0, static_cast<Type>(9)) + Spec().model()).find("type"), std::string::npos);
  EXPECT_NE(refusal(piece("x", 0, kUnused) + Spec().model()).find("unused"), std::string::npos);
  EXPECT_NE(refusal(piece("", 0) + Spec().model()).find("1 to"), std::string::npos);
  EXPECT_NE(refusal(piece(std::string(2000, 'x'), 0) + Spec().model()).find("2000"), std::string::npos);
  EXPECT_NE(refusal(piece("\xff", 0) + Spec().model()).find("UTF-8"), std::string::npos);
  EXPECT_NE(refusal(piece("a", 0) + Spec().model()).find("\"a\" again"), std::string::npos);
}

TEST(SentencePiece, names_what_it_does_not_support) {  // T11
  EXPECT_NE(refusal(Spec{.model_type = 1}.model()).find("unigram"), std::string::npos);
  EXPECT_NE(refusal(Spec{.normalizer = bytes(2, "corrupt trie")}.model()).find("precompiled_charsmap"),
            std::string::npos);
  EXPECT_NE(refusal(Spec{.trainer = number(24, 1)}.model()).find("suffix"), std::string::npos);
}

}  // namespace
}  // namespace moxie
