// A moxie process as a user or a script meets it: arguments, environment, stdin; stdout and stderr apart, exit code,
// signals on the way.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/json.h"

namespace moxie::test {

struct ChildOptions {
  std::vector<std::string> environment;  // "NAME=value", on top of ours
  std::string input;                     // what stdin holds
  std::string program = MOXIE_BINARY;
};

class Child {
 public:
  Child(const std::vector<std::string>& arguments, const ChildOptions& options) {
    int input[2], output[2], errors[2];
    EXPECT_TRUE(::pipe(input) == 0 && ::pipe(output) == 0 && ::pipe(errors) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(input[0], 0);
      ::dup2(output[1], 1);
      ::dup2(errors[1], 2);
      for (const int fd : {input[0], input[1], output[0], output[1], errors[0], errors[1]}) ::close(fd);
      for (const char* name : {"MOXIE_KERNELS", "MOXIE_TAP", "MOXIE_CTX", "MOXIE_THREADS", "NO_COLOR"})
        ::unsetenv(name);
      for (const std::string& entry : options.environment) ::putenv(const_cast<char*>(entry.c_str()));
      std::vector<char*> words = {const_cast<char*>(options.program.c_str())};
      for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
      words.push_back(nullptr);
      ::execv(words[0], words.data());
      ::_exit(127);
    }
    for (const int fd : {input[0], output[1], errors[1]}) ::close(fd);
    EXPECT_EQ(::write(input[1], options.input.data(), options.input.size()),
              static_cast<ssize_t>(options.input.size()));
    ::close(input[1]);
    out_ = output[0];
    err_ = errors[0];
  }
  ~Child() { finish(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// Waits until stdout holds that many bytes, or the process ended.
  void read_until(size_t bytes) {
    while (out.size() < bytes && read_some()) {
    }
  }
  /// Waits for more on either stream.
  void read_more() { read_some(); }
  void send(int signal) const { ::kill(pid_, signal); }

  /// Reads to the end and waits. The exit code; 128 + the signal that killed it, as a shell says it.
  int finish() {
    if (pid_ < 0) return exit_code;
    while (read_some()) {
    }
    int status = 0;
    ::waitpid(pid_, &status, 0);
    for (const int fd : {out_, err_}) ::close(fd);
    pid_ = -1;
    exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return exit_code;
  }

  std::string out, err;
  int exit_code = -1;

 private:
  bool read_some() {
    pollfd fds[2] = {{.fd = out_open_ ? out_ : -1, .events = POLLIN}, {.fd = err_open_ ? err_ : -1, .events = POLLIN}};
    if (!out_open_ && !err_open_) return false;
    ::poll(fds, 2, -1);
    char buffer[1 << 16];
    if (fds[0].revents != 0) take(out_, out, out_open_, buffer);
    if (fds[1].revents != 0) take(err_, err, err_open_, buffer);
    return true;
  }
  static void take(int fd, std::string& to, bool& open, char (&buffer)[1 << 16]) {
    const ssize_t n = ::read(fd, buffer, sizeof(buffer));
    if (n > 0) to.append(buffer, static_cast<size_t>(n));
    open = n > 0;
  }

  pid_t pid_ = -1;
  int out_ = -1, err_ = -1;
  bool out_open_ = true, err_open_ = true;
};

struct Ran {
  int exit_code;
  std::string out, err;
};

inline Ran run(const std::vector<std::string>& arguments, const ChildOptions& options = {}) {
  Child child(arguments, options);
  child.finish();
  return {child.exit_code, child.out, child.err};
}

/// The one object that a verb with --json prints. Throws if stdout holds anything else.
inline json::Value json_of(const Ran& ran) {
  return json::parse(ran.out, {.source = "stdout"});
}

/// The value at a path of keys; throws if one is missing.
inline const json::Value& at(const json::Value& root, std::initializer_list<const char*> keys) {
  const json::Value* value = &root;
  for (const char* key : keys) {
    value = value->find(key);
    if (value == nullptr) throw std::runtime_error(std::string("no key ") + key);
  }
  return *value;
}

inline bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

inline std::string repository(const std::string& path) {
  return std::string(MOXIE_SOURCE_DIR "/") + path;
}
inline const std::string kMoe = repository("models/moe-7m");
inline const std::string kStories = repository("models/stories260K");

inline std::string contents(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

/// A directory for what a test makes.
class Workspace : public testing::Test {
 protected:
  Workspace() {
    std::string name = (std::filesystem::temp_directory_path() / "moxie-cli-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  ~Workspace() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  std::string path(const std::string& name) const { return (directory_ / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ / name, std::ios::binary) << text;
    return path(name);
  }
  /// A copy of moe-7m with one file replaced.
  std::string model_with(const std::string& file, const std::string& text) const {
    for (const char* each : {"config.json", "model.safetensors", "tokenizer.json"}) {
      std::filesystem::copy_file(std::filesystem::path(kMoe) / each, directory_ / each,
                                 std::filesystem::copy_options::overwrite_existing);
    }
    write(file, text);
    return directory_.string();
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  std::filesystem::path directory_;
};

}  // namespace moxie::test
