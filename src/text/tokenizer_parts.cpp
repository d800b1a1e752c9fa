#include "text/tokenizer_parts.h"

#include <algorithm>

#include "text/unicode.h"

namespace moxie::text {

std::string_view Parts::content(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= added_of.size()) return {};
  const int32_t index = added_of[static_cast<size_t>(id)];
  return index >= 0 ? std::string_view(added[static_cast<size_t>(index)].content) : bpe.vocab().bytes(id);
}

std::optional<int32_t> Parts::find(std::string_view token) const {
  for (const AddedToken& candidate : added) {
    if (candidate.content == token) return candidate.id;
  }
  if (first_invalid_utf8(token) != std::string_view::npos) return std::nullopt;
  const int32_t id = bpe.find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

void Parts::finish() {
  int32_t size = bpe.vocab().size();
  for (const AddedToken& token : added) size = std::max(size, token.id + 1);
  special.assign(static_cast<size_t>(size), false);
  added_of.assign(static_cast<size_t>(size), -1);
  pieces.assign(static_cast<size_t>(size), {});
  std::vector<AddedToken> sets[4];
  for (size_t i = 0; i < added.size(); ++i) {
    AddedToken& token = added[i];
    added_of[static_cast<size_t>(token.id)] = static_cast<int32_t>(i);
    special[static_cast<size_t>(token.id)] = token.special;
    if (token.sought.empty()) {
      std::string buffer;
      token.sought = token.normalized ? normalizer.apply(token.content, buffer) : std::string_view(token.content);
      if (token.sought.empty()) continue;  // the normalizer leaves nothing to look for
    }
    sets[token.normalized].push_back(token);
    if (!is_control(token)) sets[2 + token.normalized].push_back(token);
  }
  raw.emplace(sets[0]);
  normalized.emplace(sets[1]);
  raw_plain.emplace(sets[2]);
  normalized_plain.emplace(sets[3]);
  // A byte-level vocabulary already holds bytes: the file's letters were translated when it was read.
  for (int32_t id = 0; id < size; ++id) {
    const auto index = static_cast<size_t>(id);
    const bool is_bytes = added_of[index] < 0 && bpe.options().byte_level;
    pieces[index] = is_bytes ? std::string(content(id)) : decoder.piece(content(id), false);
  }
}

void split_at_markers(Parts& parts, std::string_view marker) {
  const Vocab& vocab = parts.bpe.vocab();
  if (vocab.find(marker) < 0 || parts.bpe.options().ignore_merges) return;
  for (int32_t id = 0; id < vocab.size(); ++id) {
    std::string_view bytes = vocab.bytes(id);
    while (bytes.starts_with(marker)) bytes.remove_prefix(marker.size());
    if (bytes.find(marker) != std::string_view::npos) return;
  }
  parts.pre_tokenizer.emplace_back(MarkerSplit{std::string(marker)});
}

}  // namespace moxie::text
