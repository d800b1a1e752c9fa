// A command line of the user's: what it printed, how it ended.
#include "base/command.h"

#include <gtest/gtest.h>

namespace moxie::test {
namespace {

TEST(Command, both_streams_and_the_exit_code_come_back) {
  const CommandOutput output = run_command("echo out; echo err >&2; exit 3");
  EXPECT_EQ(output.out, "out\n");
  EXPECT_EQ(output.err, "err\n");
  EXPECT_EQ(output.exit_code, 3);
}

TEST(Command, long_output_does_not_block) {
  const CommandOutput output = run_command("head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2");
  EXPECT_EQ(output.out.size(), 300000u);
  EXPECT_EQ(output.err.size(), 300000u);
  EXPECT_EQ(output.exit_code, 0);
}

TEST(Command, stdin_is_empty_and_a_signal_is_told) {
  EXPECT_EQ(run_command("cat").out, "");
  EXPECT_EQ(run_command("kill -TERM $$").exit_code, 128 + 15);
  EXPECT_EQ(run_command("no-such-program-anywhere").exit_code, 127);
}

}  // namespace
}  // namespace moxie::test
