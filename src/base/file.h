// Files: whole reads with a size limit, read-only memory maps, and writes that appear whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace moxie {

/// Reads a regular file. Throws Error{invalid} naming the path if it is missing, not a regular file, unreadable, or
/// larger than `max_bytes`.
std::string read_file(const std::filesystem::path& path, size_t max_bytes);

/// Calls each(piece) for consecutive pieces of a regular file, of at most 1 MiB. Returns its size. Throws as read_file
/// does, and Error{invalid} if it ends early.
int64_t read_pieces(const std::filesystem::path& path, const std::function<void(std::string_view)>& each);

/// A read-only map of a whole regular file; an empty file maps to no bytes. Pages are shared with the page cache.
class MappedFile {
 public:
  /// Maps it 2 MiB aligned and asks for huge pages, which some kernels give to file maps. Throws Error{invalid} naming
  /// the path and what it is instead (missing, a directory, a pipe, unreadable).
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }

  /// Error{invalid} if the file on disk is now smaller than the map (reading on would raise SIGBUS).
  void check_unchanged() const;

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  const void* data_ = nullptr;
  size_t size_ = 0;
  int fd_ = -1;
};

/// Throws Error{does_not_fit} if the disk on which `path` lies, or will, has fewer than `bytes` left.
void check_room(const std::filesystem::path& path, int64_t bytes);

/// Writes a file so that it appears whole or not at all: a temporary beside it, whose name no other writer has, fsync,
/// rename, fsync of the directory. commit() makes it appear; without it the destructor removes the temporary. Throws
/// Error{runtime} with path and cause.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

  /// Where the file appears.
  const std::filesystem::path& path() const { return path_; }
  /// Where it can be read until commit().
  const std::filesystem::path& temporary() const { return temporary_; }

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int fd_ = -1;
};

}  // namespace moxie
