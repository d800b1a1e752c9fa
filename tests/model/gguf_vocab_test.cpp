// Tokenizers of real GGUF files give the ids that llama.cpp expects of them (tests/data/tokenizers/ggml-vocab).
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

#include "model/model_source.h"
#include "store/gguf.h"
#include "text/tokenizer_data.h"

namespace moxie {
namespace {

std::filesystem::path unpacked(const std::string& name) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / ("moxie_vocab_" + name + ".gguf");
  std::ofstream(path, std::ios::binary) << tokenizer_data::read("ggml-vocab/" + name + ".gguf.gz");
  return path;
}

class GgufVocabulary : public testing::TestWithParam<const char*> {};

// Texts stand between marker lines; ids stand one line a text.
TEST_P(GgufVocabulary, gives_the_ids_that_llama_cpp_expects) {
  const std::string texts = tokenizer_data::read("ggml-vocab/texts.inp");
  std::istringstream lines(tokenizer_data::read(std::string("ggml-vocab/") + GetParam() + ".out"));
  const Tokenizer tokenizer = ModelSource::open(unpacked(GetParam())).tokenizer();
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

// The same vocabulary in its Hugging Face form, made of the file by tools/gguf_vocab.py.
TEST_P(GgufVocabulary, encodes_the_corpus_as_its_hugging_face_form_does) {
  const Tokenizer ours = ModelSource::open(unpacked(GetParam())).tokenizer();
  const std::string name = GetParam() == std::string("gpt-2") ? "gpt2" : GetParam();
  const Tokenizer theirs = tokenizer_data::open(name);
  for (const std::string& text : tokenizer_data::corpus()) {
    const EncodeOptions options{.add_special = false};
    ASSERT_EQ(ours.encode(text, options), theirs.encode(text, options)) << printable(text, 200);
    const std::vector<int32_t> ids = ours.encode(text, options);
    ASSERT_EQ(ours.decode(ids), theirs.decode(ids)) << printable(text, 200);
  }
}

INSTANTIATE_TEST_SUITE_P(Files, GgufVocabulary,
                         testing::Values("gpt-2", "starcoder", "deepseek-coder", "deepseek-llm", "llama-spm", "phi-3"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(GgufVocabularyRoles, sentencepiece_begins_a_text_with_bos) {
  const Tokenizer tokenizer = ModelSource::open(unpacked("llama-spm")).tokenizer();
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
  EXPECT_EQ(tokenizer.encode("Hello").front(), 1);
}

}  // namespace
}  // namespace moxie
