#include "base/new_directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

fs::path without_slash(const fs::path& path) {
  const fs::path whole = fs::absolute(path).lexically_normal();
  return whole.has_filename() ? whole : whole.parent_path();
}

}  // namespace

void sync_directory(const fs::path& directory) {
  const auto fail = [&](const char* what, int cause) {
    throw make_error(ErrorCode::runtime, "{} {}: {}", what, directory.string(), std::strerror(cause));
  };
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail("open", errno);
  const int cause = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  if (cause != 0) fail("fsync", cause);
}

NewDirectory::NewDirectory(const fs::path& path) : path_(without_slash(path)) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(path_, error))) {
    throw make_error(ErrorCode::usage, "{} exists already; nothing is overwritten", path_.string());
  }
  temporary_ = path_.string() + fmt::format(".{}.tmp", ::getpid());
  if (!fs::create_directory(temporary_, error)) {
    const std::string tried = temporary_.string();
    throw make_error(ErrorCode::runtime, "create {}: {}", tried, error ? error.message() : "it exists already");
  }
}

NewDirectory::~NewDirectory() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void NewDirectory::commit() {
  sync_directory(temporary_);
  std::error_code error;
  fs::rename(temporary_, path_, error);
  if (error) throw make_error(ErrorCode::runtime, "rename to {}: {}", path_.string(), error.message());
  temporary_.clear();
  sync_directory(path_.parent_path());
}

}  // namespace moxie
