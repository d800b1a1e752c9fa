#include "text/bpe_train.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <queue>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/byte_letters.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_parts.h"

namespace moxie::text {
namespace {

constexpr uint64_t kMaxDistinctBytes = UINT32_MAX - 1;  // positions in them are 32 bits
constexpr int64_t kMaxVocab = int64_t{1} << 24;         // as many as the reader of tokenizer.json allows
constexpr uint64_t kWordsPerReport = 1 << 16;

Error bad_special(std::string_view token, const char* why) {
  return make_error(ErrorCode::usage, "special token \"{}\": {}", printable(token), why);
}

void check_specials(const std::vector<std::string>& specials) {
  std::set<std::string_view> seen;
  for (const std::string& token : specials) {
    if (token.empty() || token.size() > kMaxAddedBytes) throw bad_special(token, "expected 1 to 1024 bytes");
    if (utf8_error_offset(token) != std::string_view::npos) throw bad_special(token, "it is not UTF-8");
    if (!seen.insert(token).second) throw bad_special(token, "given twice");
    const auto bytes = bytes_of_letters(token);
    if (bytes && bytes->size() == 1) throw bad_special(token, "the file writes a single byte so");
  }
}

TokenFinder finder_of(const std::vector<std::string>& specials) {
  std::vector<AddedToken> tokens;
  for (const std::string& token : specials) tokens.push_back({.content = token, .sought = token, .special = true});
  return TokenFinder(tokens);
}

/// Learns the merges. The distinct words stand in a row, a position a byte, kNothing between them. A token's id stands
/// at its first and its last position, so that its neighbours are found from its own length and theirs.
class Trainer {
 public:
  Trainer(const WordCounts& words, const BpeTraining& training);
  TrainedBpe run(const std::function<void(double)>& on_progress);

 private:
  static constexpr int32_t kNothing = -1;
  struct Pair {
    int32_t left, right;
    uint64_t count = 0;
    std::vector<uint32_t> at;  // where it began at some time, ascending; some are gone
  };
  struct Candidate {
    uint64_t count;  // never less than the pair's own
    int32_t pair;
  };

  void lay_out();
  void appear(int32_t left, int32_t right, uint32_t at);
  void vanish(int32_t left, int32_t right, uint32_t at);
  void push(int32_t pair);
  Candidate pop();
  bool is_worse(const Candidate& a, const Candidate& b) const;
  void merge(int32_t pair, int32_t merged);
  uint64_t count_tokens() const;

  uint32_t length(int32_t token) const { return static_cast<uint32_t>(trained_.tokens.bytes(token).size()); }
  Pair& pair(int32_t id) { return pairs_[static_cast<size_t>(id)]; }
  uint64_t times(uint32_t at) const { return words_.count(word_of_[at]); }

