// Learning a BPE vocabulary: the reference's merges, counting afresh as an oracle, and files that our tokenizer reads.
#include "text/bpe_train.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "base/rng.h"
#include "text/byte_letters.h"
#include "text/tokenizer_data.h"

namespace moxie::text {
namespace {

using tokenizer_data::read;

TrainedBpe trained_on(std::string_view text, BpeTraining training, std::vector<std::string> specials = {}) {
  WordCounts words(std::move(specials));
  words.add(text);
  return train_bpe(words, training);
}

std::string letters(const TrainedBpe& trained, int32_t id) {
  return letters_of_bytes(trained.tokens.bytes(id));
}

std::vector<std::string> merge_lines(const TrainedBpe& trained) {
  std::vector<std::string> lines;
  for (const auto& [left, right] : trained.merges)
    lines.push_back(letters(trained, left) + " " + letters(trained, right));
  return lines;
}

TEST(BpeTrain, learns_the_merges_of_the_reference) {
  const TrainedBpe trained = trained_on(read("bpe-training/corpus.en"), {.vocab_size = 500}, {"<|endoftext|>"});
  std::string lines;
  for (const std::string& line : merge_lines(trained)) lines += line + "\n";
  EXPECT_EQ(lines, read("bpe-training/train-bpe-reference-merges.txt"));
}

TEST(BpeTrain, writes_the_ids_of_the_reference) {
  const json::Value file = json::parse(
      tokenizer_json(trained_on(read("bpe-training/corpus.en"), {.vocab_size = 500}, {"<|endoftext|>"})), {});
  const json::Value expected = json::parse(read("bpe-training/train-bpe-reference-vocab.json"), {});
  const json::Object& vocab = file.find("model")->find("vocab")->members();
  ASSERT_EQ(vocab.size(), expected.members().size());
  for (const json::Member& token : vocab) {
    const json::Value* id = expected.find(token.key);
    ASSERT_NE(id, nullptr) << token.key;
    EXPECT_EQ(token.value.as_int(), id->as_int()) << token.key;
  }
}

// The definition, word by word: counts all pairs afresh for each merge.
std::vector<std::string> merges_by_definition(const WordCounts& words, const BpeTraining& training) {
  using Word = std::vector<std::string>;
  std::map<Word, uint64_t> counts;
  for (int32_t word = 0; word < words.words().size(); ++word) {
    Word symbols;
    for (const char byte : words.words().bytes(word)) symbols.emplace_back(1, byte);
    counts[symbols] += words.count(word);
  }
  std::vector<std::string> merges;
  while (256 + merges.size() < static_cast<size_t>(training.vocab_size)) {
    std::map<std::pair<std::string, std::string>, uint64_t> pairs;
    for (const auto& [word, count] : counts) {
      for (size_t i = 0; i + 1 < word.size(); ++i) pairs[{word[i], word[i + 1]}] += count;
    }
    std::pair<uint64_t, std::pair<std::string, std::string>> best{0, {}};
    for (const auto& [pair, count] : pairs) best = std::max(best, {count, pair});
    if (best.first < training.min_frequency) break;
    const auto& [left, right] = best.second;
    merges.push_back(letters_of_bytes(left) + " " + letters_of_bytes(right));
    std::map<Word, uint64_t> merged;
    for (const auto& [word, count] : counts) {
      Word symbols;
      for (size_t i = 0; i < word.size(); ++i) {
        const bool pair = i + 1 < word.size() && word[i] == left && word[i + 1] == right;
        symbols.push_back(pair ? left + right : word[i]);
        i += pair ? 1 : 0;
      }
      merged[symbols] += count;
    }
    counts.swap(merged);
  }
  return merges;
}

std::string random_text(const Rng& rng, int alphabet, size_t bytes) {
  std::string text;
  for (uint64_t i = 0; i < bytes; ++i) text += "ab cdxyz"[rng.below(i, static_cast<uint64_t>(alphabet))];
  return text;
}

TEST(BpeTrain, agrees_with_counting_afresh_for_every_merge) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const int alphabet = 1 + static_cast<int>(seed % 8);  // few letters: runs, overlaps
    WordCounts words({});
    words.add(random_text(Rng(seed, 0), alphabet, 40 + seed * 20));
    const BpeTraining training{.vocab_size = 256 + 80, .min_frequency = 1 + seed % 3};
    EXPECT_EQ(merge_lines(train_bpe(words, training)), merges_by_definition(words, training)) << "seed " << seed;
  }
}

TEST(BpeTrain, counts_the_tokens_that_its_tokenizer_makes) {
  const std::string text = read("bpe-training/corpus.en") + "<|end|>" + tokenizer_data::corpus()[0] + "<|end|>";
  const TrainedBpe trained = trained_on(text, {.vocab_size = 1000}, {"<|end|>"});
  const Tokenizer tokenizer = Tokenizer::from_json(tokenizer_json(trained), "trained");
  EXPECT_EQ(tokenizer.encode(text).size(), trained.text_tokens);
  EXPECT_EQ(tokenizer.vocab_size(), 1000);
}

