// TensorBoard event files: scalars, as records of hand-written protobuf. Not a reader, and nothing but scalars.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moxie {

/// One event file: TFRecord framing (length, masked CRC-32C of the length, data, masked CRC-32C of the data) around
/// Event messages of tensorflow/core/util/event.proto. Every write goes to the file at once: a killed run leaves whole
/// records.
class EventFile {
 public:
  /// Creates directory/events.out.tfevents.SECONDS.HOST[.n]: a new file for each start of a run. Throws Error{runtime}.
  explicit EventFile(const std::filesystem::path& directory);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  /// Scalars of one step, one record. A file that cannot be written any more (disk full) is given up silently: the
  /// numbers stand in metrics.jsonl, too, and training is worth more.
  void add(int64_t step, const std::vector<std::pair<std::string, double>>& scalars);

  const std::filesystem::path& path() const { return path_; }

 private:
  void write_record(const std::string& data);

  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace moxie
