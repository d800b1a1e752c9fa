#include "train/token_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/json.h"

namespace moxie {
namespace {

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// The member `field` of every line, joined by newlines.
std::string read_jsonl(std::string_view lines, const std::string& field, const std::string& path) {
  std::string text;
  int64_t number = 0;
  for (size_t begin = 0, end = 0; begin < lines.size(); begin = end + 1) {
    end = std::min(lines.find('\n', begin), lines.size());
    const std::string_view line = lines.substr(begin, end - begin);
    ++number;
    if (std::all_of(line.begin(), line.end(), is_space)) continue;
    const std::string where = fmt::format("{}:{}", path, number);
    const json::Value value = json::parse(line, {.source = where, .base_offset = begin});
    const json::Value* member = value.find(field);
    if (member == nullptr || !member->is_string()) {
      throw invalid({.where = fmt::format("{}: byte {}", where, begin),
                     .expected = fmt::format("an object whose \"{}\" is a string", printable(field)),
                     .got = member == nullptr ? "no such member" : std::string(json::type_name(member->type())),
                     .hint = "data.domains.field names the member that holds the text"});
    }
    if (!text.empty()) text += '\n';
    text += member->as_string();
  }
  return text;
}

template <typename Id>
void widen(const char* data, int64_t count, int32_t* ids) {
  for (int64_t i = 0; i < count; ++i) {
    Id id;
    std::memcpy(&id, data + static_cast<size_t>(i) * sizeof(Id), sizeof(Id));
    ids[i] = static_cast<int32_t>(id);
  }
}

void widen(const char* data, int width, int64_t count, int32_t* ids) {
  if (width == 1) return widen<uint8_t>(data, count, ids);
  if (width == 2) return widen<uint16_t>(data, count, ids);
  widen<uint32_t>(data, count, ids);
}

void check_ids(const char* data, int width, int64_t count, int64_t vocab_size, const std::string& path) {
  if (width < 4 && (int64_t{1} << (8 * width)) <= vocab_size) return;
  std::vector<int32_t> ids(4096);
  for (int64_t begin = 0; begin < count; begin += 4096) {
    const int64_t some = std::min<int64_t>(4096, count - begin);
    widen(data + begin * width, width, some, ids.data());
    for (int64_t i = 0; i < some; ++i) {
      const auto id = static_cast<uint32_t>(ids[static_cast<size_t>(i)]);
      if (id < vocab_size) continue;
      throw invalid({.where = fmt::format("{}: token {} at byte {}", path, begin + i, (begin + i) * width),
                     .expected = fmt::format("an id below {}", vocab_size),
                     .got = fmt::format("{}", id),
                     .hint = "model.vocab_size must be that of the tokenizer that wrote the file"});
    }
  }
}

}  // namespace

TokenStream::TokenStream(const DataDomain& domain, const Tokenizer* tokenizer, int64_t vocab_size) {
  for (const std::string& path : domain.paths) add_file(path, domain, tokenizer, vocab_size);
}

void TokenStream::add_file(const std::string& path, const DataDomain& domain, const Tokenizer* tokenizer,
                           int64_t vocab_size) {
  files_.push_back(MappedFile::open(path));
  const MappedFile& file = *files_.back();
  if (file.bytes().empty()) throw invalid({.where = path, .expected = "training text", .got = "an empty file"});
  if (path.ends_with(".bin")) return add_mapped(file, 2, vocab_size);
  if (path.ends_with(".u32")) return add_mapped(file, 4, vocab_size);
  if (path.ends_with(".jsonl")) {
    std::string text = read_jsonl(file.bytes(), domain.field, path);
    if (tokenizer != nullptr) return add_text(text, *tokenizer, path, vocab_size);
    return add_bytes(std::move(text), path, vocab_size);
  }
  if (tokenizer != nullptr) return add_text(file.bytes(), *tokenizer, path, vocab_size);
  add_mapped(file, 1, vocab_size);
}

void TokenStream::add_mapped(const MappedFile& file, int width, int64_t vocab_size) {
  const std::string_view bytes = file.bytes();
  if (bytes.size() % static_cast<size_t>(width) != 0) {
    throw invalid({.where = file.path().string(),
                   .expected = fmt::format("token ids of {} bytes each", width),
                   .got = fmt::format("{} bytes", bytes.size()),
                   .hint = "The file is cut short, or holds no token ids"});
  }
  add({.count = static_cast<int64_t>(bytes.size()) / width, .data = bytes.data(), .width = width, .file = &file},
      file.path().string(), vocab_size);
}

void TokenStream::add_text(std::string_view text, const Tokenizer& tokenizer, const std::string& path,
                           int64_t vocab_size) {
  // As one: piece by piece, a tokenizer that puts a space before a text would put one at every seam.
  auto ids =
      std::make_shared<std::vector<int32_t>>(tokenizer.encode(text, {.add_special = false, .parse_special = false}));
  ids->shrink_to_fit();
  add({.count = static_cast<int64_t>(ids->size()),
       .data = reinterpret_cast<const char*>(ids->data()),
       .width = 4,
       .owner = ids},
      path, vocab_size);
}

void TokenStream::add_bytes(std::string text, const std::string& path, int64_t vocab_size) {
  const auto owner = std::make_shared<const std::string>(std::move(text));
  add({.count = static_cast<int64_t>(owner->size()), .data = owner->data(), .width = 1, .owner = owner}, path,
      vocab_size);
}

void TokenStream::add(Segment segment, const std::string& path, int64_t vocab_size) {
  check_ids(segment.data, segment.width, segment.count, vocab_size, path);
  if (segment.count == 0) return;
  segment.begin = size_;
  size_ += segment.count;
  segments_.push_back(std::move(segment));
}

void TokenStream::read(int64_t begin, int64_t count, int32_t* ids) const {
  MOXIE_CHECK(begin >= 0 && count >= 0 && begin + count <= size_);
  auto segment = std::upper_bound(segments_.begin(), segments_.end(), begin,
                                  [](int64_t position, const Segment& one) { return position < one.begin; });
  for (--segment; count > 0; ++segment) {
    if (segment->file != nullptr) segment->file->check_unchanged();
    const int64_t offset = begin - segment->begin;
    const int64_t some = std::min(count, segment->count - offset);
    widen(segment->data + offset * segment->width, segment->width, some, ids);
    begin += some;
    count -= some;
    ids += some;
  }
}

}  // namespace moxie
