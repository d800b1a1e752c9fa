#include "base/command.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "base/error.h"

namespace moxie {
namespace {

constexpr long kMostBytes = 64L << 20;

// A stream goes to a file without a name: two pipes would have to be emptied in turn.
struct Catcher {
  std::unique_ptr<FILE, int (*)(FILE*)> file{std::tmpfile(), std::fclose};

  Catcher() {
    if (file == nullptr) throw make_error(ErrorCode::runtime, "no temporary file: {}", std::strerror(errno));
  }
  int fd() const { return fileno(file.get()); }
  std::string text(const std::string& line) const {
    std::fseek(file.get(), 0, SEEK_END);
    const long size = std::ftell(file.get());
    if (size < 0 || size > kMostBytes) {
      throw make_error(ErrorCode::runtime, "{}: it printed {} bytes; expected at most {}", printable(line), size,
                       kMostBytes);
    }
    std::string bytes(static_cast<size_t>(size), '\0');
    std::rewind(file.get());
    bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file.get()));
    return bytes;
  }
};

}  // namespace

CommandOutput run_command(const std::string& line) {
  const Catcher out, err;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.fd(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.fd(), STDERR_FILENO);
  const char* words[] = {"sh", "-c", line.c_str(), nullptr};
  pid_t child = -1;
  const int failed = ::posix_spawn(&child, "/bin/sh", &actions, nullptr, const_cast<char* const*>(words), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) throw make_error(ErrorCode::runtime, "/bin/sh: {}", std::strerror(failed));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const int exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return {exit_code, out.text(line), err.text(line)};
}

}  // namespace moxie
