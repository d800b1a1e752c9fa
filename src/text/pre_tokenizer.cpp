#include "text/pre_tokenizer.h"

#include "base/error.h"

namespace moxie::text {

PreTokenizerRun::PreTokenizerRun(const PreTokenizer& stages, OnWord on_word)
    : stages_(stages), on_word_(std::move(on_word)), matchers_(stages.size()) {
  for (size_t i = 0; i < stages_.size(); ++i) {
    const auto* split = std::get_if<Split>(&stages_[i]);
    if (split != nullptr && split->pattern.regex) matchers_[i].emplace(*split->pattern.regex);
  }
}

void PreTokenizerRun::stage(size_t index, std::string_view piece, bool at_start) {
  if (piece.empty()) return;
  if (index == stages_.size()) {
    on_word_(piece);
    return;
  }
  std::visit([&](const auto& stage) { apply(stage, index, piece, at_start); }, stages_[index]);
}

void PreTokenizerRun::apply(const Split& split, size_t index, std::string_view piece, bool at_start) {
  const auto emit = [&](size_t begin, size_t end) {
    stage(index + 1, piece.substr(begin, end - begin), at_start && begin == 0);
  };
  Regex::Matcher* matcher = matchers_[index] ? &*matchers_[index] : nullptr;
  if (split.behavior == SplitBehavior::isolated) {
    for_each_span(split.pattern, matcher, piece, [&](size_t begin, size_t end, bool) { emit(begin, end); });
    return;
  }
  // One span waits until it is known whether the next one joins it.
  size_t waiting_begin = 0, waiting_end = 0;
  bool waiting = false, waiting_match = false;
  for_each_span(split.pattern, matcher, piece, [&](size_t begin, size_t end, bool is_match) {
    const bool match = is_match != split.invert;
    if (split.behavior == SplitBehavior::removed) {
      if (!match) emit(begin, end);
      return;
    }
    bool join = waiting_match == match;
    if (split.behavior == SplitBehavior::merged_with_previous) join = match && !waiting_match;
    if (split.behavior == SplitBehavior::merged_with_next) join = waiting_match && !match;
    if (waiting && !join) emit(waiting_begin, waiting_end);
    if (!waiting || !join) waiting_begin = begin;
    waiting_end = end;
    waiting = true;
    waiting_match = match;
  });
  if (waiting) emit(waiting_begin, waiting_end);
}

void PreTokenizerRun::apply(const PrefixSpace&, size_t index, std::string_view piece, bool at_start) {
  if (piece.starts_with(' ')) {
    stage(index + 1, piece, at_start);
    return;
  }
  std::string text = " ";
  text += piece;
  stage(index + 1, text, at_start);
}

void PreTokenizerRun::apply(const Metaspace& metaspace, size_t index, std::string_view piece, bool at_start) {
  std::string text;
  const bool wanted =
      metaspace.prepend == Metaspace::Prepend::always || (metaspace.prepend == Metaspace::Prepend::first && at_start);
  if (wanted && !piece.starts_with(' ') && !piece.starts_with(metaspace.replacement)) text = metaspace.replacement;
  for (const char c : piece) {
    if (c == ' ') {
      text += metaspace.replacement;
    } else {
      text += c;
    }
  }
  const std::string_view all = text;
  size_t begin = 0;
  while (metaspace.split) {
    const size_t end = all.find(metaspace.replacement, begin + 1);
    if (end == std::string_view::npos) break;
    stage(index + 1, all.substr(begin, end - begin), at_start && begin == 0);
    begin = end;
  }
  stage(index + 1, all.substr(begin), at_start && begin == 0);
}

void PreTokenizerRun::apply(const MarkerSplit& split, size_t index, std::string_view piece, bool at_start) {
  const std::string& marker = split.marker;
  size_t begin = 0;
  size_t from = 0;
  while (true) {
    while (piece.substr(from).starts_with(marker)) from += marker.size();
    const size_t end = piece.find(marker, from);
    if (end == std::string_view::npos) break;
    stage(index + 1, piece.substr(begin, end - begin), at_start && begin == 0);
    begin = from = end;
  }
  stage(index + 1, piece.substr(begin), at_start && begin == 0);
}

}  // namespace moxie::text
