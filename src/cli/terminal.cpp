// Where output goes and how it looks there.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "cli/cli.h"

namespace moxie::cli {

bool stdout_is_terminal() {
  return ::isatty(STDOUT_FILENO) != 0;
}
bool stderr_is_terminal() {
  return ::isatty(STDERR_FILENO) != 0;
}
bool stdin_is_terminal() {
  return ::isatty(STDIN_FILENO) != 0;
}

bool colour_stdout() {
  const char* no_color = std::getenv("NO_COLOR");
  if (no_color != nullptr && *no_color != '\0') return false;
  if (const char* forced = std::getenv("CLICOLOR_FORCE"); forced != nullptr && *forced != '\0') return true;
  const char* term = std::getenv("TERM");
  return stdout_is_terminal() && (term == nullptr || std::string_view(term) != "dumb");
}

void print_json(const json::Value& value) {
  fmt::print("{}\n", value.dump(2));
}

void say(const std::string& line) {
  fmt::print(stderr, "{}\n", line);
}

Progress::Progress(std::string what) : what_(std::move(what)), on_terminal_(stderr_is_terminal()) {}

Progress::~Progress() {
  if (on_terminal_ && shown_ >= 0) fmt::print(stderr, "\r{:<60}\r", "");
}

void Progress::show(double share) {
  const int percent = static_cast<int>(share * 100);
  if (on_terminal_ && percent != shown_) {
    constexpr int kWidth = 30;
    const auto filled = static_cast<size_t>(share * kWidth);
    fmt::print(stderr, "\r{} [{}{}] {:3}%", what_, std::string(filled, '#'), std::string(kWidth - filled, '.'),
               percent);
    std::fflush(stderr);
    shown_ = percent;
  } else if (!on_terminal_ && percent / 10 > shown_ / 10) {
    if (percent < 100) fmt::print(stderr, "{} {}%\n", what_, percent);
    shown_ = percent;
  }
}

}  // namespace moxie::cli
