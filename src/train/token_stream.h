// The files of one domain as one row of token ids: mapped where the bytes are the ids, else tokenised. No order of
// samples.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "text/tokenizer.h"
#include "train/config.h"

namespace moxie {

class TokenStream {
 public:
  TokenStream() = default;
  /// Opens the files of a domain, one after another. `tokenizer` null: bytes are ids. Throws Error{invalid} naming
  /// file and offset: a file that cannot be mapped, an empty one, a bad JSONL line, an id beyond the vocabulary.
  TokenStream(const DataDomain& domain, const Tokenizer* tokenizer, int64_t vocab_size);

  int64_t size() const { return size_; }
  /// Ids [begin, begin + count). Throws Error{invalid} if a mapped file has shrunk since.
  void read(int64_t begin, int64_t count, int32_t* ids) const;
  const std::vector<std::shared_ptr<const MappedFile>>& files() const { return files_; }

 private:
  struct Segment {
    int64_t begin, count;
    const char* data;
    int width;               // bytes of an id
    const MappedFile* file;  // null: `owner` holds the ids
    std::shared_ptr<const void> owner;
  };
  void add_file(const std::string& path, const DataDomain& domain, const Tokenizer* tokenizer, int64_t vocab_size);
  void add_mapped(const MappedFile& file, int width, int64_t vocab_size);
  void add_text(std::string_view text, const Tokenizer& tokenizer, const std::string& path, int64_t vocab_size);
  void add_bytes(std::string text, const std::string& path, int64_t vocab_size);
  void add(Segment segment, const std::string& path, int64_t vocab_size);

  std::vector<Segment> segments_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  int64_t size_ = 0;
};

}  // namespace moxie
