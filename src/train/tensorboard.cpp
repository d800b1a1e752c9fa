#include "train/tensorboard.h"

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/crc32c.h"
#include "base/error.h"

namespace moxie {
namespace {

// Field numbers: Event{1 wall_time double, 2 step int64, 3 file_version string, 5 summary}, Summary{1 value},
// Value{1 tag string, 2 simple_value float}.
enum Wire : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void put_key(std::string& out, uint32_t field, Wire wire) {
  put_varint(out, field << 3 | wire);
}

template <typename Bits>
void put_fixed(std::string& out, Bits bits) {
  for (size_t i = 0; i < sizeof(bits); ++i) out += static_cast<char>(bits >> (8 * i) & 0xff);
}

void put_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  put_key(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string event_head() {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::string event;
  put_key(event, 1, kFixed64);
  put_fixed(event, std::bit_cast<uint64_t>(now));
  return event;
}

// The framing rotates checksums and adds a constant, so that a checksum of data that holds checksums stays strong.
uint32_t masked(std::string_view data) {
  const uint32_t crc = crc32c(data);
  return (crc >> 15 | crc << 17) + 0xa282ead8;
}

}  // namespace

EventFile::EventFile(const std::filesystem::path& directory) {
  std::error_code failed;
  std::filesystem::create_directories(directory, failed);
  utsname host{};
  ::uname(&host);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const std::string name = fmt::format("events.out.tfevents.{:010}.{}",
                                       std::chrono::duration_cast<std::chrono::seconds>(now).count(), host.nodename);
  for (int i = 0; fd_ < 0 && i < 1000; ++i) {
    path_ = directory / (i == 0 ? name : fmt::format("{}.{}", name, i));
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
    if (fd_ < 0 && errno != EEXIST) break;
  }
  if (fd_ < 0) throw make_error(ErrorCode::runtime, "{}: create failed: {}", path_.string(), std::strerror(errno));
  std::string event = event_head();
  put_bytes(event, 3, "brain.Event:2");
  write_record(event);
}

EventFile::~EventFile() {
  if (fd_ >= 0) ::close(fd_);
}

void EventFile::add(int64_t step, const std::vector<std::pair<std::string, double>>& scalars) {
  std::string event = event_head(), summary;
  put_key(event, 2, kVarint);
  put_varint(event, static_cast<uint64_t>(step));
  for (const auto& [tag, value] : scalars) {
    std::string entry;
    put_bytes(entry, 1, tag);
    put_key(entry, 2, kFixed32);
    put_fixed(entry, std::bit_cast<uint32_t>(static_cast<float>(value)));
    put_bytes(summary, 1, entry);
  }
  put_bytes(event, 5, summary);
  write_record(event);
}

void EventFile::write_record(const std::string& data) {
  if (fd_ < 0) return;
  std::string record;
  put_fixed(record, static_cast<uint64_t>(data.size()));
  put_fixed(record, masked(record));
  record += data;
  put_fixed(record, masked(data));
  const ssize_t written = ::write(fd_, record.data(), record.size());
  if (written == static_cast<ssize_t>(record.size())) return;
  ::close(fd_);
  fd_ = -1;
}

}  // namespace moxie
