// metrics.jsonl: what a run tells of itself, a JSON object a line (docs/RUN_DIRECTORY.md lists the kinds). Writes and
// cuts lines; knows nothing of what they mean but `type` and `step`.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/json.h"

namespace moxie {

/// The file of one run, opened for appending. One write a line: a killed run leaves whole lines and at most one cut.
class MetricsFile {
 public:
  /// Creates the file, or goes on in it. Throws Error{runtime}.
  explicit MetricsFile(const std::filesystem::path& path);
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;

  /// A line that the disk does not take waits in memory for the next call: training is worth more than its log.
  void append(const json::Value& line);
  /// To the disk: before a checkpoint that says these steps are done. Throws Error{runtime} if lines still wait. After
  /// an fsync that failed the file is not believed again: lines wait, and the next call writes a new file in its place.
  void sync();

 private:
  void open();
  void replace();
  bool flush();

  std::filesystem::path path_;
  std::string waiting_;
  int fd_ = -1;  // -1: an fsync failed
};

struct CutLines {
  std::string text;    // the lines that stay
  std::string damage;  // what was wrong with the first damaged line that ended as lines do, or nothing
};

/// The lines of a run up to `step`, so that what follows continues as if it had never been interrupted: lines of later
/// steps go, so do damaged ones (cut by a kill, or zeros that a power cut left) and the `checkpoint` event of the step
/// itself (it is told again). Any bytes; `source` names them in `damage`.
CutLines cut_lines(std::string_view text, const std::string& source, int64_t step);

/// Cuts a file so; the new one replaces it whole. A file that is not there stays so. Returns the damage. Throws
/// Error{runtime}.
std::string cut_metrics(const std::filesystem::path& path, int64_t step);

}  // namespace moxie
