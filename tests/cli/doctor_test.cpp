// moxie doctor as a process: what it tells agrees with the machine, its JSON is one object, a forced set is named.
#include <gtest/gtest.h>
#include <unistd.h>

#include "cli/child.h"

namespace moxie::test {
namespace {

TEST(Doctor, tells_a_reader_what_runs_here_and_why) {
  const Ran outcome = run({"doctor"});
  EXPECT_EQ(outcome.exit_code, 0);
  for (const char* part :
       {"cpu ", "features ", "kernels ", "* ", "threads ", "memory ", "huge pages ", "mpi ", "fmt "}) {
    EXPECT_NE(outcome.out.find(part), std::string::npos) << part << "\n" << outcome.out;
  }
}

TEST(Doctor, prints_one_object_that_agrees_with_the_machine) {
  const Ran outcome = run({"doctor", "--json"});
  ASSERT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "");
  const json::Value report = json_of(outcome);
  EXPECT_EQ(at(report, {"schema_version"}).as_int(), 1);
  EXPECT_EQ(at(report, {"cpu", "features", "avx2"}).as_bool(), __builtin_cpu_supports("avx2") != 0);
  EXPECT_EQ(at(report, {"cpu", "features", "avx512f"}).as_bool(), __builtin_cpu_supports("avx512f") != 0);
  EXPECT_EQ(at(report, {"threads", "online_cpus"}).as_int(), sysconf(_SC_NPROCESSORS_ONLN));
  EXPECT_EQ(at(report, {"memory", "physical_bytes"}).as_int().value() / (64 << 20),
            sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) / (64 << 20));
  EXPECT_FALSE(at(report, {"mpi"}).as_bool());
}

TEST(Doctor, chooses_a_set_that_runs_here) {
  const json::Value report = json_of(run({"doctor", "--json"}));
  const std::string& chosen = at(report, {"kernels", "chosen"}).as_string();
  bool found = false;
  for (const json::Value& set : at(report, {"kernels", "sets"}).items()) {
    if (at(set, {"name"}).as_string() == chosen) found = at(set, {"runs_here"}).as_bool();
  }
  EXPECT_TRUE(found) << chosen;
}

TEST(Doctor, names_the_variable_that_forced_the_set) {
  const json::Value report = json_of(run({"doctor", "--json"}, {.environment = {"MOXIE_KERNELS=ref"}}));
  EXPECT_EQ(at(report, {"kernels", "chosen"}).as_string(), "ref");
  EXPECT_EQ(at(report, {"kernels", "why"}).as_string(), "forced by MOXIE_KERNELS=ref");
  EXPECT_EQ(run({"doctor"}, {.environment = {"MOXIE_KERNELS=abacus"}}).exit_code, 2);
}

TEST(Doctor, counts_only_the_cpus_it_may_run_on) {
  const std::string first =
      "taskset -c $(taskset -cp $$ | sed 's/.*: //; s/[,-].*//') '" MOXIE_BINARY "' doctor --json";
  const json::Value report = json_of(run({"-c", first}, {.program = "/bin/sh"}));
  EXPECT_EQ(at(report, {"threads", "affinity_cpus"}).as_int(), 1);
  EXPECT_EQ(at(report, {"threads", "usable"}).as_int(), 1);
}

TEST(Doctor, refuses_an_unknown_flag) {
  EXPECT_EQ(run({"doctor", "--json", "--cure"}).exit_code, 2);
}

}  // namespace
}  // namespace moxie::test
