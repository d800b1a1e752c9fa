// The tokenizer as a whole: bytes there and back, streaming, special tokens, model directories.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "base/error.h"
#include "base/utf8.h"
#include "text/tokenizer_data.h"

namespace moxie {
namespace {

using tokenizer_data::open;
using Ids = std::vector<int32_t>;

Tokenizer bytes_only() {
  return Tokenizer::from_json(tokenizer_data::read("../../../models/moe-7m/tokenizer.json"), "tokenizer.json");
}

std::string random_bytes(std::mt19937& random, size_t length) {
  std::string bytes;
  for (size_t i = 0; i < length; ++i)
    bytes += static_cast<char>(random() % 4 == 0 ? random() % 256 : ' ' + random() % 90);
  return bytes;
}

std::string random_text(std::mt19937& random, size_t length) {
  std::string text;
  for (size_t i = 0; i < length; ++i) {
    const uint32_t highest[] = {0x7f, 0x7ff, 0xd7ff, 0x10ffff};
    const uint32_t code_point = random() % highest[random() % 4];
    utf8_append(text, code_point >= 0xd800 && code_point < 0xe000 ? 0x20 : code_point);
  }
  return text;
}

std::string joined_bytes(const Tokenizer& tokenizer, const Ids& ids) {
  std::string bytes;
  for (const int32_t id : ids) bytes += tokenizer.token_bytes(id);
  return bytes;
}

TEST(Tokenizer, a_byte_vocabulary_maps_bytes_to_ids_and_back) {
  const Tokenizer tokenizer = bytes_only();
  EXPECT_EQ(tokenizer.vocab_size(), 256);
  std::string every_byte;
  Ids every_id;
  for (int i = 0; i < 256; ++i) every_byte += static_cast<char>(i), every_id.push_back(i);
  EXPECT_EQ(tokenizer.encode(every_byte), every_id);
  EXPECT_EQ(joined_bytes(tokenizer, every_id), every_byte);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("naïve 🙂\n")), "naïve 🙂\n");
}

TEST(Tokenizer, byte_level_tokens_join_to_any_bytes) {
  std::mt19937 random(1);
  for (const char* name : {"gpt2", "deepseek_v3", "o200k"}) {
    const Tokenizer tokenizer = open(name);
    for (size_t length = 0; length < 200; ++length) {
      const std::string bytes = random_bytes(random, length);
      EXPECT_EQ(joined_bytes(tokenizer, tokenizer.encode(bytes, {.add_special = false})), bytes);
      const std::string text = random_text(random, length);
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, {.add_special = false}), false), text);
    }
  }
}

TEST(Tokenizer, other_vocabularies_read_broken_bytes_as_replacement_characters) {
  const Tokenizer tokenizer = open("mistral_v1");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("a\xff"
                                              "b\xe2\x82")),
            "a\xef\xbf\xbd"
            "b\xef\xbf\xbd");
}

TEST(StreamDecoder, pieces_are_whole_and_join_to_the_decoded_text) {
  std::mt19937 random(2);
  for (const char* name : {"gpt2", "mistral_v1", "mistral_v1_json", "qwen3"}) {
    const Tokenizer tokenizer = open(name);
    for (int round = 0; round < 100; ++round) {
      Ids ids = tokenizer.encode(random_text(random, 20));
      for (int i = 0; i < 20; ++i)
        ids.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(tokenizer.vocab_size() + 9)));
      for (int i = 0; i < 20; ++i) ids.push_back(static_cast<int32_t>(random() % 259));  // bytes, mostly
      for (const bool skip_special : {true, false}) {
        StreamDecoder decoder(tokenizer, skip_special);
        std::string text;
        for (const int32_t id : ids) {
          const std::string piece = decoder.push(id);
          EXPECT_EQ(utf8_error_offset(piece), std::string::npos);
          text += piece;
        }
        EXPECT_EQ(text + decoder.finish(), tokenizer.decode(ids, skip_special));
        std::string again = decoder.push(ids[0]);  // after finish() the decoder is as new
        again += decoder.finish();
        EXPECT_EQ(again, tokenizer.decode({ids.data(), 1}, skip_special));
      }
    }
  }
}

TEST(StreamDecoder, holds_back_what_may_become_a_character) {
  const Tokenizer tokenizer = bytes_only();
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.push(0xf0), "");
  EXPECT_EQ(decoder.push(0x9f), "");
  EXPECT_EQ(decoder.push(0x99), "");
  EXPECT_EQ(decoder.push(0x82), "🙂");
  EXPECT_EQ(decoder.push(0xe2), "");
  EXPECT_EQ(decoder.push('a'),
            "\xef\xbf\xbd"
            "a");  // it did not
  EXPECT_EQ(decoder.push(0xff), "\xef\xbf\xbd");
  EXPECT_EQ(decoder.push(0xe2), "");
  EXPECT_EQ(decoder.push(0x82), "");
  EXPECT_EQ(decoder.finish(), "\xef\xbf\xbd");
}

