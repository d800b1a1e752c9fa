// GGUF: files and split sets as metadata and named, mapped tensors, and the writer. Knows no model: keys and names are
// text. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "store/safetensors.h"

namespace moxie {

/// A checked header: the tensors, sorted by name, tile the data without overlap; between them lies padding only.
struct GgufHeader {
  /// One object, keys unique and in file order. Integers of every width are integers, f32 and f64 numbers (NaN and
  /// infinity included), arrays arrays; offset() of a value is its first byte in the file (of a string or array: of its
  /// length or item type), key_offset that of the key's length.
  json::Value metadata;
  std::vector<TensorRange> tensors;  // shapes outermost first: the file lists dimensions the other way round
  size_t metadata_end = 0;           // byte of the file after the last metadata value
  int64_t data_begin = 0;            // byte of the file where the data starts
  uint32_t version = 0;
  uint32_t alignment = 0;  // of the data and of every tensor in it
};

/// Checks the header of a whole file in memory; of the data nothing is read but the padding at its end. `source` names
/// the file in errors. Throws Error{invalid} naming source, field and byte offset. Limits: keys 65,535 bytes, names 63,
/// rank 1 to 4, dimensions of at least 1, arrays 8 deep, 4,194,304 metadata values (items of arrays included).
/// Time: linear (plus the sort of names); memory: some 60 bytes and its text a metadata value, a few hundred a tensor.
GgufHeader parse_gguf_header(std::string_view file_bytes, const std::string& source);

/// Whether a file is called as GGUF files are: .gguf, or .moxie with packed rows.
bool has_gguf_name(const std::filesystem::path& file);

/// One GGUF file, or all parts of a split set, mapped. Nothing is copied.
class GgufFile {
 public:
  /// `path` is a whole file or the first part, NAME-00001-of-000NN.gguf, of a split set, whose other parts are then
  /// opened and joined. Throws Error{invalid}: not a regular file, not GGUF (and what it is instead), a fault of a
  /// header, a part that is missing or of another set.
  static GgufFile open(const std::filesystem::path& path);

  /// As GgufHeader::metadata; of a split set, that of the first part (the others have none of their own).
  const json::Value& metadata() const { return metadata_; }
  const std::vector<TensorEntry>& entries() const { return entries_; }                  // sorted by name
  const std::vector<std::shared_ptr<const MappedFile>>& maps() const { return maps_; }  // one a part, in order

  /// The type and the value of member `index` of the metadata as they stand in the file, to be copied.
  std::string_view metadata_bytes(size_t index) const;

  /// What to call the file in messages about its metadata: the path that was opened.
  std::string source() const { return maps_.front()->path().string(); }

 private:
  std::vector<std::shared_ptr<const MappedFile>> maps_;
  json::Value metadata_;
  size_t metadata_end_ = 0;
  std::vector<TensorEntry> entries_;
};

/// Metadata to be written, in the order of the calls. GGUF tells integers of different widths apart, so the type is
/// always spelled: `metadata.set<uint32_t>("llama.block_count", 32)`. Keys: 1 to 65,535 bytes of UTF-8 without NUL,
/// each once, and not "general.alignment", which belongs to the writer (CHECKed).
class GgufMetadata {
 public:
  /// T: bool, float, double, or an integer of 8 to 64 bits.
  template <typename T>
  GgufMetadata& set(std::string_view key, std::type_identity_t<T> value);
  GgufMetadata& set_string(std::string_view key, std::string_view text);  // UTF-8 (CHECKed)

  template <typename T>
  GgufMetadata& set_array(std::string_view key, std::span<const T> values);
  GgufMetadata& set_strings(std::string_view key, std::span<const std::string> texts);

  /// Member `index` of the metadata of a file that is read, type and value as they stand there.
  GgufMetadata& copy(const GgufFile& file, size_t index);

  bool has(std::string_view key) const { return keys_.contains(std::string(key)); }

 private:
  friend class GgufWriter;
  void add_key(std::string_view key, uint32_t type);
  std::string bytes_;  // as they stand in the file
  uint64_t count_ = 0;
  std::unordered_set<std::string> keys_;
};

/// Writes a file (version 3, alignment 32, or 64 with packed tensors, which only we read): equal bytes for equal input
/// on any number of threads; tensors stay in the order given. It is left to the caller to commit. Rows are made on
/// several threads at once, ranges that do not overlap. Memory: some MiB a thread, or a row where that is more.
/// `progress` gets the share written after each piece. Throws Error{invalid} naming path and tensor for what GGUF
/// cannot hold (a format without a GGUF type, rank 0 or above 4, a dimension of 0, rows that are not whole blocks, a
/// name twice, empty or over 63 bytes), Error{runtime} if the disk fails, and what make_rows and progress throw.
void write_gguf(AtomicFile& file, const GgufMetadata& metadata, std::span<const MadeTensor> tensors, ThreadPool& pool,
                const std::function<void(double share)>& progress = {});

/// The same, and the file appears.
void write_gguf(const std::filesystem::path& path, const GgufMetadata& metadata, std::span<const MadeTensor> tensors,
                ThreadPool& pool, const std::function<void(double share)>& progress = {});

/// The same for tensors that are there as they are to be written. Rows may be strided.
void write_gguf(const std::filesystem::path& path, const GgufMetadata& metadata, std::span<const NamedView> tensors);

}  // namespace moxie
