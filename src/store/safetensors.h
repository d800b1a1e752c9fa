// safetensors: files and sharded checkpoints as named, mapped tensors, and the writer. Knows no model: names are text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "tensor/tensor.h"

namespace moxie {

/// Where a tensor's bytes lie, as a checked header says: [begin, end) counted from the start of the data.
struct TensorRange {
  std::string name;
  FormatId format = FormatId::f32;
  Shape shape;
  bool packed = false;  // as View has it; of GGUF files alone
  int64_t begin = 0;
  int64_t end = 0;
  size_t name_offset = 0;   // of the name in the file, for messages
  size_t range_offset = 0;  // of data_offsets in the file, for messages
};

/// A checked header: the tensors, sorted by name, tile the data without hole or overlap up to the end of the file.
struct SafetensorsHeader {
  std::map<std::string, std::string> metadata;
  std::vector<TensorRange> tensors;
  int64_t data_begin = 0;  // byte of the file where the data starts
};

/// Checks the header of a whole file in memory; the data is not read. `source` names the file in errors.
/// Throws Error{invalid} naming source, field and byte offset. Limits: header 100,000,000 bytes, rank 8, rows of the
/// sub-byte formats whole bytes. Time: linear (plus the sort of names); memory: a few hundred bytes a tensor.
SafetensorsHeader parse_safetensors_header(std::string_view file_bytes, const std::string& source);

/// One tensor of a checkpoint: a view into the mapped file, which the tensor keeps alive.
struct TensorEntry {
  std::string name;
  Tensor tensor;
  std::string file;
};

/// One file, mapped. Nothing is copied, except tensors whose bytes do not lie aligned for their format (the reference
/// writers never make such files).
class SafetensorsFile {
 public:
  /// Throws Error{invalid}: not a regular file, not safetensors (and what it is instead), or a fault of the header.
  static SafetensorsFile open(const std::filesystem::path& path);

  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::vector<TensorEntry>& entries() const { return entries_; }  // sorted by name
  const std::shared_ptr<const MappedFile>& map() const { return map_; }

 private:
  friend class Checkpoint;
  std::shared_ptr<const MappedFile> map_;
  std::map<std::string, std::string> metadata_;
  std::vector<TensorEntry> entries_;
};

/// All tensors of a checkpoint: one .safetensors file, or a directory with model.safetensors, or with
/// model.safetensors.index.json and its shards. Opening maps every file and reads the headers only. The kernel is not
/// asked to read ahead (WILLNEED): that would push out memory of models larger than RAM.
class Checkpoint {
 public:
  /// Throws Error{invalid} as SafetensorsFile does, and listing shards that are missing, tensors the index and the
  /// shards do not agree on, and pickle files, which are never read.
  static Checkpoint open(const std::filesystem::path& file_or_directory);

  /// Of tensors found elsewhere, under the names that a model asks for (GGUF); they may lie in any of `maps`. Sorts
  /// them. Throws Error{invalid} naming file and tensor if two have one name.
  static Checkpoint from_entries(std::vector<std::shared_ptr<const MappedFile>> maps, std::vector<TensorEntry> entries);

  /// The tensor of that name, or nullptr. Cost: a binary search.
  const Tensor* find(std::string_view name) const;

  const std::vector<TensorEntry>& entries() const { return entries_; }  // sorted by name
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// Bytes of all tensors.
  int64_t total_bytes() const;

  /// Error{invalid} if a file shrank since it was opened: reading its pages would raise SIGBUS. Call it before a step
  /// over the weights; one fstat a file.
  void check_unchanged() const;

 private:
  void add(SafetensorsFile file);
  static Checkpoint open_sharded(const std::filesystem::path& index);

  std::vector<std::shared_ptr<const MappedFile>> maps_;
  std::map<std::string, std::string> metadata_;
  std::vector<TensorEntry> entries_;
};

/// The `weight_map` of a model.safetensors.index.json: shard -> names of its tensors, both sorted.
struct ShardIndex {
  std::map<std::string, std::vector<std::string>> shards;
  std::optional<int64_t> total_size;  // bytes of all tensors, where the index says it
};

/// Checks an index. Shard names must be plain names of .safetensors files beside the index.
/// Throws Error{invalid} naming source, field and byte offset.
ShardIndex parse_shard_index(std::string_view text, const std::string& source);

/// What a writer is given: rows may be strided (row_bytes), formats must exist in safetensors.
struct NamedView {
  std::string name;
  View view;
};

/// A tensor to be written, whose bytes are made when their turn comes: so a file may be larger than memory.
struct MadeTensor {
  std::string name;
  FormatId format = FormatId::f32;
  Shape shape;
  /// Makes rows [begin, end) of the last dimension (all others counted through) at `out`, without gaps. What it throws
  /// ends the writing.
  std::function<void(int64_t begin, int64_t end, char* out)> make_rows;
  bool packed = false;  // rows come packed (format/packed.h), made in multiples of 32; GGUF files alone

  int64_t num_bytes() const { return row_bytes(format, shape.num_elems()); }
};

/// One that is there as it is to be written.
MadeTensor made_of(const std::string& name, const View& view);

/// Writes a file that appears whole or not at all, equal bytes for equal input: tensors by falling alignment, then by
/// name; the header is padded with spaces so that data starts at a multiple of 8. Streams: holds no copy of the data.
/// Throws Error{runtime} if the disk fails.
void write_safetensors(const std::filesystem::path& path, std::span<const NamedView> tensors,
                       const std::map<std::string, std::string>& metadata = {});
/// The same for tensors that are made on the way: their rows in order, on this thread.
void stream_safetensors(const std::filesystem::path& path, std::span<const MadeTensor> tensors,
                        const std::map<std::string, std::string>& metadata = {});

}  // namespace moxie
