// A command line of the user, run by the shell to its end. Not a way to talk to a process.
#pragma once

#include <string>

namespace moxie {

struct CommandOutput {
  int exit_code = 0;  // 128 + the signal that ended it
  std::string out, err;
};

/// Runs `line` by /bin/sh -c, stdin empty, and returns all it printed. Throws Error{runtime} if no shell could be
/// started, or if either stream is longer than 64 MiB.
CommandOutput run_command(const std::string& line);

}  // namespace moxie
