// Ids that other implementations give: Hugging Face tokenizers, SentencePiece, tiktoken, llama.cpp.
#include <gtest/gtest.h>

#include <sstream>

#include "base/error.h"
#include "text/tokenizer.h"
#include "text/tokenizer_data.h"

namespace moxie {
namespace {

using tokenizer_data::open;

class ReferenceIds : public testing::TestWithParam<std::string> {};

TEST_P(ReferenceIds, are_equal_on_every_text_of_the_corpus) {
  const Tokenizer tokenizer = open(GetParam());
  const std::vector<std::string> texts = tokenizer_data::corpus();
  // SentencePiece itself never reads control pieces from a text; the others do.
  const EncodeOptions options{.add_special = false,
                              .parse_special = GetParam().find("mistral_v") != 0 || GetParam().ends_with("json")};
  const std::string expected_name = "expected/" + GetParam() + ".json.gz";
  const json::Value expected = json::parse(tokenizer_data::read(expected_name), {.source = expected_name});
  ASSERT_EQ(expected.items().size(), texts.size());
  ASSERT_GT(texts.size(), 500u);
  int failures = 0;
  for (size_t i = 0; i < texts.size() && failures < 5; ++i) {
    const std::vector<int32_t> ids = tokenizer.encode(texts[i], options);
    const std::vector<int32_t> want = tokenizer_data::ids_of(expected.items()[i]);
    EXPECT_EQ(ids, want) << "text " << i << ": " << printable(texts[i], 1000);
    if (ids != want) ++failures;
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, ReferenceIds,
                         testing::Values("gpt2", "olmoe", "qwen3", "deepseek_v3", "starcoder", "mistral_v1_json",
                                         "mistral_v1", "mistral_v3", "o200k"),
                         [](const auto& test) { return test.param; });

struct LlamaCppCase {
  const char* vectors;     // ggml-vocab/NAME.out
  const char* vocabulary;  // the tokenizer with the same vocabulary
};

class LlamaCppIds : public testing::TestWithParam<LlamaCppCase> {};

// Texts stand between marker lines; ids stand one line a text.
TEST_P(LlamaCppIds, are_equal) {
  const std::string texts = tokenizer_data::read("ggml-vocab/texts.inp");
  std::istringstream lines(tokenizer_data::read(std::string("ggml-vocab/") + GetParam().vectors + ".out"));
  const Tokenizer tokenizer = open(GetParam().vocabulary);
  constexpr std::string_view kMarker = "\n__ggml_vocab_test__\n";
  size_t count = 0;
  for (size_t at = 0; at <= texts.size(); ++count) {
    const size_t end = std::min(texts.find(kMarker, at), texts.size());
    const std::string text = texts.substr(at, end - at);
    at = end == texts.size() ? texts.size() + 1 : end + kMarker.size();
    std::string line;
    if (!std::getline(lines, line)) break;
    std::istringstream numbers(line);
    const std::vector<int32_t> want{std::istream_iterator<int32_t>(numbers), {}};
    EXPECT_EQ(tokenizer.encode(text, {.add_special = false, .parse_special = false}), want) << printable(text, 200);
  }
  EXPECT_GE(count, 40u);
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, LlamaCppIds,
                         testing::Values(LlamaCppCase{"gpt-2", "gpt2"}, LlamaCppCase{"starcoder", "starcoder"},
                                         LlamaCppCase{"deepseek-coder", "deepseek-coder"},
                                         LlamaCppCase{"deepseek-llm", "deepseek-llm"}, LlamaCppCase{"qwen2", "qwen3"},
                                         LlamaCppCase{"mpt", "olmoe"}, LlamaCppCase{"llama-spm", "llama-spm"},
                                         LlamaCppCase{"phi-3", "phi-3"}),
                         [](const auto& test) {
                           std::string name = test.param.vectors;
                           std::erase(name, '-');
                           return name;
                         });

// Blocks of "EncodingName: NAME", "Sample: TEXT", "Encoded: [ids]".
void check_test_plans(const Tokenizer& tokenizer, std::string_view encoding, size_t at_least) {
  const std::string plans = tokenizer_data::read("TestPlans.txt");
  const std::string head = "EncodingName: " + std::string(encoding) + "\nSample: ";
  size_t count = 0;
  for (size_t at = plans.find(head); at != std::string::npos; at = plans.find(head, at + 1), ++count) {
    const size_t begin = at + head.size();
    const size_t end = plans.find("\nEncoded: ", begin);
    const size_t list = end + 10;
    const json::Value ids =
        json::parse(plans.substr(list, plans.find(']', list) + 1 - list), {.source = "TestPlans.txt"});
    const std::string sample = plans.substr(begin, end - begin);
    EXPECT_EQ(tokenizer.encode(sample, {.add_special = false}), tokenizer_data::ids_of(ids)) << printable(sample, 200);
  }
  EXPECT_GE(count, at_least);
}

TEST(Tokenizer, agrees_with_the_o200k_test_plans) {
  check_test_plans(open("o200k"), "o200k_base", 50);
}
// GPT-2's vocabulary is r50k_base.
TEST(Tokenizer, agrees_with_the_r50k_test_plans) {
  check_test_plans(open("gpt2"), "r50k_base", 50);
}

TEST(TokenizerVectors, stories260K_matches_llama2c) {
  const Tokenizer tokenizer = Tokenizer::load(std::string(MOXIE_SOURCE_DIR) + "/models/stories260K");
  const json::Value vectors = json::parse(tokenizer_data::read("../stories260K_encode.json"), {});
  ASSERT_GT(vectors.items().size(), 100u);
  for (const json::Value& vector : vectors.items()) {
    std::vector<int32_t> expected;
    for (const json::Value& id : vector.items()[1].items()) expected.push_back(static_cast<int32_t>(*id.as_int()));
    // llama2.c knows no control tokens: "<unk>" in its text is text
    const std::string& text = vector.items()[0].as_string();
    EXPECT_EQ(tokenizer.encode(text, {.parse_special = false}), expected) << text;
  }
}

}  // namespace
}  // namespace moxie
