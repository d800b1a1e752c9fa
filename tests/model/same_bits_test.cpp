// The same-bits law on whole models: a token's logits are equal to the last bit however its sequence was cut into
// steps, whatever else stood in the batch, on any number of threads, wherever its pages lie. For every kernel set that
// runs.
#include <gtest/gtest.h>

#include "model/company.h"

namespace moxie {
namespace {

using test::alone;
using test::difference;
using test::Going;
using test::Random;
using test::random_tokens;
using test::Setting;

constexpr int64_t kLength = 128;  // two pages; all that the goldens' configs allow

// ref takes its time: one format there, all with the others.
std::vector<Setting> settings_here() {
  std::vector<Setting> settings;
  for (const KernelSet* set : test::sets_here()) {
    for (const FormatId format : test::kKvFormats) {
      if (set != &test::ref() || format == FormatId::f16) settings.push_back({set, format});
    }
  }
  return settings;
}

class SameBits : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    model_ = std::make_unique<Model>(Model::load(std::filesystem::path(MOXIE_SOURCE_DIR) / GetParam()));
    vocab_size_ = model_->spec().vocab_size;
  }
  std::unique_ptr<Model> model_;
  int64_t vocab_size_ = 0;
};

TEST_P(SameBits, for_any_number_of_threads) {
  for (const Setting& setting : settings_here()) {
    Random random(1);
    const std::vector<int32_t> tokens = random_tokens(kLength, *model_, random);
    const std::vector<float> expected = alone(*model_, setting, 1, tokens, kLength);
    for (const int threads : {2, 3}) {
      EXPECT_EQ("", difference(expected, alone(*model_, setting, threads, tokens, kLength), vocab_size_))
          << setting.name() << " on " << threads << " threads";
    }
  }
}

TEST_P(SameBits, for_any_cut_into_steps) {
  for (const Setting& setting : settings_here()) {
    Random random(2);
    const std::vector<int32_t> tokens = random_tokens(kLength, *model_, random);
    const std::vector<float> expected = alone(*model_, setting, 1, tokens, kLength);
    for (const int64_t chunk : {1, 3, 7, 64, 65}) {
      EXPECT_EQ("", difference(expected, alone(*model_, setting, 2, tokens, chunk), vocab_size_))
          << setting.name() << " in chunks of " << chunk;
    }
  }
}

// Only the last token's logits are asked for, as prefill does: the same as when all are.
TEST_P(SameBits, for_any_number_of_logits) {
  for (const Setting& setting : settings_here()) {
    Random random(3);
    const std::vector<int32_t> tokens = random_tokens(40, *model_, random);
    const std::vector<float> expected = alone(*model_, setting, 1, tokens, 40);
    Runner runner(*model_, 2, *setting.kernels, setting.kv_format);
    const std::vector<int32_t> pages = runner.pages(1);
    const StepSequence last{tokens, 0, pages, 1};
    EXPECT_EQ("", difference({expected.end() - vocab_size_, expected.end()}, runner.step({&last, 1}, {}), vocab_size_))
        << setting.name();
  }
}

// Random batches: several sequences of random lengths come and go in random pieces, on pages in random order.
TEST_P(SameBits, for_any_company_in_the_batch) {
  const std::vector<Setting> settings = settings_here();
  constexpr uint64_t kSeeds = 26;  // of each model: about two hundred in all
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Random random(seed);
    const Setting& setting = settings[seed % settings.size()];
    Runner runner(*model_, static_cast<int>(1 + random.below(3)), *setting.kernels, setting.kv_format);
    std::deque<Going> all;
    for (int64_t n = 2 + random.below(5); n > 0; --n) {
      all.push_back({.tokens = random_tokens(1 + random.below(kLength), *model_, random)});
    }
    test::run_in_company(runner, vocab_size_, all, random);
    for (const Going& going : all) {
      const std::vector<float> expected = alone(*model_, setting, 1, going.tokens, kLength);
      ASSERT_EQ("", difference(expected, going.logits, vocab_size_)) << setting.name() << ", seed " << seed;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, SameBits,
                         testing::Values("models/moe-7m", "tests/data/golden/deepseek_v3", "tests/data/golden/gpt_oss",
                                         "tests/data/golden/mixtral-swa", "tests/data/golden/glm4_moe",
                                         "tests/data/golden/granitemoe", "tests/data/golden-layouts/gpt_oss-mxfp4",
                                         "tests/data/golden-layouts/mixtral-bf16"),
                         [](const auto& model) {
                           std::string name = std::filesystem::path(model.param).filename().string();
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace moxie
