#include "text/bpe.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"
#include "text/byte_letters.h"
#include "text/rank_queue.h"

namespace moxie::text {
namespace {

constexpr size_t kShortWord = 96;  // up to here a linear scan for the best pair beats any queue

}  // namespace

Bpe::Bpe(Vocab vocab, PairTable merges, BpeOptions options)
    : vocab_(std::move(vocab)), merges_(std::move(merges)), options_(options) {
  for (int i = 0; i < 256; ++i) {
    const char byte = static_cast<char>(i);
    const bool is_symbol = options_.byte_level || i < 128;
    byte_symbol_[static_cast<size_t>(i)] = is_symbol ? vocab_.find({&byte, 1}) : -1;
    fallback_[static_cast<size_t>(i)] = options_.byte_fallback ? vocab_.find(fmt::format("<0x{:02X}>", i)) : -1;
  }
}

int32_t Bpe::find(std::string_view token) const {
  if (!options_.byte_level) return vocab_.find(token);
  const std::optional<std::string> bytes = bytes_of_letters(token);
  return bytes ? vocab_.find(*bytes) : -1;
}

// At most one symbol for each byte of the word.
size_t Bpe::symbols(std::string_view word, int32_t* out) const {
  size_t count = 0;
  bool after_unk = false;
  for (size_t i = 0; i < word.size();) {
    int length = 1;
    int32_t id = byte_symbol_[static_cast<unsigned char>(word[i])];
    if (!options_.byte_level && static_cast<unsigned char>(word[i]) >= 0x80) {
      length = utf8_sequence_length(word, i);
      MOXIE_CHECK(length > 0);
      id = vocab_.find(word.substr(i, static_cast<size_t>(length)));
    }
    const std::string_view symbol = word.substr(i, static_cast<size_t>(length));
    i += static_cast<size_t>(length);
    if (id < 0 && options_.byte_fallback && std::all_of(symbol.begin(), symbol.end(), [&](char c) {
          return fallback_[static_cast<unsigned char>(c)] >= 0;
        })) {
      for (const char c : symbol) out[count++] = fallback_[static_cast<unsigned char>(c)];
      after_unk = false;
      continue;
    }
    const bool unknown = id < 0;
    if (unknown && (options_.unk < 0 || (after_unk && options_.fuse_unk))) continue;
    out[count++] = unknown ? options_.unk : id;
    after_unk = unknown;
  }
  return count;
}

void Bpe::encode(std::string_view word, std::vector<int32_t>& ids) const {
  if (options_.ignore_merges) {
    if (const int32_t id = vocab_.find(word); id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  if (word.size() <= kShortWord) {
    int32_t buffer[kShortWord];
    const size_t count = symbols(word, buffer);
    merge_short(buffer, count, ids);
  } else {
    std::vector<int32_t> buffer(word.size());
    buffer.resize(symbols(word, buffer.data()));
    merge_long(buffer, ids);
  }
}

void Bpe::merge_short(int32_t* symbols, size_t count, std::vector<int32_t>& ids) const {
  uint32_t ranks[kShortWord];  // of the merge of symbols i and i + 1, and what it makes; not initialised: this is hot
  int32_t merged[kShortWord];
  const auto look_up = [&](size_t i) {
    const Merge merge = merges_.find(symbols[i], symbols[i + 1]);
    ranks[i] = merge.rank;
    merged[i] = merge.id;
  };
  for (size_t i = 0; i + 1 < count; ++i) look_up(i);
  if (count > 0) ranks[count - 1] = UINT32_MAX, merged[count - 1] = -1;  // the shift below moves these too
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == UINT32_MAX) break;
    symbols[best] = merged[best];
    --count;
    for (size_t i = best + 1; i < count; ++i) {
      symbols[i] = symbols[i + 1];
      ranks[i] = ranks[i + 1];
      merged[i] = merged[i + 1];
    }
    if (best > 0) look_up(best - 1);
    if (best + 1 < count) look_up(best);
  }
  ids.insert(ids.end(), symbols, symbols + count);
}

void Bpe::merge_long(const std::vector<int32_t>& symbols, std::vector<int32_t>& ids) const {
  if (symbols.size() >= UINT32_MAX) {
    throw make_error(ErrorCode::does_not_fit, "a word of {} symbols is too long to encode", symbols.size());
  }
  struct Node {
    int32_t id;  // -1: merged into the node before
    uint32_t previous, next;
  };
  const auto count = static_cast<uint32_t>(symbols.size());
  std::vector<Node> nodes(count);
  for (uint32_t i = 0; i < count; ++i) nodes[i] = {symbols[i], i - 1, i + 1};
  RankQueue queue;
  const auto pair_at = [&](uint32_t i) {
    return nodes[i].next < count ? merges_.find(nodes[i].id, nodes[nodes[i].next].id) : Merge{};
  };
  const auto offer = [&](uint32_t i) {
    const Merge merge = pair_at(i);
    if (merge.rank != UINT32_MAX) queue.push(merge.rank, i);
  };
  for (uint32_t i = 0; i + 1 < count; ++i) offer(i);
  while (!queue.empty()) {
    const RankQueue::Item item = queue.pop();
    Node& node = nodes[item.position];
    if (node.id < 0) continue;
    const Merge merge = pair_at(item.position);
    if (merge.rank != item.rank) continue;  // a neighbour changed since
    node.id = merge.id;
    nodes[node.next].id = -1;
    node.next = nodes[node.next].next;
    if (node.next < count) nodes[node.next].previous = item.position;
    if (node.previous < count) offer(node.previous);
    offer(item.position);
  }
  for (uint32_t i = 0; i < count; i = nodes[i].next) ids.push_back(nodes[i].id);
}

std::vector<ListedMerge> list_merges(const PairTable& merges) {
  std::vector<ListedMerge> list;
  list.reserve(merges.size());
  merges.for_each([&](int32_t left, int32_t right, const Merge& merge) {
    list.push_back({merge.rank, merge.id, left, right});
  });
  std::sort(list.begin(), list.end());
  return list;
}

PairTable merges_from_ranks(const Vocab& vocab, const std::vector<uint32_t>& rank) {
  PairTable merges;
  merges.reserve(static_cast<size_t>(vocab.size()) * 2);
  for (int32_t id = 0; id < vocab.size(); ++id) {
    const std::string_view bytes = vocab.bytes(id);
    if (rank[static_cast<size_t>(id)] == UINT32_MAX) continue;
    MOXIE_CHECK(bytes.size() <= kMaxMergedBytes);
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      const int32_t left = vocab.find(bytes.substr(0, cut));
      if (left < 0 || rank[static_cast<size_t>(left)] == UINT32_MAX) continue;
      const int32_t right = vocab.find(bytes.substr(cut));
      if (right < 0 || rank[static_cast<size_t>(right)] == UINT32_MAX) continue;
      merges.insert(left, right, {rank[static_cast<size_t>(id)], id});
    }
  }
  return merges;
}

}  // namespace moxie::text
