// A tokenizer written as GGUF keys and read back gives the ids of the tokenizer it was made of.
#include "text/gguf_vocabulary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "text/normalizer.h"
#include "text/tokenizer_data.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;
namespace data = tokenizer_data;

// One a test: tests run side by side.
fs::path directory_of(const std::string& name, const std::string& file) {
  std::string test = testing::UnitTest::GetInstance()->current_test_info()->name();
  std::replace(test.begin(), test.end(), '/', '_');
  const fs::path directory = fs::path(testing::TempDir()) / ("moxie_vocabulary_" + test + "_" + name + "_" + file);
  fs::remove_all(directory);
  fs::create_directories(directory);
  std::ofstream(directory / file, std::ios::binary) << data::read(name + "/" + file + ".gz");
  return directory;
}

struct Case {
  const char *name, *file, *pre;
};

class GgufVocabularyOf : public testing::TestWithParam<Case> {};

TEST_P(GgufVocabularyOf, gives_the_ids_of_its_tokenizer) {
  const fs::path directory = directory_of(GetParam().name, GetParam().file);
  const Tokenizer want = Tokenizer::load(directory);
  const text::GgufVocabulary made = text::gguf_vocabulary(directory, want.vocab_size() + 3);
  EXPECT_EQ(made.pre, GetParam().pre);
  const Tokenizer got = Tokenizer::from_gguf(made.as_metadata(), "m.gguf");
  const text::Normalizer nfc({text::NormalForm::nfc}, "");
  size_t different = 0;
  for (const std::string& text : data::corpus()) {
    std::string buffer;
    const bool normal = text::first_invalid_utf8(text) == std::string_view::npos && nfc.apply(text, buffer) == text;
    if (!made.notes.empty() && made.pre != "qwen2" && !normal) continue;  // what GGUF does not hold, and says so
    const std::vector<int32_t> ids = want.encode(text);
    if (ids == got.encode(text) && want.decode(ids) == got.decode(ids)) continue;
    if (++different <= 3) ADD_FAILURE() << text.substr(0, 200);
  }
  EXPECT_EQ(different, 0u);
  EXPECT_EQ(got.bos(), want.bos() ? want.bos() : got.bos());
  EXPECT_EQ(got.eos(), want.eos() ? want.eos() : got.eos());
}

INSTANTIATE_TEST_SUITE_P(
    Tokenizers, GgufVocabularyOf,
    testing::Values(Case{"gpt2", "tokenizer.json", "gpt-2"}, Case{"qwen3", "tokenizer.json", "qwen2"},
                    Case{"deepseek_v3", "tokenizer.json", "deepseek-v3"},
                    Case{"deepseek-llm", "tokenizer.json", "deepseek-llm"},
                    Case{"deepseek-coder", "tokenizer.json", "deepseek-coder"},
                    Case{"starcoder", "tokenizer.json", "starcoder"}, Case{"olmoe", "tokenizer.json", "gpt-2"},
                    Case{"mistral_v1", "tokenizer.json", "default"}, Case{"mistral_v1", "tokenizer.model", "default"},
                    Case{"mistral_v3", "tokenizer.model", "default"}, Case{"llama-spm", "tokenizer.model", "default"},
                    Case{"phi-3", "tokenizer.model", "default"}),
    [](const auto& test) {
      std::string name = std::string(test.param.name) + "_" + test.param.file;
      for (char& c : name) c = c == '-' || c == '.' ? '_' : c;
      return name;
    });

std::string refusal(const fs::path& directory, int64_t num_tokens, const std::string& pre = "") {
  try {
    text::gguf_vocabulary(directory, num_tokens, pre);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid);
    return error.text();
  }
  return "";
}

TEST(GgufVocabulary, more_tokens_than_rows_are_refused) {
  EXPECT_NE(refusal(directory_of("gpt2", "tokenizer.json"), 50000).find("at most 50000 tokens"), std::string::npos);
}

TEST(GgufVocabulary, a_split_that_no_name_has_is_refused_unless_a_name_is_given) {
  const fs::path directory = directory_of("gpt2", "tokenizer.json");
  std::string json = data::read("gpt2/tokenizer.json.gz");
  const std::string regex = R"("Regex":"'s|)";
  json.replace(json.find(regex), regex.size(), R"("Regex":"\\p{L}|'s|)");
  std::ofstream(directory / "tokenizer.json", std::ios::binary) << json;
  EXPECT_NE(refusal(directory, 50257).find("--pre NAME"), std::string::npos) << refusal(directory, 50257);
  EXPECT_EQ(refusal(directory, 50257, "gpt-2"), "");
  const text::GgufVocabulary made = text::gguf_vocabulary(directory, 50257, "gpt-2");
  ASSERT_EQ(made.notes.size(), 1u);
  EXPECT_NE(made.notes[0].find("other tokens"), std::string::npos);
}

}  // namespace
}  // namespace moxie
