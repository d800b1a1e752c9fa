// Tokenizers of real GGUF files give the ids that llama.cpp expects of them (tests/data/tokenizers/ggml-vocab).
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

#include "model/model_source.h"
#include "store/gguf.h"
#include "store/store_test_util.h"
#include "text/tokenizer_data.h"

namespace moxie {
namespace {

std::filesystem::path unpacked(const TemporaryDirectory& directory, const std::string& name) {
  const std::filesystem::path path = directory / (name + ".gguf");
  std::ofstream(path, std::ios::binary) << tokenizer_data::read("ggml-vocab/" + name + ".gguf.gz");
  return path;
}

class GgufVocabulary : public testing::TestWithParam<const char*> {
 protected:
  TemporaryDirectory directory_;
  const std::filesystem::path file_ = unpacked(directory_, GetParam());
};

// Texts stand between marker lines; ids stand one line a text.
TEST_P(GgufVocabulary, gives_the_ids_that_llama_cpp_expects) {
  const std::string texts = tokenizer_data::read("ggml-vocab/texts.inp");
  std::istringstream lines(tokenizer_data::read(std::string("ggml-vocab/") + GetParam() + ".out"));
  const Tokenizer tokenizer = ModelSource::open(file_).tokenizer();
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
  const Tokenizer ours = ModelSource::open(file_).tokenizer();
  const std::string name = GetParam() == std::string("gpt-2") ? "gpt2" : GetParam();
  const Tokenizer theirs = tokenizer_data::open(name);
  for (const std::string& text : tokenizer_data::corpus()) {
    const EncodeOptions options{.add_special = false};
    ASSERT_EQ(ours.encode(text, options), theirs.encode(text, options)) << printable(text, 200);
    const std::vector<int32_t> ids = ours.encode(text, options);
    ASSERT_EQ(ours.decode(ids), theirs.decode(ids)) << printable(text, 200);
  }
}

// Behind one of them tokenizer.json cannot but begin a text anew, with another space if it is of SentencePiece.
std::vector<std::string> user_defined(const std::filesystem::path& path) {
  const GgufFile file = GgufFile::open(path);
  const json::Array& tokens = file.metadata().find("tokenizer.ggml.tokens")->items();
  const json::Array& types = file.metadata().find("tokenizer.ggml.token_type")->items();
  std::vector<std::string> found;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (types[i].as_int() == 4) found.push_back(tokens[i].as_string());
  }
  return found;
}

// What stands around a text, added tokens, decoding: all of it, through tokenizer.json and tokenizer_config.json.
TEST_P(GgufVocabulary, is_the_same_in_the_files_of_a_directory) {
  const std::string name = GetParam();
  TemporaryDirectory made;
  const ModelSource source = ModelSource::open(file_);
  source.write_text_files(made.path());
  const Tokenizer ours = source.tokenizer(), theirs = Tokenizer::load(made.path());
  const bool sentencepiece = name == "llama-spm" || name == "phi-3";
  EXPECT_EQ(ours.bos(), theirs.bos());
  EXPECT_EQ(ours.eos(), theirs.eos());
  ASSERT_EQ(ours.vocab_size(), theirs.vocab_size());
  for (int32_t id = 0; id < ours.vocab_size(); ++id) {
    ASSERT_EQ(ours.token_bytes(id), theirs.token_bytes(id)) << id;
    ASSERT_EQ(ours.is_special(id), theirs.is_special(id)) << id;
  }
  std::vector<std::string> texts = tokenizer_data::corpus();
  for (int32_t id = 0; id < ours.vocab_size(); ++id) {
    if (ours.is_special(id)) texts.push_back("one" + ours.token_bytes(id) + "two " + ours.token_bytes(id));
  }
  const std::vector<std::string> apart = user_defined(file_);
  for (const std::string& text : texts) {
    const auto stands_in_text = [&](const std::string& token) { return text.find(token) != std::string::npos; };
    if (sentencepiece && std::any_of(apart.begin(), apart.end(), stands_in_text)) continue;
    for (const EncodeOptions& options :
         {EncodeOptions{}, EncodeOptions{.add_special = false, .parse_special = false}}) {
      const std::vector<int32_t> ids = ours.encode(text, options);
      ASSERT_EQ(ids, theirs.encode(text, options)) << printable(text, 200);
      ASSERT_EQ(ours.decode(ids), theirs.decode(ids)) << printable(text, 200);
    }
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
  TemporaryDirectory directory;
  const Tokenizer tokenizer = ModelSource::open(unpacked(directory, "llama-spm")).tokenizer();
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
  EXPECT_EQ(tokenizer.encode("Hello").front(), 1);
}

}  // namespace
}  // namespace moxie
