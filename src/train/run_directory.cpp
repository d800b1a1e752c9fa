#include "train/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <map>

#include "base/error.h"
#include "train/config.h"

namespace moxie {
namespace {

Error failed(std::string_view what, const std::filesystem::path& path) {
  return make_error(ErrorCode::runtime, "{}: {} failed: {}", path.string(), what, std::strerror(errno));
}

std::string this_owner() {
  utsname host{};
  ::uname(&host);
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char start[32];
  std::strftime(start, sizeof(start), "%Y-%m-%d %H:%M:%S UTC", &utc);
  return fmt::format("process {} on {}, started {}", ::getpid(), host.nodename, start);
}

std::string contents(int fd) {
  char bytes[512];
  const ssize_t n = ::pread(fd, bytes, sizeof(bytes), 0);
  const std::string_view text(bytes, n > 0 ? static_cast<size_t>(n) : 0);
  return printable(text.substr(0, text.find('\n')), 200);
}

// Half-written files (AtomicFile) of processes that were killed.
void remove_leftovers(const std::filesystem::path& directory) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name.starts_with("config.toml.") || name.starts_with("metrics.jsonl.");
    if (ours && name.ends_with(".tmp")) std::filesystem::remove(entry.path(), ignored);
  }
}

using Settings = std::map<std::string, std::string>;

// The values of a resolved configuration by key, a repeated table numbered: "data.domains[1].weight".
Settings settings_of(std::string_view toml) {
  Settings settings;
  std::string table, last_array;
  int index = 0;
  for (size_t begin = 0; begin < toml.size();) {
    const size_t end = std::min(toml.find('\n', begin), toml.size());
    const std::string_view line = toml.substr(begin, end - begin);
    begin = end + 1;
    if (line.starts_with("[[")) {
      const std::string name(line.substr(2, line.find(']') - 2));
      index = name == last_array ? index + 1 : 0;
      last_array = name;
      table = fmt::format("{}[{}].", name, index);
    } else if (line.starts_with("[")) {
      table = std::string(line.substr(1, line.find(']') - 1)) + ".";
    } else if (const size_t equals = line.find(" = "); equals != std::string_view::npos) {
      settings.emplace(table + std::string(line.substr(0, equals)), line.substr(equals + 3));
    }
  }
  return settings;
}

// What a key means where it is not given; of a repeated table under the number 0. [model] is the family's own.
Settings default_settings() {
  TrainConfig config;
  config.model = json::Object();
  config.data.domains.resize(1);
  config.data.valid.resize(1);
  return settings_of(to_toml(config));
}

std::string value_of(const Settings& settings, const Settings& defaults, const std::string& key) {
  if (const auto found = settings.find(key); found != settings.end()) return found->second;
  const size_t number = key.find('[');
  const auto found =
      defaults.find(number == std::string::npos ? key : key.substr(0, number) + "[0]" + key.substr(key.find(']') + 1));
  return found == defaults.end() ? "none" : found->second;
}

bool may_change(std::string_view key) {
  static constexpr std::array kFree = {"train.steps",
                                       "train.out",
                                       "train.threads",
                                       "train.eval_every",
                                       "train.log_every",
                                       "train.eval_sequences",
                                       "train.checkpoint_every",
                                       "train.keep_last",
                                       "train.keep_best",
                                       "train.max_bad_steps",
                                       "train.weights"};
  return std::find(kFree.begin(), kFree.end(), key) != kFree.end();
}

}  // namespace

RunDirectory::RunDirectory(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (error) throw make_error(ErrorCode::runtime, "{}: cannot be made: {}", path_.string(), error.message());
  const std::filesystem::path lock = path_ / "LOCK";
  fd_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) throw failed("open", lock);
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const bool held = errno == EWOULDBLOCK;
    const Error refused = held ? make_error(ErrorCode::runtime, "{}: in use by {}. Stop it, or give another --out.",
                                            path_.string(), contents(fd_))
                               : failed("flock", lock);
    ::close(fd_);
    throw refused;
  }
  // We hold the lock: whoever is named in it died without leaving.
  stale_owner_ = contents(fd_);
  remove_leftovers(path_);
  const std::string owner = this_owner() + "\n";
  if (::ftruncate(fd_, 0) != 0 || ::pwrite(fd_, owner.data(), owner.size(), 0) != static_cast<ssize_t>(owner.size())) {
    const Error error_writing = failed("write", lock);
    ::close(fd_);
    throw error_writing;
  }
}

RunDirectory::~RunDirectory() {
  // Emptied, not unlinked: an unlinked file could be locked by one process while another makes a new one.
  [[maybe_unused]] const int ignored = ::ftruncate(fd_, 0);
  ::close(fd_);
}

std::string config_difference(std::string_view run_toml, std::string_view this_toml) {
  const Settings run = settings_of(run_toml), now = settings_of(this_toml), defaults = default_settings();
  for (const Settings* settings : {&run, &now}) {
    for (const auto& [key, value] : *settings) {
      if (may_change(key)) continue;
      const std::string was = value_of(run, defaults, key), is = value_of(now, defaults, key);
      if (was != is)
        return fmt::format("{}: the run has {}, this has {}", key, printable(was, 120), printable(is, 120));
    }
  }
  return "";
}

std::string data_difference(const std::vector<std::string>& run, const std::vector<std::string>& now) {
  for (size_t i = 0; i < std::max(run.size(), now.size()); ++i) {
    const std::string was = i < run.size() ? run[i] : "nothing", is = i < now.size() ? now[i] : "nothing";
    if (was != is) return fmt::format("the run read {}, now there is {}", was, is);
  }
  return "";
}

}  // namespace moxie