TEST(Tokenizer, decodes_broken_sequences_as_unicode_recommends) {
  const Tokenizer tokenizer = bytes_only();
  const auto decoded = [&](std::string_view bytes) { return tokenizer.decode(tokenizer.encode(bytes)); };
  const std::string bad = "\xef\xbf\xbd";
  // Table 3-11 of the Unicode standard: one replacement for each maximal subpart.
  EXPECT_EQ(decoded("\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64"),
            "a" + bad + bad + bad + "b" + bad + "c" + bad + bad + "d");
  EXPECT_EQ(decoded("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41"), bad + bad + bad + bad + bad + bad + bad + bad + "A");
  EXPECT_EQ(decoded("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41"), bad + bad + bad + bad + bad + bad + bad + bad + "A");
  EXPECT_EQ(decoded("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42"), bad + bad + bad + bad + bad + "A" + bad + bad + "B");
}

TEST(Tokenizer, finds_tokens_as_their_file_writes_them) {
  const Tokenizer qwen = open("qwen3");
  EXPECT_EQ(qwen.find("<|im_end|>"), 151645);
  EXPECT_EQ(qwen.token_bytes(*qwen.find("Ġthe")), " the");
  EXPECT_EQ(qwen.find("no such token"), std::nullopt);
  EXPECT_TRUE(qwen.is_special(151645));
  EXPECT_FALSE(qwen.is_special(0));
  EXPECT_EQ(qwen.token_bytes(151900), "");  // a padding row of the model
  EXPECT_EQ(qwen.decode(Ids{151900, -1, 151645}), "");
  EXPECT_EQ(qwen.decode(Ids{151645}, false), "<|im_end|>");
}

// A model directory under the test's temporary path.
class ModelDirectory : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "moxie_tokenizer_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(path_);
  }
  void TearDown() override { std::filesystem::remove_all(path_); }
  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }
  std::string refusal() {
    try {
      Tokenizer::load(path_);
    } catch (const Error& error) {
      return error.text();
    }
    return "accepted";
  }
  std::filesystem::path path_;
};

TEST_F(ModelDirectory, without_a_tokenizer_is_refused) {
  EXPECT_NE(refusal().find("tokenizer.json or tokenizer.model"), std::string::npos);
}

TEST_F(ModelDirectory, config_decides_bos_eos_and_more_tokens) {
  write("tokenizer.model", tokenizer_data::read("mistral_v1/tokenizer.model.gz"));
  EXPECT_EQ(Tokenizer::load(path_).encode("a"), (Ids{1, 264}));
  write("tokenizer_config.json",
        R"({"add_bos_token": false, "add_eos_token": true, "bos_token": {"content": "<s>"}, "eos_token": "</s>",
    "added_tokens_decoder": {"1": {"content": "<s>", "special": true}, "32000": {"content": "<|im_end|>", "special": true}}})");
  const Tokenizer tokenizer = Tokenizer::load(path_);
  EXPECT_EQ(tokenizer.encode("a"), (Ids{264, 2}));
  EXPECT_EQ(tokenizer.encode("<|im_end|>", {.add_special = false}), (Ids{32000}));
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.vocab_size(), 32001);
  write("tokenizer_config.json", R"({"bos_token": "<none>"})");
  EXPECT_NE(refusal().find("bos_token"), std::string::npos);
  write("tokenizer_config.json", R"({"added_tokens_decoder": {"5": {"content": "<other>"}}})");
  EXPECT_NE(refusal().find("added_tokens_decoder"), std::string::npos);
  write("tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "<other>"}}})");
  EXPECT_NE(refusal().find("token id"), std::string::npos);
}

TEST_F(ModelDirectory, tokenizer_json_goes_before_tokenizer_model) {
  write("tokenizer.json", tokenizer_data::read("../../../models/moe-7m/tokenizer.json"));
  write("tokenizer.model", "not read");
  EXPECT_EQ(Tokenizer::load(path_).vocab_size(), 256);
}

TEST(Tiktoken, refuses_malformed_rank_files) {
  const auto refusal = [](std::string_view ranks) -> std::string {
    try {
      Tokenizer::from_tiktoken(ranks, "a+", {}, "t.tiktoken");
    } catch (const Error& error) {
      return error.text();
    }
    return "accepted";
  };
  EXPECT_EQ(refusal("YQ== 0\nYg== 1\n"), "accepted");
  for (const char* ranks : {"YQ==\n", "YQ 0\n", "Y*== 0\n", "YQ== x\n", "YQ== -1\n", "YQ== 99999999999\n",
                            "YQ== 0\nYQ== 1\n", "YQ== 0\nYg== 0\n"}) {
    EXPECT_NE(refusal(ranks).find("t.tiktoken: line "), std::string::npos) << ranks;
  }
}

}  // namespace
}  // namespace moxie
