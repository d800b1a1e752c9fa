// A directory that appears whole or not at all, as AtomicFile does for a file. What stands in it is others' work.
#pragma once

#include <filesystem>

namespace moxie {

/// fsync of a directory: entries made or renamed in it are on the disk. Throws Error{runtime}.
void sync_directory(const std::filesystem::path& directory);

/// Makes a temporary directory beside `path`, to be filled. commit() gives it its name; without it the destructor
/// removes it with all that it holds.
class NewDirectory {
 public:
  /// `path` may end in a slash. Throws Error{usage} if something stands there already: nothing is overwritten.
  /// Error{runtime} if the disk fails.
  explicit NewDirectory(const std::filesystem::path& path);
  ~NewDirectory();
  NewDirectory(const NewDirectory&) = delete;
  NewDirectory& operator=(const NewDirectory&) = delete;

  /// Where to write; until commit().
  const std::filesystem::path& path() const { return temporary_; }

  /// Throws Error{runtime}, also if something but an empty directory has taken the name meanwhile.
  void commit();

 private:
  std::filesystem::path path_, temporary_;
};

}  // namespace moxie
