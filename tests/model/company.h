// Sequences on their way through a runner, alone or in random company: for tests of the same-bits law on whole models.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>

#include "kernels/support.h"
#include "model/runner.h"

namespace moxie::test {

constexpr FormatId kKvFormats[] = {FormatId::f32, FormatId::bf16, FormatId::f16, FormatId::q8_0};

/// A kernel set, and what the cache is kept in.
struct Setting {
  const KernelSet* kernels;
  FormatId kv_format;
  std::string name() const { return fmt::format("{} with a cache in {}", kernels->name, format_name(kv_format)); }
};

inline std::vector<int32_t> random_tokens(int64_t n, const Model& model, Random& random) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.below(model.spec().vocab_size));
  return tokens;
}

/// A sequence, how far it is, and the logits of each of its tokens so far.
struct Going {
  std::vector<int32_t> tokens;
  std::vector<int32_t> pages;
  bool wants_logits = true;
  int64_t done = 0;
  std::vector<float> logits;

  int64_t left() const { return static_cast<int64_t>(tokens.size()) - done; }
  StepSequence next(int64_t n) const {
    return {std::span(tokens).subspan(static_cast<size_t>(done), static_cast<size_t>(n)), done, pages,
            wants_logits ? n : 0};
  }
};

/// One step of `count[i]` tokens of each sequence.
inline void step(Runner& runner, int64_t vocab_size, std::span<Going*> going, const std::vector<int64_t>& counts) {
  std::vector<StepSequence> sequences;
  for (size_t i = 0; i < going.size(); ++i) sequences.push_back(going[i]->next(counts[i]));
  const std::vector<float> logits = runner.step(sequences, {});
  const float* from = logits.data();
  for (size_t i = 0; i < going.size(); ++i) {
    const float* end = from + sequences[i].num_logits * vocab_size;
    going[i]->logits.insert(going[i]->logits.end(), from, end);
    from = end;
    going[i]->done += counts[i];
  }
}

/// Logits of all tokens of one sequence alone, `chunk` tokens a step.
inline std::vector<float> alone(const Model& model, const Setting& setting, int threads,
                                const std::vector<int32_t>& tokens, int64_t chunk) {
  Runner runner(model, threads, *setting.kernels, setting.kv_format);
  Going going{.tokens = tokens,
              .pages = runner.pages((static_cast<int64_t>(tokens.size()) + kKeyBlock - 1) / kKeyBlock)};
  Going* one[] = {&going};
  while (going.left() > 0) step(runner, model.spec().vocab_size, one, {std::min(chunk, going.left())});
  return going.logits;
}

/// Runs all sequences to their ends: they come and go in random pieces, decode beside prefill, on pages in random order
/// (of which each takes two, so at most 128 tokens a sequence).
inline void run_in_company(Runner& runner, int64_t vocab_size, std::deque<Going>& all, Random& random) {
  std::vector<int32_t> pages = runner.pages(2 * static_cast<int64_t>(all.size()));
  for (size_t i = pages.size() - 1; i > 0; --i) {
    std::swap(pages[i], pages[static_cast<size_t>(random.below(static_cast<int64_t>(i) + 1))]);
  }
  for (Going& going : all) {
    for (int i = 0; i < 2; ++i) going.pages.push_back(pages.back()), pages.pop_back();
  }
  while (std::any_of(all.begin(), all.end(), [](const Going& going) { return going.left() > 0; })) {
    std::vector<Going*> now;
    std::vector<int64_t> counts;
    for (Going& going : all) {
      if (going.left() == 0 || random.below(4) == 0) continue;
      now.push_back(&going);
      counts.push_back(random.below(2) == 0 ? 1 : 1 + random.below(going.left()));  // decode or prefill
    }
    if (!now.empty()) step(runner, vocab_size, now, counts);
  }
}

/// Where two runs differ first; empty if nowhere.
inline std::string difference(const std::vector<float>& a, const std::vector<float>& b, int64_t vocab_size) {
  if (a.size() != b.size()) return fmt::format("{} logits against {}", a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(float)) == 0) continue;
    const auto at = static_cast<int64_t>(i);
    return fmt::format("token {}, logit {}: {} against {}", at / vocab_size, at % vocab_size, a[i], b[i]);
  }
  return "";
}

}  // namespace moxie::test
