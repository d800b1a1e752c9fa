#include "text/tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"
#include "text/word_cache.h"

namespace moxie {
namespace text {
namespace {

class Encoder {
 public:
  Encoder(const Parts& parts, const EncodeOptions& options, size_t text_bytes, std::vector<int32_t>& ids)
      : parts_(parts),
        raw_(options.parse_special ? *parts.raw : *parts.raw_plain),
        normalized_(options.parse_special ? *parts.normalized : *parts.normalized_plain),
        cache_(text_bytes),
        ids_(ids),
        run_(parts.pre_tokenizer, [this](std::string_view word) { encode_word(word); }) {}

  /// Valid UTF-8.
  void encode(std::string_view text) {
    if (raw_.empty()) {
      encode_segment(text, true);
      return;
    }
    bool at_start = true;
    raw_.split(
        text,
        [&](std::string_view segment) {
          encode_segment(segment, at_start);
          at_start = false;
        },
        [&](int32_t id) {
          ids_.push_back(id);
          at_start = false;
        });
  }

  /// One stretch: `control` finds tokens in it, or is null for a user's text. Text waits for what joins it.
  void add_stretch(std::string_view text, const TokenFinder* control) {
    if (control == nullptr || control->empty()) {
      waiting_ += text;
      return;
    }
    control->split(
        text, [&](std::string_view segment) { waiting_ += segment; },
        [&](int32_t id) {
          flush();
          ids_.push_back(id);
          anything_ = true;
        });
  }

  /// Encodes the text that waits.
  void flush() {
    if (waiting_.empty()) return;
    std::string whole, held;
    append_whole_utf8(whole, held, waiting_);
    if (!held.empty()) whole += kReplacement;
    encode_segment(whole, !anything_);
    anything_ = true;
    waiting_.clear();
  }

  void encode_word(std::string_view word) {
    if (word.size() > WordCache::kMaxWord) {
      parts_.bpe.encode(word, ids_);
      return;
    }
    bool found = false;
    WordCache::Slot& slot = cache_.slot(word, found);
    if (!found) {
      const size_t begin = ids_.size();
      parts_.bpe.encode(word, ids_);
      slot.count = static_cast<uint32_t>(ids_.size() - begin);
      slot.value = slot.count == 1 ? static_cast<size_t>(ids_[begin]) : begin;
    } else if (slot.count == 1) {
      ids_.push_back(static_cast<int32_t>(slot.value));
    } else if (slot.count > 0) {
      const size_t end = ids_.size();
      ids_.resize(end + slot.count);
      std::copy_n(&ids_[slot.value], slot.count, &ids_[end]);
    }
  }

 private:
  void encode_segment(std::string_view segment, bool at_start) {
    const std::string_view text = parts_.normalizer.apply(segment, buffer_);
    if (normalized_.empty()) {
      run_.split(text, at_start);
      return;
    }
    normalized_.split(
        text,
        [&](std::string_view piece) {
          run_.split(piece, at_start);
          at_start = false;
        },
        [&](int32_t id) {
          ids_.push_back(id);
          at_start = false;
        });
  }

  const Parts& parts_;
  const TokenFinder& raw_;
  const TokenFinder& normalized_;
  WordCache cache_;
  std::vector<int32_t>& ids_;
  std::string buffer_;     // the segment, normalised
  std::string waiting_;    // stretches whose end is not known yet
  bool anything_ = false;  // of the prompt has been encoded
  PreTokenizerRun run_;
};

}  // namespace
}  // namespace text

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 16);
  if (options.add_special) ids = parts_->prefix;
  std::string whole;
  size_t bad = text::first_invalid_utf8(text);
  if (bad != std::string_view::npos && !parts_->bpe.options().byte_level) {
    std::string held;
    text::append_whole_utf8(whole, held, text);
    if (!held.empty()) whole += text::kReplacement;
    text = whole;
    bad = std::string_view::npos;
  }
  text::Encoder encoder(*parts_, options, text.size(), ids);
  while (bad != std::string_view::npos) {
    if (bad > 0) encoder.encode(text.substr(0, bad));
    size_t end = bad + 1;
    while (end < text.size() && text::first_invalid_utf8(text.substr(end, 4)) == 0) ++end;
    encoder.encode_word(text.substr(bad, end - bad));
    text.remove_prefix(end);
    bad = text::first_invalid_utf8(text);
  }
  encoder.encode(text);
  if (options.add_special) ids.insert(ids.end(), parts_->suffix.begin(), parts_->suffix.end());
  return ids;
}

std::vector<int32_t> Tokenizer::encode(std::span<const MarkedText> stretches) const {
  std::vector<int32_t> ids;
  size_t bytes = 0;
  for (const MarkedText& stretch : stretches) bytes += stretch.text.size();
  text::Encoder encoder(*parts_, {.parse_special = false}, bytes, ids);
  std::string joined;  // a control token may span two stretches of the template
  for (size_t i = 0; i < stretches.size(); ++i) {
    joined += stretches[i].text;
    if (i + 1 < stretches.size() && stretches[i + 1].from_user == stretches[i].from_user) continue;
    encoder.add_stretch(joined, stretches[i].from_user ? nullptr : &*parts_->raw);
    joined.clear();
  }
  encoder.flush();
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  StreamDecoder decoder(*this, skip_special);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

std::string Tokenizer::token_bytes(int32_t id) const {
  if (id < 0 || id >= vocab_size()) return {};
  return parts_->pieces[static_cast<size_t>(id)];
}

bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && id < vocab_size() && parts_->special[static_cast<size_t>(id)];
}

int32_t Tokenizer::vocab_size() const {
  return static_cast<int32_t>(parts_->pieces.size());
}
std::optional<int32_t> Tokenizer::bos() const {
  return parts_->bos;
}
std::optional<int32_t> Tokenizer::eos() const {
  return parts_->eos;
}

std::optional<int32_t> Tokenizer::find(std::string_view token) const {
  return parts_->find(token);
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(tokenizer), skip_special_(skip_special), left_to_strip_(tokenizer_.parts_->decoder.strip_start()) {}

std::string StreamDecoder::push(int32_t id) {
  if (id < 0 || id >= tokenizer_.vocab_size() || (skip_special_ && tokenizer_.is_special(id))) return {};
  const text::Parts& parts = *tokenizer_.parts_;
  std::string first_piece;
  std::string_view bytes = parts.pieces[static_cast<size_t>(id)];
  if (first_ && !parts.bpe.options().byte_level) {
    first_piece = parts.decoder.piece(parts.content(id), true);
    bytes = first_piece;
  }
  first_ = false;
  while (left_to_strip_ > 0 && !bytes.empty()) {
    const std::string& strip = parts.decoder.strip_content();
    if (!bytes.starts_with(strip)) {
      left_to_strip_ = 0;
    } else {
      bytes.remove_prefix(strip.size());
      --left_to_strip_;
    }
  }
  std::string out;
  text::append_whole_utf8(out, held_, bytes);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out(held_.empty() ? std::string_view() : text::kReplacement);
  held_.clear();
  first_ = true;
  left_to_strip_ = tokenizer_.parts_->decoder.strip_start();
  return out;
}

}  // namespace moxie