  const WordCounts& words_;
  const int32_t vocab_size_;
  const uint64_t min_frequency_;
  TrainedBpe trained_;
  std::vector<int32_t> symbols_;
  std::vector<int32_t> word_of_;  // by position
  PairTable pair_ids_;            // Merge::id is an index into pairs_
  std::vector<Pair> pairs_;
  std::vector<Candidate> candidates_;  // a heap
};

Trainer::Trainer(const WordCounts& words, const BpeTraining& training)
    : words_(words), vocab_size_(training.vocab_size), min_frequency_(std::max<uint64_t>(training.min_frequency, 1)) {
  check_vocab_size(vocab_size_, words.specials().size());
  trained_.specials = words.specials();
  std::vector<std::string> letters;
  for (int byte = 0; byte < 256; ++byte) letters.push_back(letters_of_bytes(std::string(1, static_cast<char>(byte))));
  std::sort(letters.begin(), letters.end());
  for (int32_t id = 0; id < 256; ++id) trained_.tokens.add(*bytes_of_letters(letters[static_cast<size_t>(id)]), id);
}

void Trainer::lay_out() {
  std::array<int32_t, 256> of_byte;
  for (int32_t id = 0; id < 256; ++id) of_byte[static_cast<unsigned char>(trained_.tokens.bytes(id)[0])] = id;
  symbols_.reserve(words_.distinct_bytes() + 1);
  word_of_.reserve(words_.distinct_bytes() + 1);
  symbols_.push_back(kNothing);
  word_of_.push_back(kNothing);
  for (int32_t word = 0; word < words_.words().size(); ++word) {
    for (const char byte : words_.words().bytes(word)) symbols_.push_back(of_byte[static_cast<unsigned char>(byte)]);
    symbols_.push_back(kNothing);
    word_of_.resize(symbols_.size(), word);
  }
  for (uint32_t at = 1; at + 1 < symbols_.size(); ++at) {
    if (symbols_[at] != kNothing && symbols_[at + 1] != kNothing) appear(symbols_[at], symbols_[at + 1], at);
  }
}

void Trainer::appear(int32_t left, int32_t right, uint32_t at) {
  int32_t id = pair_ids_.find(left, right).id;
  if (id < 0) {
    id = static_cast<int32_t>(pairs_.size());
    pair_ids_.insert(left, right, {.id = id});
    pairs_.push_back({.left = left, .right = right});
  }
  pair(id).count += times(at);
  pair(id).at.push_back(at);
}

void Trainer::vanish(int32_t left, int32_t right, uint32_t at) {
  pair(pair_ids_.find(left, right).id).count -= times(at);
}

bool Trainer::is_worse(const Candidate& a, const Candidate& b) const {
  if (a.count != b.count) return a.count < b.count;
  const Pair& first = pairs_[static_cast<size_t>(a.pair)];
  const Pair& second = pairs_[static_cast<size_t>(b.pair)];
  const int left = trained_.tokens.bytes(first.left).compare(trained_.tokens.bytes(second.left));
  if (left != 0) return left < 0;
  return trained_.tokens.bytes(first.right) < trained_.tokens.bytes(second.right);
}

void Trainer::push(int32_t id) {
  if (pair(id).count < min_frequency_) return;
  candidates_.push_back({pair(id).count, id});
  std::push_heap(candidates_.begin(), candidates_.end(),
                 [this](const Candidate& a, const Candidate& b) { return is_worse(a, b); });
}

Trainer::Candidate Trainer::pop() {
  std::pop_heap(candidates_.begin(), candidates_.end(),
                [this](const Candidate& a, const Candidate& b) { return is_worse(a, b); });
  const Candidate top = candidates_.back();
  candidates_.pop_back();
  return top;
}

void Trainer::merge(int32_t id, int32_t merged) {
  const int32_t left = pair(id).left, right = pair(id).right;
  const size_t known = pairs_.size();
  std::vector<uint32_t> positions;
  positions.swap(pair(id).at);
  for (const uint32_t at : positions) {  // leftmost first, as encoding does
    const uint32_t middle = at + length(left);
    if (symbols_[at] != left || symbols_[middle] != right) continue;  // gone
    const uint32_t end = middle + length(right);
    const int32_t before = symbols_[at - 1], after = symbols_[end];
    vanish(left, right, at);
    if (before != kNothing) {
      vanish(before, left, at);
      appear(before, merged, at - length(before));
    }
    if (after != kNothing) {
      vanish(right, after, at);
      appear(merged, after, at);
    }
    symbols_[middle - 1] = symbols_[middle] = kNothing;
    symbols_[at] = symbols_[end - 1] = merged;
  }
  // Only pairs with the new token have grown, and all of them are new.
  for (size_t i = known; i < pairs_.size(); ++i) push(static_cast<int32_t>(i));
}

uint64_t Trainer::count_tokens() const {
  uint64_t tokens = words_.num_specials();
  for (uint32_t at = 1; at < symbols_.size();) {
    const bool is_token = symbols_[at] != kNothing;
    if (is_token) tokens += times(at);
    at += is_token ? length(symbols_[at]) : 1;
  }
  return tokens;
}

TrainedBpe Trainer::run(const std::function<void(double)>& on_progress) {
  lay_out();
  for (size_t i = 0; i < pairs_.size(); ++i) push(static_cast<int32_t>(i));
  // What a learned token may not look like in the file.
  std::set<std::string> taken;
  for (const std::string& token : trained_.specials) {
    if (const auto bytes = bytes_of_letters(token)) taken.insert(*bytes);
  }
  const int32_t first = trained_.vocab_size();
  while (trained_.vocab_size() < vocab_size_ && !candidates_.empty()) {
    const Candidate best = pop();
    const auto [left, right] = std::pair(pair(best.pair).left, pair(best.pair).right);
    if (pair(best.pair).count != best.count) {  // it shrank since
      push(best.pair);
      continue;
    }
    std::string bytes(trained_.tokens.bytes(left));
    bytes += trained_.tokens.bytes(right);
    if (bytes.size() > kMaxMergedBytes || taken.contains(bytes)) continue;
    // The token is new: bytes that stand alone between borders merge the same way wherever they are, so that no two
    // pairs make the same token.
    const int32_t merged = trained_.tokens.size();
    MOXIE_CHECK(trained_.tokens.add(bytes, merged));
    trained_.merges.emplace_back(left, right);
    merge(best.pair, merged);
    if (on_progress) on_progress(static_cast<double>(trained_.vocab_size() - first) / (vocab_size_ - first));
  }
  trained_.text_tokens = count_tokens();
  return std::move(trained_);
}

json::Value byte_level() {
  json::Value part;
  part.set("type", "ByteLevel").set("add_prefix_space", false).set("trim_offsets", true).set("use_regex", true);
  return part;
}

json::Value added_token(const std::string& content, int32_t id) {
  json::Value token;
  token.set("id", id).set("content", content);
  for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"}) token.set(flag, false);
  token.set("special", true);
  return token;
}

}  // namespace

WordCounts::WordCounts(std::vector<std::string> specials) : specials_(std::move(specials)) {
  check_specials(specials_);
}

void WordCounts::add_word(std::string_view word) {
  int32_t id = words_.find(word);
  if (id < 0) {
    id = words_.size();
    distinct_bytes_ += word.size() + 1;
    if (distinct_bytes_ > kMaxDistinctBytes) {
      throw make_error(ErrorCode::does_not_fit, "more than 4 GiB of distinct words: train on less text");
    }
    words_.add(word, id);
    counts_.push_back(0);
  }
  ++counts_[static_cast<size_t>(id)];
  ++num_words_;
}

void WordCounts::add(std::string_view text, const std::function<void(uint64_t)>& on_progress) {
  const TokenFinder finder = finder_of(specials_);
  const PreTokenizer stages = {Split{.pattern = {.regex = Regex(kGpt2Pattern, "GPT-2's pattern")}}};
  const char* const begin = text.data();
  PreTokenizerRun run(stages, [&](std::string_view word) {
    add_word(word);
    if (on_progress && num_words_ % kWordsPerReport == 0) on_progress(static_cast<uint64_t>(word.data() - begin));
  });
  while (!text.empty()) {
    const size_t valid = std::min(first_invalid_utf8(text), text.size());
    finder.split(
        text.substr(0, valid), [&](std::string_view piece) { run.split(piece, false); },
        [&](int32_t) { ++num_specials_; });
    size_t end = valid;
    while (end < text.size() && first_invalid_utf8(text.substr(end, 4)) == 0) ++end;
    if (end > valid) add_word(text.substr(valid, end - valid));
    text.remove_prefix(end);
  }
}

void check_vocab_size(int64_t vocab_size, size_t num_specials) {
  const auto least = static_cast<int64_t>(256 + num_specials);
  if (vocab_size >= least && vocab_size <= kMaxVocab) return;
  throw make_error(ErrorCode::usage, "a vocabulary of {}: expected {} (256 bytes and {} special tokens) to {}",
                   vocab_size, least, num_specials, kMaxVocab);
}

TrainedBpe train_bpe(const WordCounts& words, const BpeTraining& training,
                     const std::function<void(double)>& on_progress) {
  return Trainer(words, training).run(on_progress);
}

std::string tokenizer_json(const TrainedBpe& trained) {
  json::Value added = json::Array(), vocab = json::Object(), merges = json::Array();
  for (const std::string& token : trained.specials) {
    const int32_t id = static_cast<int32_t>(vocab.members().size());
    added.push(added_token(token, id));
    vocab.set(token, id);
  }
  const auto letters = [&](int32_t id) { return letters_of_bytes(trained.tokens.bytes(id)); };
  for (int32_t id = 0; id < trained.tokens.size(); ++id) {
    vocab.set(letters(id), static_cast<int32_t>(trained.specials.size()) + id);
  }
  for (const auto& [left, right] : trained.merges) merges.push(letters(left) + " " + letters(right));

  json::Value model;
  model.set("type", "BPE");
  for (const char* absent : {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"}) {
    model.set(absent, json::Value());
  }
  model.set("fuse_unk", false).set("byte_fallback", false).set("ignore_merges", false);
  model.set("vocab", std::move(vocab)).set("merges", std::move(merges));

  json::Value root;
  root.set("version", "1.0").set("truncation", json::Value()).set("padding", json::Value());
  root.set("added_tokens", std::move(added)).set("normalizer", json::Value()).set("pre_tokenizer", byte_level());
  root.set("post_processor", json::Value()).set("decoder", byte_level()).set("model", std::move(model));
  return root.dump(1);
}

std::string tokenizer_config_json(const TrainedBpe& trained) {
  json::Value config;
  config.set("tokenizer_class", "PreTrainedTokenizerFast").set("clean_up_tokenization_spaces", false);
  if (!trained.specials.empty()) config.set("eos_token", trained.specials.front());
  return config.dump(1);
}

}  // namespace moxie::text
