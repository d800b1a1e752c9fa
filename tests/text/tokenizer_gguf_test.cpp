// Tokenizers, chat templates and sampling defaults from GGUF metadata: small ones made here, and what is refused.
#include <gtest/gtest.h>

#include "base/error.h"
#include "text/byte_letters.h"
#include "text/chat_template.h"
#include "text/generation_config.h"
#include "text/tokenizer.h"

namespace moxie {
namespace {

// Bytes, "ab", "abc", then a control token, a user-defined one and a hole.
std::vector<std::string> small_tokens() {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(text::letters_of_bytes(std::string(1, static_cast<char>(byte))));
  }
  for (const char* token : {"ab", "abc", "<|im_end|>", "<think>", "[PAD260]"}) tokens.emplace_back(token);
  return tokens;
}

struct Small {
  std::vector<std::string> tokens = small_tokens();
  std::vector<int> types = [] {
    std::vector<int> all(258, 1);
    for (const int type : {3, 4, 5}) all.push_back(type);
    return all;
  }();
  std::vector<std::string> merges = {"a b", "ab c"};
  std::vector<std::pair<std::string, json::Value>> further;

  json::Value metadata() const {
    json::Value token_list{json::Array{}}, type_list{json::Array{}}, merge_list{json::Array{}}, out;
    for (const std::string& token : tokens) token_list.push(json::Value(token).set_offset(1000));
    for (const int type : types) type_list.push(json::Value(type).set_offset(2000));
    for (const std::string& merge : merges) merge_list.push(json::Value(merge).set_offset(3000));
    std::vector<std::pair<std::string, json::Value>> members = {{"tokenizer.ggml.model", "gpt2"},
                                                                {"tokenizer.ggml.pre", "gpt-2"},
                                                                {"tokenizer.ggml.tokens", token_list},
                                                                {"tokenizer.ggml.token_type", type_list},
                                                                {"tokenizer.ggml.merges", merge_list}};
    for (const auto& [key, value] : further) {
      std::erase_if(members, [&](const auto& member) { return member.first == key; });
      members.emplace_back(key, value);
    }
    size_t offset = 10;
    for (auto& [key, value] : members) {
      if (!value.is_null()) out.set(key, value.set_offset(offset += 10));
    }
    return out;
  }
};

std::string refusal(const Small& small) {
  try {
    Tokenizer::from_gguf(small.metadata(), "m.gguf");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid);
    return error.what();
  }
  return "";
}

void expect_refusal(const Small& small, std::initializer_list<std::string_view> parts) {
  const std::string text = refusal(small);
  for (const std::string_view part : parts) EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
}

TEST(TokenizerGguf, byte_level_tokens_merge_and_decode) {
  const Tokenizer tokenizer = Tokenizer::from_gguf(Small().metadata(), "m.gguf");
  EXPECT_EQ(tokenizer.encode("abcab"), (std::vector<int32_t>{257, 256}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("d\xc3\xa9j\xc3\xa0 vu\n")), "d\xc3\xa9j\xc3\xa0 vu\n");
  EXPECT_EQ(tokenizer.find("abc"), 257);
  EXPECT_EQ(tokenizer.vocab_size(), 260);  // the hole at the end is no token
}

TEST(TokenizerGguf, control_tokens_are_special_and_user_defined_ones_are_not) {
  const Tokenizer tokenizer = Tokenizer::from_gguf(Small().metadata(), "m.gguf");
  const std::vector<int32_t> ids = tokenizer.encode("ab<|im_end|><think>");
  EXPECT_EQ(ids, (std::vector<int32_t>{256, 258, 259}));
  EXPECT_TRUE(tokenizer.is_special(258));
  EXPECT_FALSE(tokenizer.is_special(259));
  const std::vector<int32_t> plain = tokenizer.encode("<|im_end|>", {.parse_special = false});
  EXPECT_EQ(std::count(plain.begin(), plain.end(), 258), 0);
}

TEST(TokenizerGguf, bos_and_eos_stand_around_a_text_where_the_file_says_so) {
  Small small;
  small.further = {{"tokenizer.ggml.bos_token_id", 256}, {"tokenizer.ggml.eos_token_id", 258}};
  EXPECT_EQ(Tokenizer::from_gguf(small.metadata(), "m").encode("abc"), (std::vector<int32_t>{257}));
  small.further.emplace_back("tokenizer.ggml.add_bos_token", true);
  small.further.emplace_back("tokenizer.ggml.add_eos_token", true);
  EXPECT_EQ(Tokenizer::from_gguf(small.metadata(), "m").encode("abc"), (std::vector<int32_t>{256, 257, 258}));
  small.further = {{"tokenizer.ggml.pre", "llama-bpe"}, {"tokenizer.ggml.bos_token_id", 256}};  // begins with BOS
  EXPECT_EQ(Tokenizer::from_gguf(small.metadata(), "m").encode("abc"), (std::vector<int32_t>{256, 257}));
}

TEST(TokenizerGguf, without_merges_ids_are_ranks) {
  Small small;
  small.further = {{"tokenizer.ggml.pre", "kimi-k2"}, {"tokenizer.ggml.merges", json::Value()}};
  EXPECT_EQ(Tokenizer::from_gguf(small.metadata(), "m").encode("abcab"), (std::vector<int32_t>{257, 256}));
}

