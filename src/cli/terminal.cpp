// Where output goes and how it looks there.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "cli/cli.h"
#include "cli/stop.h"

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

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 100) return fmt::format("{}s", whole);
  if (whole < 100 * 60) return fmt::format("{}m", (whole + 30) / 60);
  return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
}

Progress::Progress() : on_terminal_(stderr_is_terminal()) {}

Progress::~Progress() {
  if (shown_) std::fputs("\r\x1b[K", stderr);  // throws nothing where the terminal has gone
}

void Progress::show(std::string_view doing, double share) {
  throw_if_stopped();
  const bool anew = doing != doing_;
  if (anew) {
    doing_ = doing;
    start_ = Clock::now();
    percent_ = 0;
  }
  const int percent = static_cast<int>(share * 100);
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const bool slow = seconds >= 1;
  const bool due = on_terminal_ ? anew || percent != percent_ : slow && percent < 100 && percent / 10 > percent_ / 10;
  if (!due) return;
  percent_ = percent;
  std::string state = fmt::format("{:3}%", percent);
  if (slow && percent > 0) state += fmt::format("  {} left", duration_text(seconds / share * (1 - share)));
  if (!on_terminal_) return say(fmt::format("{:<6} {}", doing, state));
  constexpr int kWidth = 30;
  const auto filled = static_cast<size_t>(share * kWidth);
  fmt::print(stderr, "\r\x1b[K{:<6} [{}{}] {}", doing, std::string(filled, '#'), std::string(kWidth - filled, '.'),
             state);
  std::fflush(stderr);
  shown_ = true;
}

}  // namespace moxie::cli
