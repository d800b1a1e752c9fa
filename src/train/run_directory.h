// A run directory: where its files lie, who holds it, and whether a run may go on in it. Knows no file's contents but
// those of LOCK and config.toml. Layout: docs/RUN_DIRECTORY.md.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace moxie {

/// The one process that works in a run directory. Two locks stand behind it: a flock that the system drops with the
/// process however it ends, and the words in LOCK that name the owner.
class RunDirectory {
 public:
  /// Makes the directory and takes it. Throws Error{runtime} naming the owner (pid, host, start) if another process
  /// has it, or that it cannot be made. A LOCK left by a process that died is taken over; `stale_owner()` names it;
  /// what it left half written goes.
  explicit RunDirectory(std::filesystem::path path);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config() const { return path_ / "config.toml"; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path tensorboard() const { return path_ / "tb"; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  std::filesystem::path model() const { return path_ / "model"; }

  const std::string& stale_owner() const { return stale_owner_; }

 private:
  std::filesystem::path path_;
  std::string stale_owner_;
  int fd_ = -1;
};

/// What keeps a run from going on with another configuration: the first difference between two resolved ones (as
/// to_toml writes them) in a key that changes the numbers, as "train.lr: the run has 1e-3, this has 2e-3"; empty if
/// there is none. A key that is missing (a run of a version that did not know it) counts as its default. Steps, out,
/// threads, and how often to log, evaluate, save and keep may differ.
std::string config_difference(std::string_view run_toml, std::string_view this_toml);

/// The first line that two lists do not share, likewise; empty if none.
std::string data_difference(const std::vector<std::string>& run, const std::vector<std::string>& now);

}  // namespace moxie
