// Byte-pair encoding of one word: symbols, then merges in order of rank, leftmost first. Not splitting into words.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/hash.h"
#include "text/vocab.h"

namespace moxie::text {

struct BpeOptions {
  bool byte_level = false;     // a word starts as its bytes; else as its characters
  bool byte_fallback = false;  // an unknown character becomes its bytes' tokens <0x00>..<0xFF>
  bool fuse_unk = false;       // neighbouring unknown characters become one unknown token
  bool ignore_merges = false;  // a word that is a token as a whole is that token
  int32_t unk = -1;            // -1: unknown characters vanish
};

/// Sennrich, Haddow, Birch 2016 (arXiv:1508.07909), as Hugging Face tokenizers, SentencePiece and tiktoken apply it.
class Bpe {
 public:
  /// `vocab` and `merges` as they are; every id in `merges` is in `vocab`.
  Bpe(Vocab vocab, PairTable merges, BpeOptions options);

  /// Appends the ids of `word`. Byte-level: any bytes; else valid UTF-8. Cost: n^2 for short words, near linear in n
  /// for long ones.
  void encode(std::string_view word, std::vector<int32_t>& ids) const;

  /// The id of a token as a file writes it: in GPT-2's letters (valid UTF-8) if byte-level. -1 if there is none.
  int32_t find(std::string_view token) const;

  const Vocab& vocab() const { return vocab_; }
  const PairTable& merges() const { return merges_; }
  const BpeOptions& options() const { return options_; }

 private:
  size_t symbols(std::string_view word, int32_t* out) const;
  void merge_short(int32_t* symbols, size_t count, std::vector<int32_t>& ids) const;
  void merge_long(const std::vector<int32_t>& symbols, std::vector<int32_t>& ids) const;

  Vocab vocab_;
  PairTable merges_;
  BpeOptions options_;
  std::array<int32_t, 256> byte_symbol_;  // byte-level: of every byte; else of every ASCII character; -1 = none
  std::array<int32_t, 256> fallback_;     // the token <0xNN>, or -1
};

/// A pair of tokens and what becomes of it.
struct ListedMerge {
  uint32_t rank;
  int32_t whole, left, right;
  auto operator<=>(const ListedMerge&) const = default;
};

/// Best first; those of one rank by ids.
std::vector<ListedMerge> list_merges(const PairTable& merges);

/// The merges of a vocabulary that lists none (SentencePiece, tiktoken): every split of a token into two tokens merges,
/// with the token's rank. `rank` is indexed by id; UINT32_MAX: the token takes no part in merging. Tokens are at most
/// kMaxMergedBytes long. Cost: sum of squared token lengths.
PairTable merges_from_ranks(const Vocab& vocab, const std::vector<uint32_t>& rank);
inline constexpr size_t kMaxMergedBytes = 1024;

}  // namespace moxie::text
