// generation_config.json: what models write, and what they must not.
#include "text/generation_config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace moxie {
namespace {

class GenerationConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::path(testing::TempDir()) /
           (std::string("moxie_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  GenerationConfig load(const std::string& text) {
    std::ofstream(dir_ / "generation_config.json") << text;
    return GenerationConfig::load(dir_);
  }

  std::string error_of(const std::string& text) {
    try {
      load(text);
    } catch (const Error& error) {
      return error.text();
    }
    return "no error";
  }

  std::filesystem::path dir_;
};

TEST_F(GenerationConfigTest, a_missing_file_gives_no_fields) {
  const GenerationConfig config = GenerationConfig::load(dir_);
  EXPECT_FALSE(config.do_sample || config.temperature || config.top_k || config.top_p || config.max_new_tokens);
  EXPECT_TRUE(config.eos_token_id.empty());
}

TEST_F(GenerationConfigTest, reads_what_models_write) {
  const GenerationConfig config = load(R"({"bos_token_id": 151643, "do_sample": true, "eos_token_id": [151645, 151643],
      "pad_token_id": 151643, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0, "repetition_penalty": 1.05,
      "max_new_tokens": 2048, "transformers_version": "4.51.0", "num_beams": {"unknown": []}})");
  EXPECT_EQ(config.do_sample, true);
  EXPECT_EQ(config.temperature, 0.6);
  EXPECT_EQ(config.top_k, 20);
  EXPECT_EQ(config.top_p, 0.95);
  EXPECT_EQ(config.min_p, 0);
  EXPECT_EQ(config.repetition_penalty, 1.05);
  EXPECT_EQ(config.max_new_tokens, 2048);
  EXPECT_EQ(config.eos_token_id, (std::vector<int64_t>{151645, 151643}));
  EXPECT_EQ(config.bos_token_id, 151643);
  EXPECT_EQ(config.pad_token_id, 151643);
}

TEST_F(GenerationConfigTest, one_end_token_or_null) {
  EXPECT_EQ(load(R"({"eos_token_id": 2, "pad_token_id": -1})").eos_token_id, std::vector<int64_t>{2});
  EXPECT_TRUE(load(R"({"eos_token_id": null, "top_k": null})").eos_token_id.empty());
}

TEST_F(GenerationConfigTest, a_wrong_type_or_range_names_the_field) {
  for (const auto& [field, value] :
       std::initializer_list<std::pair<const char*, const char*>>{{"do_sample", "1"},
                                                                  {"temperature", "\"hot\""},
                                                                  {"temperature", "-0.5"},
                                                                  {"top_k", "1.5"},
                                                                  {"top_k", "-1"},
                                                                  {"top_p", "1.01"},
                                                                  {"min_p", "[]"},
                                                                  {"repetition_penalty", "0"},
                                                                  {"max_new_tokens", "0"},
                                                                  {"eos_token_id", "\"2\""},
                                                                  {"eos_token_id", "[1, null]"},
                                                                  {"eos_token_id", "-2"},
                                                                  {"bos_token_id", "1e3"},
                                                                  {"bos_token_id", "99999999999999999999"},
                                                                  {"pad_token_id", "true"}}) {
    const std::string error = error_of(std::string("{\"") + field + "\": " + value + "}");
    EXPECT_NE(error.find("generation_config.json: " + std::string(field)), std::string::npos) << error;
    EXPECT_NE(error.find("expected"), std::string::npos) << error;
  }
  EXPECT_NE(error_of("[]").find("expected an object"), std::string::npos);
  EXPECT_NE(error_of("{").find("generation_config.json"), std::string::npos);
}

}  // namespace
}  // namespace moxie
