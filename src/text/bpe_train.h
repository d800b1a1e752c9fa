// Learning a byte-level BPE vocabulary from text, and the tokenizer.json that holds it. Not encoding with one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/vocab.h"

namespace moxie::text {

/// The distinct words of texts, as GPT-2's pattern cuts them, and how often each comes. Texts are cut at special tokens
/// first. Bytes that are not UTF-8 are words too: each run of them is one, as the encoder reads them.
class WordCounts {
 public:
  /// Throws Error{usage} for a special token that is empty, given twice, longer than kMaxAddedBytes, not UTF-8, or one
  /// of the letters in which single bytes are written.
  explicit WordCounts(std::vector<std::string> specials);

  /// Counts the words of one more text. Throws Error{does_not_fit} above 4 GiB of distinct words. Linear. `on_progress`
  /// hears now and then how many bytes are done.
  void add(std::string_view text, const std::function<void(uint64_t)>& on_progress = {});

  const std::vector<std::string>& specials() const { return specials_; }
  const Vocab& words() const { return words_; }  // by order of first appearance
  uint64_t count(int32_t word) const { return counts_[static_cast<size_t>(word)]; }
  uint64_t num_words() const { return num_words_; }        // running words
  uint64_t num_specials() const { return num_specials_; }  // special tokens met in the texts
  uint64_t distinct_bytes() const { return distinct_bytes_; }

 private:
  void add_word(std::string_view word);

  std::vector<std::string> specials_;
  Vocab words_;
  std::vector<uint64_t> counts_;  // by id in words_
  uint64_t num_words_ = 0, num_specials_ = 0, distinct_bytes_ = 0;
};

struct BpeTraining {
  int32_t vocab_size = 0;      // special tokens, 256 bytes, and merges
  uint64_t min_frequency = 2;  // of a pair that is merged
};

/// Throws Error{usage} if the vocabulary has no room for the bytes and the special tokens, or for too many tokens.
void check_vocab_size(int64_t vocab_size, size_t num_specials);

/// Ids as the file has them: special tokens, then the bytes in the order of their letters, then merges.
struct TrainedBpe {
  std::vector<std::string> specials;
  Vocab tokens;                                     // bytes; id in the file = specials.size() + id here
  std::vector<std::pair<int32_t, int32_t>> merges;  // ids in `tokens`, first merge first
  uint64_t text_tokens = 0;                         // ids that the texts become, special tokens included

  int32_t vocab_size() const { return static_cast<int32_t>(specials.size()) + tokens.size(); }
};

/// Sennrich, Haddow, Birch 2016 (arXiv:1508.07909): merges the most frequent pair of neighbours inside words until the
/// vocabulary is full or no pair comes `min_frequency` times; of equally frequent pairs the one with the greater bytes
/// (left token, then right). No token grows beyond kMaxMergedBytes. Throws as check_vocab_size.
/// Cost: near linear in the distinct words; each merge costs its occurrences in them.
TrainedBpe train_bpe(const WordCounts& words, const BpeTraining& training,
                     const std::function<void(double)>& on_progress = {});

/// The files a model directory holds of it. The first special token is the end of a text (eos_token).
std::string tokenizer_json(const TrainedBpe& trained);
std::string tokenizer_config_json(const TrainedBpe& trained);

}  // namespace moxie::text
