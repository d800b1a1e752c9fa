#include "train/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file.h"

namespace moxie {
namespace {

constexpr size_t kLargestFile = size_t{8} << 30;

Error failed(std::string_view what, const std::filesystem::path& path) {
  return make_error(ErrorCode::runtime, "{}: {} failed: {}", path.string(), what, std::strerror(errno));
}

bool stays(const json::Value& line, int64_t step) {
  const json::Value* at = line.find("step");
  const std::optional<int64_t> number = at == nullptr ? std::nullopt : at->as_int();
  if (!number) return true;  // the line that opens a run
  if (*number != step) return *number < step;
  const json::Value* kind = line.find("kind");
  return kind == nullptr || !kind->is_string() || kind->as_string() != "checkpoint";
}

}  // namespace

MetricsFile::MetricsFile(const std::filesystem::path& path) : path_(path) {
  open();
}

MetricsFile::~MetricsFile() {
  if (fd_ >= 0) ::close(fd_);
}

void MetricsFile::open() {
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) throw failed("open", path_);
}

// The system may have marked pages clean that it could not write: only a file written anew can be synced again.
void MetricsFile::replace() {
  AtomicFile file(path_);
  file.write(read_file(path_, kLargestFile));
  file.commit();
  open();
}

void MetricsFile::append(const json::Value& line) {
  waiting_ += line.dump() + "\n";
  flush();
}

bool MetricsFile::flush() {
  if (fd_ < 0) return false;
  size_t done = 0;
  while (done < waiting_.size()) {
    const ssize_t written = ::write(fd_, waiting_.data() + done, waiting_.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) break;
    done += static_cast<size_t>(written);
  }
  waiting_.erase(0, done);
  return waiting_.empty();
}

void MetricsFile::sync() {
  if (fd_ < 0) replace();
  if (!flush()) throw failed("write", path_);
  if (::fsync(fd_) == 0) return;
  const Error error = failed("fsync", path_);
  ::close(fd_);
  fd_ = -1;
  throw error;
}

CutLines cut_lines(std::string_view text, const std::string& source, int64_t step) {
  CutLines cut;
  size_t number = 1;
  for (size_t begin = 0; begin < text.size(); ++number) {
    const size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) break;  // the line a kill cut short
    const std::string_view line = text.substr(begin, end - begin);
    try {
      const json::Value value =
          json::parse(line, {.source = fmt::format("{}: line {}", source, number), .base_offset = begin});
      if (stays(value, step)) cut.text += text.substr(begin, end + 1 - begin);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::invalid) throw;
      if (cut.damage.empty()) cut.damage = error.text();
    }
    begin = end + 1;
  }
  return cut;
}

std::string cut_metrics(const std::filesystem::path& path, int64_t step) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return "";
  const CutLines cut = cut_lines(read_file(path, kLargestFile), path.string(), step);
  AtomicFile file(path);
  file.write(cut.text);
  file.commit();
  return cut.damage;
}

}  // namespace moxie
