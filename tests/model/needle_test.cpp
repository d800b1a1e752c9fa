// The same-bits law in every number format: one sequence, the needle, keeps its logits to the last bit in whatever
// company it runs, on every kernel set. MOXIE_COMPANIES is how many random batches each model meets on each set.
#include <gtest/gtest.h>

#include <bit>
#include <cstdio>
#include <cstdlib>

#include "kernels/product.h"
#include "model/company.h"
#include "model/copies.h"
#include "model/fp8_of.h"
#include "model/random_moe.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

using test::Going;
using test::Random;
using test::Setting;

// A model under a name, written into a directory of its own; returns where.
struct Case {
  std::string name;
  std::function<fs::path(const fs::path& directory)> make;
};

fs::path write_moe(const fs::path& directory, bool packed, bool experts_apart, std::function<FormatId()> next_format) {
  test::RandomMoe moe;
  moe.packs_rows = packed;
  moe.experts_apart = experts_apart;
  moe.next_format = std::move(next_format);
  moe.write(directory / "model.gguf", 1);
  return directory / "model.gguf";
}

std::vector<FormatId> gguf_formats() {
  std::vector<FormatId> formats;
  for (const FormatId format : test::kFormats) {
    if (format_info(format).gguf >= 0) formats.push_back(format);
  }
  return formats;
}

std::function<FormatId()> any_format(uint64_t seed) {
  return [random = Random(seed), formats = gguf_formats()]() mutable {
    return formats[static_cast<size_t>(random.below(static_cast<int64_t>(formats.size())))];
  };
}

// One format throughout: all that GGUF has, then those of other files.
std::vector<Case> one_format() {
  std::vector<Case> all;
  for (const FormatId format : gguf_formats()) {
    const auto next = [format] { return format; };
    const std::string name(format_name(format));
    all.push_back({name, [next](const fs::path& at) { return write_moe(at, false, false, next); }});
    if (!can_pack(format)) continue;
    all.push_back({name + "_packed", [next](const fs::path& at) { return write_moe(at, true, false, next); }});
  }
  all.push_back({"f8_e4m3", [](const fs::path& at) {
                   test::write_wide_deepseek(test::data_dir("golden/deepseek_v3"), at / "wide");
                   test::write_fp8(at / "wide", at / "fp8", at / "f32");
                   return at / "fp8";
                 }});
  all.push_back({"mxfp4", [](const fs::path&) { return test::data_dir("golden-layouts/gpt_oss-mxfp4"); }});
  return all;
}

// Another format for every matrix of every expert; packed ones are the same in all experts of a stack.
std::vector<Case> mixed_formats() {
  return {{"apart", [](const fs::path& at) { return write_moe(at, false, true, any_format(2)); }},
          {"packed", [](const fs::path& at) { return write_moe(at, true, false, any_format(3)); }}};
}

int64_t num_companies() {
  const char* text = std::getenv("MOXIE_COMPANIES");
  return text == nullptr ? 1 : std::max(std::atoll(text), 1LL);
}

struct Found {
  int64_t companies = 0, compared = 0, differing = 0;  // the latter bits
};

class Needle : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() { found = {}; }
  static void TearDownTestSuite() {
    std::puts(fmt::format("needle: {} companies on each of {} kernel sets: {} of {} bits differ",
                          found.companies / std::ssize(test::sets_here()), test::sets_here().size(), found.differing,
                          found.compared)
                  .c_str());
  }
  static void count(const std::vector<float>& a, const std::vector<float>& b) {
    ++found.companies;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      found.compared += 32;
      found.differing += std::popcount(std::bit_cast<uint32_t>(a[i]) ^ std::bit_cast<uint32_t>(b[i]));
    }
  }

  static inline Found found;
};

TEST_P(Needle, has_the_same_bits_in_any_company) {
  TemporaryDirectory directory;
  const Model model = Model::load(GetParam().make(directory.path()));
  const int64_t vocab_size = model.spec().vocab_size;
  Random random(4);
  for (const KernelSet* set : test::sets_here()) {
    // ref takes its time: short sequences there, elsewhere up to their second page
    const int64_t length = set == &test::ref() ? 12 : 70, longest = set == &test::ref() ? 12 : 100;
    const std::vector<int32_t> needle = test::random_tokens(length, model, random);
    std::map<FormatId, std::vector<float>> expected;  // by what the cache is kept in
    for (int64_t i = 0; i < num_companies(); ++i) {
      const Setting setting{set, test::kKvFormats[random.below(std::ssize(test::kKvFormats))]};
      std::vector<float>& want = expected[setting.kv_format];
      if (want.empty()) want = test::alone(model, setting, 1, needle, length);
      Runner runner(model, static_cast<int>(1 + random.below(3)), *set, setting.kv_format);
      std::deque<Going> all = {{.tokens = needle}};
      for (int64_t n = 1 + random.below(5); n > 0; --n) {
        all.push_back({.tokens = test::random_tokens(1 + random.below(longest), model, random),
                       .wants_logits = random.below(2) == 0});
      }
      std::swap(all.front(), all[static_cast<size_t>(random.below(std::ssize(all)))]);
      test::run_in_company(runner, vocab_size, all, random);
      const auto run = std::find_if(all.begin(), all.end(), [&](const Going& each) { return each.tokens == needle; });
      count(want, run->logits);
      ASSERT_EQ("", test::difference(want, run->logits, vocab_size)) << setting.name() << ", company " << i;
    }
    for (const auto& [format, logits] : expected) {
      ASSERT_TRUE(std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); })) << set->name;
    }
  }
}

std::string name_of(const testing::TestParamInfo<Case>& test) {
  return test.param.name;
}

INSTANTIATE_TEST_SUITE_P(OneFormat, Needle, testing::ValuesIn(one_format()), name_of);
INSTANTIATE_TEST_SUITE_P(Mixed, Needle, testing::ValuesIn(mixed_formats()), name_of);

}  // namespace
}  // namespace moxie