// G27
TEST(TokenizerGguf, lists_that_do_not_fit_are_refused_by_key_and_byte) {
  Small small;
  small.types.pop_back();
  expect_refusal(small, {"m.gguf: tokenizer.ggml.token_type at byte ", "261 items", "260"});
  small = {};
  small.types[7] = 7;
  expect_refusal(small, {"tokenizer.ggml.token_type[7] at byte 2000", "0 to 6"});
  small = {};
  small.merges.emplace_back("b x");
  expect_refusal(small, {"m.gguf: byte 3000: tokenizer.ggml.merges[2]", "\"bx\""});
  small.merges.back() = "abx";
  expect_refusal(small, {"tokenizer.ggml.merges[2]", "two tokens"});
  small = {};
  small.tokens[256] = "a";
  expect_refusal(small, {"tokenizer.ggml.tokens[256] at byte 1000", "each token once"});
  small = {};
  small.further = {{"tokenizer.ggml.tokens", json::Value()}};
  expect_refusal(small, {"tokenizer.ggml.tokens", "no such key"});
  small.further = {{"tokenizer.ggml.model", "llama"}};  // which has scores
  expect_refusal(small, {"tokenizer.ggml.scores", "no such key"});
  small.further.emplace_back("tokenizer.ggml.scores", json::Value(json::Array{json::Value(1.0)}));
  expect_refusal(small, {"tokenizer.ggml.scores at byte ", "261 items", "1"});
}

TEST(TokenizerGguf, ids_that_are_no_token_are_refused) {
  for (const char* role : {"bos", "eos", "eot", "unknown", "padding"}) {
    const std::string key = std::string("tokenizer.ggml.") + role + "_token_id";
    for (const int64_t id : {int64_t{261}, int64_t{-1}, int64_t{1} << 40}) {
      Small small;
      small.further = {{key, id}};
      expect_refusal(small, {"m.gguf: " + key + " at byte ", "one of 261 tokens"});
    }
  }
  Small small;
  small.further = {{"tokenizer.ggml.add_bos_token", true}};
  expect_refusal(small, {"tokenizer.ggml.add_bos_token at byte ", "without tokenizer.ggml.bos_token_id"});
}

TEST(TokenizerGguf, other_models_and_pre_tokenizers_are_refused_by_name) {
  for (const char* model : {"bert", "t5", "rwkv"}) {
    Small small;
    small.further = {{"tokenizer.ggml.model", model}};
    expect_refusal(small, {"m.gguf: tokenizer.ggml.model at byte ", std::string("\"") + model + "\"", "gpt2"});
  }
  Small small;
  small.further = {{"tokenizer.ggml.pre", "new-one"}};
  expect_refusal(small, {"tokenizer.ggml.pre at byte ", "\"new-one\"", "llama-bpe", "qwen2"});
}

TEST(TokenizerGguf, every_pre_tokenizer_compiles_and_gives_all_bytes_back) {
  Small unknown;
  unknown.further = {{"tokenizer.ggml.pre", "?"}};
  std::string names = refusal(unknown);
  names = names.substr(names.find("one of ") + 7);
  names = names.substr(0, names.find_first_of("\n;"));
  size_t count = 0;
  for (size_t at = 0; at < names.size(); ++count) {
    const size_t end = std::min(names.find(", ", at), names.size());
    Small small;
    small.further = {{"tokenizer.ggml.pre", names.substr(at, end - at)}};
    if (refusal(small).empty()) {
      const Tokenizer tokenizer = Tokenizer::from_gguf(small.metadata(), "m");
      const std::string text = "I'll 1234  \xe6\xbc\xa2\xe5\xad\x97 caf\xc3\xa9!\r\n\n x";
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << names.substr(at, end - at);
    } else {
      EXPECT_EQ(end, names.size()) << names.substr(at, end - at);  // the tail of the message
    }
    at = end + 2;
  }
  EXPECT_GE(count, 50u);
}

TEST(GenerationConfigGguf, ends_are_those_the_file_names_and_the_known_control_tokens) {
  Small small;
  small.further = {{"tokenizer.ggml.eos_token_id", 256},
                   {"tokenizer.ggml.eot_token_id", 257},
                   {"general.sampling.temp", 0.5},
                   {"general.sampling.top_k", 20}};
  const GenerationConfig config = GenerationConfig::from_gguf(small.metadata(), "m.gguf");
  EXPECT_EQ(config.eos_token_id, (std::vector<int64_t>{256, 257, 258}));
  EXPECT_EQ(config.temperature, 0.5);
  EXPECT_EQ(config.top_k, 20);
  EXPECT_FALSE(config.top_p.has_value());
}

TEST(ChatTemplateGguf, is_read_from_the_metadata) {
  Small small;
  EXPECT_FALSE(ChatTemplate::from_gguf(small.metadata(), "m.gguf").has_value());
  small.further = {{"tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}"}};
  EXPECT_TRUE(ChatTemplate::from_gguf(small.metadata(), "m.gguf").has_value());
  small.further = {{"tokenizer.chat_template", "{% for %}"}};
  EXPECT_THROW(
      {
        try {
          ChatTemplate::from_gguf(small.metadata(), "m.gguf");
        } catch (const Error& error) {
          EXPECT_NE(std::string(error.what()).find("m.gguf: tokenizer.chat_template"), std::string::npos);
          throw;
        }
      },
      Error);
}

}  // namespace
}  // namespace moxie