TEST(BpeTrain, makes_a_tokenizer_that_keeps_any_bytes) {
  const Tokenizer tokenizer = Tokenizer::from_json(
      tokenizer_json(trained_on(read("bpe-training/corpus.en"), {.vocab_size = 500}, {"<|endoftext|>"})), "trained");
  const Rng rng(7, 0);
  std::string bytes;
  for (uint64_t i = 0; i < 4000; ++i) bytes += static_cast<char>(rng.bits(i));
  std::string back;
  for (const int32_t id : tokenizer.encode(bytes)) back += tokenizer.token_bytes(id);
  EXPECT_EQ(back, bytes);
  for (const std::string& text : tokenizer_data::corpus()) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text), false), text);
  }
}

TEST(BpeTrain, learns_from_bytes_that_are_not_utf8) {
  const TrainedBpe trained = trained_on("\xff\xfe \xff\xfe \xff\xfe", {.vocab_size = 257});
  EXPECT_EQ(trained.tokens.bytes(256), "\xff\xfe");
  EXPECT_EQ(Tokenizer::from_json(tokenizer_json(trained), "trained").encode("\xff\xfe"), std::vector<int32_t>{256});
}

TEST(BpeTrain, keeps_special_tokens_whole_and_out_of_words) {
  const TrainedBpe trained = trained_on("ab<|x|>ab<|x|>ab<|x|><|y|>", {.vocab_size = 300}, {"<|x|>", "<|y|>"});
  EXPECT_EQ(merge_lines(trained), std::vector<std::string>{"a b"});
  const Tokenizer tokenizer = Tokenizer::from_json(tokenizer_json(trained), "trained");
  const int32_t ab = 2 + 256;
  EXPECT_EQ(tokenizer.encode("ab<|x|><|y|>ab"), (std::vector<int32_t>{ab, 0, 1, ab}));
  EXPECT_TRUE(tokenizer.is_special(0) && tokenizer.is_special(1) && !tokenizer.is_special(2));
}

TEST(BpeTrain, never_learns_a_token_that_the_file_would_write_as_a_special_one) {
  const TrainedBpe trained = trained_on("a x a x a x", {.vocab_size = 300}, {"\xc4\xa0x"});  // as " x" is written
  EXPECT_EQ(merge_lines(trained), std::vector<std::string>{"\xc4\xa0 a"});
  EXPECT_EQ(Tokenizer::from_json(tokenizer_json(trained), "trained").encode(" x").size(), 2u);
}

TEST(BpeTrain, stops_where_no_pair_is_frequent_enough) {
  EXPECT_EQ(merge_lines(trained_on("abc ab", {.vocab_size = 300})), std::vector<std::string>{"a b"});
  EXPECT_TRUE(trained_on("abc ab", {.vocab_size = 300, .min_frequency = 3}).merges.empty());
  EXPECT_EQ(trained_on("abc ab", {.vocab_size = 300, .min_frequency = 1}).text_tokens, 2u);
}

TEST(BpeTrain, bounds_the_length_of_tokens) {
  const TrainedBpe trained = trained_on(std::string(100'000, 'a'), {.vocab_size = 400, .min_frequency = 1});
  for (int32_t id = 0; id < trained.tokens.size(); ++id) EXPECT_LE(trained.tokens.bytes(id).size(), 1024u);
  EXPECT_LE(trained.text_tokens, 100'000u / 1024 + 1);
}

TEST(BpeTrain, adds_up_the_words_of_several_texts) {
  WordCounts words({});
  words.add("the cat");
  words.add(" the hat");
  EXPECT_EQ(merge_lines(train_bpe(words, {.vocab_size = 260})),
            merge_lines(trained_on("the cat the hat", {.vocab_size = 260})));
}

TEST(BpeTrain, refuses_bad_special_tokens_and_small_vocabularies) {
  for (const std::string token : {"", "a", "\xc4\xa0", "\xff", "<|x|>"}) {
    EXPECT_THROW(WordCounts({"<|x|>", token}), Error) << token;
  }
  EXPECT_THROW(WordCounts({std::string(1025, 'x')}), Error);
  EXPECT_NO_THROW(trained_on("text", {.vocab_size = 258}, {"<|x|>", "<|y|>"}));
  EXPECT_THROW(trained_on("text", {.vocab_size = 257}, {"<|x|>", "<|y|>"}), Error);
  EXPECT_THROW(trained_on("text", {.vocab_size = -1}), Error);
}

}  // namespace
}  // namespace moxie::text
