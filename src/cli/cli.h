// What the verbs share. One file a verb: it declares its flags and does its work in the callback; faults are thrown as
// moxie::Error and printed by main, which turns them into the exit code. stdout is the answer, stderr everything else.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"

namespace moxie::cli {

void add_run(CLI::App& app);
void add_inspect(CLI::App& app);
void add_route(CLI::App& app);
void add_eval(CLI::App& app);
void add_report(CLI::App& app);
void add_bench(CLI::App& app);
void add_train(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_upcycle(CLI::App& app);
void add_compare(CLI::App& app);
void add_convert(CLI::App& app);
void add_random(CLI::App& app);
void add_doctor(CLI::App& app);

/// Whether to colour what goes to stdout (a terminal, no NO_COLOR, TERM is not dumb).
bool colour_stdout();
bool stdout_is_terminal();
bool stderr_is_terminal();
bool stdin_is_terminal();

/// Prints one JSON object and a newline on stdout: all that a verb with --json prints there.
void print_json(const json::Value& value);

/// A line for people on stderr.
void say(const std::string& line);

/// "1h02m", "12m", "34s".
std::string duration_text(double seconds);

/// How far long work has come and how long it will take: a bar on a terminal, else a line every 10%, and none for what
/// is done in a second. On stderr.
class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// `doing`: a word; another one begins anew. Throws Interrupted if a stop came (catch_stop): who works cleans up.
  void show(std::string_view doing, double share);

 private:
  using Clock = std::chrono::steady_clock;
  bool on_terminal_;
  bool shown_ = false;  // a bar stands there
  std::string doing_;
  Clock::time_point start_;
  int percent_ = 0;
};

/// Thrown when a signal ended the work and all that was done has been printed: exit code 128 + the signal.
struct Interrupted {
  int exit_code = 130;  // Ctrl-C
};

}  // namespace moxie::cli
