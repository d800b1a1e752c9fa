#include "cli/stop.h"

#include <signal.h>

#include <csignal>

#include "cli/cli.h"

namespace moxie::cli {
namespace {

volatile std::sig_atomic_t stopped_by = 0;

void on_stop(int signal) {
  stopped_by = signal;
  ::signal(signal, SIG_DFL);
}

}  // namespace

void catch_stop() {
  struct sigaction action {};
  action.sa_handler = on_stop;
  for (const int signal : {SIGINT, SIGTERM}) ::sigaction(signal, &action, nullptr);
  struct sigaction before {};
  ::sigaction(SIGHUP, nullptr, &before);
  if (before.sa_handler != SIG_IGN) ::sigaction(SIGHUP, &action, nullptr);  // nohup goes on
}

void throw_if_stopped() {
  if (stopped_by != 0) throw Interrupted{128 + stopped_by};
}

}  // namespace moxie::cli
