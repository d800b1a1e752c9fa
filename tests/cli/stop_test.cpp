// Ctrl-C, SIGTERM and a closing terminal while a verb makes a file: exit code 128 + the signal, nothing half made
// stays.
#include <chrono>
#include <thread>

#include "cli/child.h"

namespace moxie::test {
namespace {

class Stop : public Workspace {
 protected:
  // Sends the command the signal once there is a file of that name, or its draft: exit code, and what is left.
  void stop(const std::vector<std::string>& arguments, const std::string& name, bool draft, int signal = SIGINT) {
    const std::vector<std::string> before = files();
    Child child(arguments, {.environment = {"TMPDIR=" + directory_.string()}});
    const auto patience = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    while (!has(name, draft) && std::chrono::steady_clock::now() < patience) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    child.send(signal);
    EXPECT_EQ(child.finish(), 128 + signal) << child.err;
    EXPECT_EQ(child.out, "");
    EXPECT_EQ(files(), before);
  }

 private:
  bool has(const std::string& name, bool draft) const {
    std::error_code ignored;  // what is listed may go meanwhile
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_, ignored)) {
      const std::string found = entry.path().filename().string();
      if (draft ? found.starts_with(name + ".") : found == name) return true;
    }
    return false;
  }
};

TEST_F(Stop, convert_leaves_no_file) {
  ASSERT_EQ(run({"random", "--shape", "small", path("small.gguf")}).exit_code, 0);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    stop({"convert", path("small.gguf"), path("m.gguf"), "--format", "iq2_xxs", "-t", "1"}, "m.gguf", true, signal);
  }
  stop({"convert", kMoe, path("m.moxie"), "--format", "iq2_xs", "-t", "1"}, "m.moxie", true);
}

TEST_F(Stop, random_leaves_no_file) {
  stop({"random", "--shape", "olmoe-1b-7b", "--format", "q2_k", "-t", "1", path("a.gguf")}, "a.gguf", true);
}

TEST_F(Stop, bench_leaves_no_model_whether_it_writes_or_measures) {
  stop({"bench", "--shape", "olmoe-1b-7b", "--format", "q2_k"}, "olmoe-1b-7b-q2_k.gguf", true);
  stop({"bench", "--shape", "small-dense", "--format", "q8_0", "-p", "8", "-n", "1", "-r", "1000"},
       "small-dense-q8_0.gguf", false);
}

}  // namespace
}  // namespace moxie::test
