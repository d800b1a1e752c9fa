// metrics.jsonl: lines appended, and cut where a resumed run goes on.
#include "train/metrics.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "train/scratch_directory.h"

namespace moxie {
namespace {

json::Value line(const char* type, int64_t step, const char* kind = nullptr) {
  json::Value value;
  value.set("type", type).set("step", step);
  if (kind != nullptr) value.set("kind", kind);
  return value;
}

TEST(Metrics, cut_leaves_the_lines_up_to_a_step) {
  const test::ScratchDirectory directory;
  const std::filesystem::path path = directory.path() / "metrics.jsonl";
  std::string expected;
  {
    MetricsFile file(path);
    json::Value run;
    run.set("type", "run").set("steps", 9);
    const std::vector<std::pair<json::Value, bool>> lines = {{run, true},
                                                             {line("step", 1), true},
                                                             {line("event", 1, "checkpoint"), true},
                                                             {line("step", 2), true},
                                                             {line("event", 2, "spike"), true},
                                                             {line("event", 2, "checkpoint"), false},
                                                             {line("step", 3), false}};
    for (const auto& [value, stays] : lines) {
      file.append(value);
      if (stays) expected += value.dump() + "\n";
    }
  }
  std::ofstream(path, std::ios::app) << R"({"type":"step","st)";  // cut short by a kill
  cut_metrics(path, 2);
  EXPECT_EQ(read_file(path, 1 << 20), expected);
}

TEST(Metrics, a_damaged_line_is_named_and_left_out) {
  const test::ScratchDirectory directory;
  const std::filesystem::path path = directory.path() / "metrics.jsonl";
  const std::string run = "{\"type\":\"run\"}\n", step = "{\"type\":\"step\",\"step\":1}\n";
  std::ofstream(path) << run << "{\"type\":oops}\n" << step << std::string(40, '\0') << "\n" << step;
  EXPECT_NE(cut_metrics(path, 1).find("line 2"), std::string::npos);
  EXPECT_EQ(read_file(path, 1 << 20), run + step + step);
  EXPECT_EQ(cut_metrics(path, 1), "");
}

TEST(Metrics, after_a_failed_fsync_lines_wait_for_a_new_file) {
  const test::ScratchDirectory directory;
  const std::filesystem::path path = directory.path() / "metrics.jsonl";
  std::filesystem::create_symlink("/dev/null", path);  // takes writes, refuses fsync
  MetricsFile file(path);
  file.append(line("step", 1));
  EXPECT_THROW(file.sync(), Error);
  std::filesystem::remove(path);
  std::ofstream(path) << line("step", 1).dump() << "\n";
  std::filesystem::create_hard_link(path, directory.path() / "old");
  file.append(line("step", 2));
  EXPECT_NO_THROW(file.sync());
  file.append(line("step", 3));
  std::string expected;
  for (const int64_t step : {1, 2, 3}) expected += line("step", step).dump() + "\n";
  EXPECT_EQ(read_file(path, 1 << 20), expected);
  EXPECT_EQ(read_file(directory.path() / "old", 1 << 20), line("step", 1).dump() + "\n");
}

TEST(Metrics, a_cut_of_no_file_makes_none) {
  const test::ScratchDirectory directory;
  cut_metrics(directory.path() / "metrics.jsonl", 1);
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "metrics.jsonl"));
}

}  // namespace
}  // namespace moxie
