#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace moxie {
namespace {

const char* kind_name(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

struct OpenedFile {
  int fd;
  size_t size;
};

// O_NONBLOCK: opening a pipe must name it, not wait for a writer.
OpenedFile open_regular(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw invalid({.where = path.string(), .expected = "a readable file", .got = std::strerror(errno)});
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    const char* kind = kind_name(status.st_mode);
    ::close(fd);
    throw invalid({.where = path.string(), .expected = "a regular file", .got = kind});
  }
  return {fd, static_cast<size_t>(status.st_size)};
}

Error io_error(const char* what, const std::filesystem::path& path) {
  return make_error(ErrorCode::runtime, "{}: {} failed: {}", path.string(), what, std::strerror(errno));
}

constexpr size_t kPiece = size_t{1} << 20;

// Reads the size that opening found, piece by piece, and closes the file.
void read_opened(const OpenedFile& file, const std::filesystem::path& path,
                 const std::function<void(std::string_view)>& each) {
  const std::shared_ptr<void> closed(nullptr, [&](void*) { ::close(file.fd); });
  std::string piece(std::min(file.size, kPiece), '\0');
  for (size_t done = 0; done < file.size;) {
    const ssize_t n = ::read(file.fd, piece.data(), std::min(piece.size(), file.size - done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      throw invalid({.where = path.string(),
                     .expected = fmt::format("{} bytes", file.size),
                     .got = fmt::format("only {} readable", done)});
    }
    each(std::string_view(piece).substr(0, static_cast<size_t>(n)));
    done += static_cast<size_t>(n);
  }
}

constexpr size_t kHugePage = size_t{2} << 20;

// Maps a file where huge pages could lie and asks for them: a page cache that holds large folios (Linux 6.16 on ext4)
// then serves weights without a TLB miss a page. Elsewhere the advice changes nothing.
const void* map_aligned(const OpenedFile& file, const std::filesystem::path& path) {
  void* room = ::mmap(nullptr, file.size + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) throw io_error("mmap", path);
  const auto begin = reinterpret_cast<uintptr_t>(room);
  const uintptr_t aligned = (begin + kHugePage - 1) / kHugePage * kHugePage;
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t end = aligned + (file.size + page - 1) / page * page;
  void* data = ::mmap(reinterpret_cast<void*>(aligned), file.size, PROT_READ, MAP_SHARED | MAP_FIXED, file.fd, 0);
  if (data == MAP_FAILED) {
    const Error error = io_error("mmap", path);
    ::munmap(room, file.size + kHugePage);
    throw error;
  }
  if (aligned > begin) ::munmap(room, aligned - begin);
  const uintptr_t room_end = begin + (file.size + kHugePage + page - 1) / page * page;
  if (room_end > end) ::munmap(reinterpret_cast<void*>(end), room_end - end);
  ::madvise(data, file.size, MADV_HUGEPAGE);
  return data;
}

}  // namespace

std::string read_file(const std::filesystem::path& path, size_t max_bytes) {
  const OpenedFile file = open_regular(path);
  std::string text;
  if (file.size > max_bytes) {
    ::close(file.fd);
    throw invalid({.where = path.string(),
                   .expected = fmt::format("at most {} bytes", max_bytes),
                   .got = fmt::format("{} bytes", file.size)});
  }
  text.reserve(file.size);
  read_opened(file, path, [&](std::string_view piece) { text += piece; });
  return text;
}

int64_t read_pieces(const std::filesystem::path& path, const std::function<void(std::string_view)>& each) {
  const OpenedFile file = open_regular(path);
  read_opened(file, path, each);
  return static_cast<int64_t>(file.size);
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const OpenedFile file = open_regular(path);
  std::shared_ptr<MappedFile> map(new MappedFile);
  map->path_ = path;
  map->fd_ = file.fd;
  map->size_ = file.size;
  if (file.size > 0) map->data_ = map_aligned(file, path);
  return map;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<void*>(data_), size_);
  if (fd_ >= 0) ::close(fd_);
}

void MappedFile::check_unchanged() const {
  struct stat status {};
  if (::fstat(fd_, &status) == 0 && static_cast<size_t>(status.st_size) >= size_) return;
  throw invalid({.where = path_.string(),
                 .expected = fmt::format("{} bytes, as when it was opened", size_),
                 .got = fmt::format("{} bytes", status.st_size),
                 .hint = "The file shrank while in use; load it again."});
}

void check_room(const std::filesystem::path& path, int64_t bytes) {
  std::error_code unknown;
  std::filesystem::path at = std::filesystem::absolute(path);
  while (!std::filesystem::exists(at, unknown) && at.has_relative_path()) at = at.parent_path();
  const std::filesystem::space_info space = std::filesystem::space(at, unknown);
  if (unknown || space.available >= static_cast<uintmax_t>(bytes)) return;
  throw make_error(ErrorCode::does_not_fit,
                   "{}: expected room for {:.1f} MB on the disk, got {:.1f} MB. Free some, or write to another disk.",
                   path.string(), static_cast<double>(bytes) / 1e6, static_cast<double>(space.available) / 1e6);
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  // A killed process leaves its temporary, and in a container the next one has its number.
  constexpr int kMostLeftovers = 1000;
  for (int i = 0; i < kMostLeftovers && fd_ < 0; ++i) {
    temporary_ = path_;
    temporary_ += i == 0 ? fmt::format(".{}.tmp", ::getpid()) : fmt::format(".{}.{}.tmp", ::getpid(), i);
    // 0666 before the umask: the user's umask decides who may read the result.
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0 && errno != EEXIST) break;
  }
  if (fd_ < 0) throw io_error("create", path_);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t size) {
  const char* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::write(fd_, bytes, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw io_error("write", path_);
    bytes += n;
    size -= static_cast<size_t>(n);
  }
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) throw io_error("fsync", path_);
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const Error error = io_error("rename", path_);
    ::unlink(temporary_.c_str());
    throw error;
  }
  const std::filesystem::path parent = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
  const int directory = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    ::fsync(directory);
    ::close(directory);
  }
}

}  // namespace moxie
