// Ctrl-C, SIGTERM and a terminal that closes, in work that has something to clean up. A second signal ends the process
// at once.
#pragma once

namespace moxie::cli {

/// From now on the first SIGINT, SIGTERM or SIGHUP is only remembered.
void catch_stop();

/// Throws Interrupted if one came.
void throw_if_stopped();

}  // namespace moxie::cli
