// Runs the moxie binary as a user would: its stdout, its stderr where asked, its exit code. Not for unit tests.
#pragma once

#include <sys/wait.h>

#include <cstdio>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "base/json.h"

namespace moxie::test {

struct Outcome {
  int exit_code = -1;
  std::string out;
};

/// Runs `moxie ARGUMENTS` in tests/data, stdin empty. `arguments` are ours: names of test data, flags, shell quotes.
/// `environment`: "NAME=value" words, or a command that runs moxie ("taskset -c 0"). stderr joins stdout only where
/// asked.
inline Outcome run_moxie(const std::string& arguments, bool with_stderr = false, const std::string& environment = "") {
  const std::string command = "cd '" MOXIE_SOURCE_DIR "/tests/data' && " + environment + " '" MOXIE_BINARY "' " +
                              arguments + " </dev/null" + (with_stderr ? " 2>&1" : " 2>/dev/null");
  Outcome outcome;
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return outcome;
  char buffer[4096];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) outcome.out.append(buffer, n);
  outcome.exit_code = WEXITSTATUS(pclose(pipe));
  return outcome;
}

/// The one object that a verb with --json prints. Throws if stdout holds anything else.
inline json::Value json_of(const Outcome& outcome) {
  return json::parse(outcome.out, {.source = "stdout"});
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

}  // namespace moxie::test
