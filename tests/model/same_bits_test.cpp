// The same-bits law on whole models: a token's logits are equal to the last bit however its sequence was cut into
// steps, whatever else stood in the batch, on any number of threads, wherever its pages lie. For every kernel set that
// runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>

#include "kernels/support.h"
#include "model/runner.h"

namespace moxie {
namespace {

using test::Random;

constexpr int64_t kLength = 128;  // two pages; all that the goldens' configs allow

std::vector<const KernelSet*> sets_here() {
  std::vector<const KernelSet*> sets = test::fast_sets();
  sets.push_back(&test::ref());
  return sets;
}

// A kernel set, and what the cache is kept in.
struct Setting {
  const KernelSet* kernels;
  FormatId kv_format;
  std::string name() const { return fmt::format("{} with a cache in {}", kernels->name, format_name(kv_format)); }
};

// ref takes its time: one format there, all with the others.
std::vector<Setting> settings_here() {
  std::vector<Setting> settings;
  for (const KernelSet* set : sets_here()) {
    for (const FormatId format : {FormatId::f32, FormatId::bf16, FormatId::f16, FormatId::q8_0}) {
      if (set != &test::ref() || format == FormatId::f16) settings.push_back({set, format});
    }
  }
  return settings;
}

std::vector<int32_t> random_tokens(int64_t n, const Model& model, Random& random) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.below(model.spec().vocab_size));
  return tokens;
}

// A sequence on its way through a runner, and the logits of each of its tokens.
struct Going {
  std::vector<int32_t> tokens;
  std::vector<int32_t> pages;
  int64_t done = 0;
  std::vector<float> logits;

  int64_t left() const { return static_cast<int64_t>(tokens.size()) - done; }
  StepSequence next(int64_t n) const {
    return {std::span(tokens).subspan(static_cast<size_t>(done), static_cast<size_t>(n)), done, pages, n};
  }
};

// One step of `count[i]` tokens of each sequence.
void step(Runner& runner, int64_t vocab_size, std::span<Going*> going, const std::vector<int64_t>& counts) {
  std::vector<StepSequence> sequences;
  for (size_t i = 0; i < going.size(); ++i) sequences.push_back(going[i]->next(counts[i]));
  const std::vector<float> logits = runner.step(sequences, {});
  const float* from = logits.data();
  for (size_t i = 0; i < going.size(); ++i) {
    going[i]->logits.insert(going[i]->logits.end(), from, from + counts[i] * vocab_size);
    from += counts[i] * vocab_size;
    going[i]->done += counts[i];
  }
}

// Logits of all tokens of one sequence alone, `chunk` tokens a step.
std::vector<float> alone(const Model& model, const Setting& setting, int threads, const std::vector<int32_t>& tokens,
                         int64_t chunk) {
  Runner runner(model, threads, *setting.kernels, setting.kv_format);
  Going going{.tokens = tokens,
              .pages = runner.pages((static_cast<int64_t>(tokens.size()) + kKeyBlock - 1) / kKeyBlock)};
  Going* one[] = {&going};
  while (going.left() > 0) step(runner, model.spec().vocab_size, one, {std::min(chunk, going.left())});
  return going.logits;
}

// Where two runs differ first; empty if nowhere.
std::string difference(const std::vector<float>& a, const std::vector<float>& b, int64_t vocab_size) {
  if (a.size() != b.size()) return fmt::format("{} logits against {}", a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(float)) == 0) continue;
    const auto at = static_cast<int64_t>(i);
    return fmt::format("token {}, logit {}: {} against {}", at / vocab_size, at % vocab_size, a[i], b[i]);
  }
  return "";
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
    std::vector<int32_t> pages = runner.pages(16);
    for (size_t i = pages.size() - 1; i > 0; --i) {
      std::swap(pages[i], pages[static_cast<size_t>(random.below(static_cast<int64_t>(i) + 1))]);
    }
    std::deque<Going> all;
    for (int64_t n = 2 + random.below(5); n > 0; --n) {
      Going& going = all.emplace_back();
      going.tokens = random_tokens(1 + random.below(kLength), *model_, random);
      for (int i = 0; i < 2; ++i) going.pages.push_back(pages.back()), pages.pop_back();
    }
    for (;;) {
      std::vector<Going*> now;
      std::vector<int64_t> counts;
      for (Going& going : all) {
        if (going.left() == 0 || random.below(4) == 0) continue;
        now.push_back(&going);
        counts.push_back(random.below(2) == 0 ? 1 : 1 + random.below(going.left()));  // decode or prefill
      }
      if (!now.empty()) step(runner, vocab_size_, now, counts);
      if (std::all_of(all.begin(), all.end(), [](const Going& going) { return going.left() == 0; })) break;
    }
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
