#include "base/machine.h"

#include <cpuid.h>
#include <fmt/format.h>
#include <gnu/libc-version.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/json.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

// A small file of the kernel's; empty if it cannot be read (files in /proc have no size, so read_file does not fit).
std::string read_or_empty(const fs::path& path) {
  std::ifstream stream(path);
  std::ostringstream text;
  if (stream) text << stream.rdbuf();
  return text.str();
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (end > 0) parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::optional<int64_t> parse_int(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <typename T>
void tighten(std::optional<T>& limit, std::optional<T> other) {
  if (other && (!limit || *other < *limit)) limit = other;
}

// ---- control groups ----

struct CgroupMount {
  std::string root;  // the group that the mount point shows
  std::string point;
};

// Where a hierarchy is mounted. `controller` empty: the unified hierarchy (v2), else the v1 hierarchy that has it.
std::optional<CgroupMount> find_mount(const std::string& mountinfo, const std::string& controller) {
  for (const std::string& line : split(mountinfo, '\n')) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const std::vector<std::string> left = split(line.substr(0, dash), ' ');
    const std::vector<std::string> right = split(line.substr(dash + 3), ' ');
    if (left.size() < 5 || right.size() < 3) continue;
    const std::vector<std::string> options = split(right[2], ',');
    const bool found = controller.empty() ? right[0] == "cgroup2"
                                          : right[0] == "cgroup" && std::ranges::count(options, controller) > 0;
    if (found) return CgroupMount{left[3], left[4]};
  }
  return std::nullopt;
}

// The directories of a group, from its own up to the mount point.
std::vector<fs::path> group_dirs(const fs::path& root, const CgroupMount& mount, std::string group) {
  if (mount.root != "/" && group.starts_with(mount.root)) group.erase(0, mount.root.size());
  const fs::path point = root / fs::path(mount.point).relative_path();
  std::vector<fs::path> dirs = {point};
  // A group outside what is mounted here ("/../x", or another container's path) has no directory: the root remains.
  for (const std::string& name : split(group, '/')) {
    if (name == "..") break;
    dirs.push_back(dirs.back() / name);
  }
  return {dirs.rbegin(), dirs.rend()};
}

void add_v2_limits(const fs::path& dir, CgroupLimits& limits) {
  const std::vector<std::string> quota =
      split(read_or_empty(dir / "cpu.max"), ' ');  // "150000 100000\n" or "max 100000"
  if (quota.size() == 2) {
    const auto time = parse_int(quota[0]), period = parse_int(quota[1]);
    if (time && period && *time > 0 && *period > 0) tighten<double>(limits.cpus, double(*time) / double(*period));
  }
  tighten(limits.memory_bytes, parse_int(read_or_empty(dir / "memory.max")));
}

void add_v1_limits(const fs::path& dir, CgroupLimits& limits) {
  const auto time = parse_int(read_or_empty(dir / "cpu.cfs_quota_us"));  // -1: none
  const auto period = parse_int(read_or_empty(dir / "cpu.cfs_period_us"));
  if (time && period && *time > 0 && *period > 0) tighten<double>(limits.cpus, double(*time) / double(*period));
  const auto memory = parse_int(read_or_empty(dir / "memory.limit_in_bytes"));
  constexpr int64_t kUnlimited = int64_t{1} << 60;  // v1 writes "none" as 2^63 rounded down to a page
  if (memory && *memory < kUnlimited) tighten(limits.memory_bytes, memory);
}

// ---- the CPU ----

CpuidAnswer ask_cpu() {
  CpuidAnswer answer;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d)) answer.leaf1_ecx = c;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    answer.leaf7_ebx = b, answer.leaf7_ecx = c, answer.leaf7_edx = d;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) answer.leaf7_1_eax = a;
  }
  constexpr uint32_t kOsxsave = 1u << 27;  // without it xgetbv is an illegal instruction
  if (answer.leaf1_ecx & kOsxsave) {
    uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    answer.xcr0 = (uint64_t{high} << 32) | low;
  }
  return answer;
}

int affinity_cpus() {
  // The mask must be as wide as the kernel's, which the kernel does not tell: double until it fits.
  for (int width = 1024; width <= (1 << 20); width *= 2) {
    cpu_set_t* mask = CPU_ALLOC(static_cast<size_t>(width));
    if (mask == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(width));
    const int count = sched_getaffinity(0, bytes, mask) == 0 ? CPU_COUNT_S(bytes, mask) : 0;
    CPU_FREE(mask);
    if (count > 0) return count;
  }
  return 1;
}

// A line "MemTotal:  24576000 kB" of /proc/meminfo (or of a status file, a tab after the key), in bytes.
std::optional<int64_t> meminfo(const std::string& text, std::string_view key) {
  for (const std::string& line : split(text, '\n')) {
    const std::vector<std::string> words = split(line, ' ');
    if (words.size() == 3 && words[0] == key) {
      const auto kilobytes = parse_int(words[1]);
      if (kilobytes) return *kilobytes * 1024;
    }
  }
  return std::nullopt;
}

// The choice in brackets: "always [madvise] never".
std::string bracketed(const std::string& text) {
  const size_t begin = text.find('['), end = text.find(']');
  return begin < end && end != std::string::npos ? text.substr(begin + 1, end - begin - 1) : "";
}

}  // namespace

std::vector<std::pair<std::string_view, bool>> CpuFeatures::list() const {
  return {{"avx2", avx2},
          {"fma", fma},
          {"f16c", f16c},
          {"avx512f", avx512f},
          {"avx512bw", avx512bw},
          {"avx512vl", avx512vl},
          {"avx512dq", avx512dq},
          {"avx512_bf16", avx512_bf16},
          {"avx512_vnni", avx512_vnni},
          {"amx_tile", amx_tile},
          {"amx_bf16", amx_bf16},
          {"amx_int8", amx_int8}};
}

CpuFeatures decode_features(const CpuidAnswer& answer) {
  const auto bit = [](uint32_t word, int index) { return ((word >> index) & 1) != 0; };
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000;  // XCR0: SSE+AVX; +opmask, upper halves; AMX
  const bool ymm = (answer.xcr0 & kYmm) == kYmm && bit(answer.leaf1_ecx, 28);
  const bool zmm = ymm && (answer.xcr0 & kZmm) == kZmm && bit(answer.leaf7_ebx, 16);
  const bool tiles = (answer.xcr0 & kTiles) == kTiles && bit(answer.leaf7_edx, 24);
  return {
      .avx2 = ymm && bit(answer.leaf7_ebx, 5),
      .fma = ymm && bit(answer.leaf1_ecx, 12),
      .f16c = ymm && bit(answer.leaf1_ecx, 29),
      .avx512f = zmm,
      .avx512bw = zmm && bit(answer.leaf7_ebx, 30),
      .avx512vl = zmm && bit(answer.leaf7_ebx, 31),
      .avx512dq = zmm && bit(answer.leaf7_ebx, 17),
      .avx512_bf16 = zmm && bit(answer.leaf7_1_eax, 5),
      .avx512_vnni = zmm && bit(answer.leaf7_ecx, 11),
      .amx_tile = tiles,
      .amx_bf16 = tiles && bit(answer.leaf7_edx, 22),
      .amx_int8 = tiles && bit(answer.leaf7_edx, 25),
  };
}

CpuFeatures cpu_features() {
  return decode_features(ask_cpu());
}

std::string cpu_brand() {
  uint32_t words[12] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    uint32_t* w = words + 4 * i;
    if (!__get_cpuid(0x80000002u + i, &w[0], &w[1], &w[2], &w[3])) return "";
  }
  char text[sizeof(words) + 1] = {};
  std::memcpy(text, words, sizeof(words));
  std::string brand;  // some CPUs pad the name with spaces on either side
  for (const std::string& word : split(text, ' ')) brand += (brand.empty() ? "" : " ") + word;
  return brand;
}

CgroupLimits cgroup_limits(const fs::path& root) {
  CgroupLimits limits;
  const std::string mountinfo = read_or_empty(root / "proc/self/mountinfo");
  for (const std::string& line : split(read_or_empty(root / "proc/self/cgroup"), '\n')) {
    // "ID:CONTROLLER,CONTROLLER:/GROUP"; the unified hierarchy is "0::/GROUP".
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string group = line.substr(second + 1);
    const std::vector<std::string> controllers = split(line.substr(first + 1, second - first - 1), ',');
    if (line.starts_with("0::")) {
      if (const auto mount = find_mount(mountinfo, "")) {
        for (const fs::path& dir : group_dirs(root, *mount, group)) add_v2_limits(dir, limits);
      }
    }
    for (const std::string& controller : controllers) {
      if (controller != "cpu" && controller != "memory") continue;
      if (const auto mount = find_mount(mountinfo, controller)) {
        for (const fs::path& dir : group_dirs(root, *mount, group)) add_v1_limits(dir, limits);
      }
    }
  }
  return limits;
}

int usable_threads(int affinity_cpus, const CgroupLimits& limits) {
  const double quota = limits.cpus ? std::ceil(*limits.cpus) : affinity_cpus;
  return std::max(1, static_cast<int>(std::min<double>(affinity_cpus, quota)));
}

int usable_threads() {
  return usable_threads(affinity_cpus(), cgroup_limits());
}

std::optional<int64_t> usable_memory(const Machine& machine) {
  if (!machine.memory_bytes || !machine.limits.memory_bytes) {
    return machine.memory_bytes ? machine.memory_bytes : machine.limits.memory_bytes;
  }
  return std::min(*machine.memory_bytes, *machine.limits.memory_bytes);
}

std::optional<int64_t> peak_memory() {
  return meminfo(read_or_empty("/proc/self/status"), "VmHWM:\t");
}

bool reset_peak_memory() {
  std::ofstream file("/proc/self/clear_refs");
  file << 5;  // proc(5): the peak begins anew at what is held now
  return static_cast<bool>(file.flush());
}

std::string_view moxie_version() {
  return MOXIE_VERSION;
}

std::string_view moxie_commit() {
  return MOXIE_COMMIT;
}

Machine probe_machine() {
  const std::string memory = read_or_empty("/proc/meminfo");
  utsname system = {};
  const bool named = uname(&system) == 0;
  return {
      .cpu_brand = cpu_brand(),
      .features = cpu_features(),
      .online_cpus = std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN))),
      .affinity_cpus = affinity_cpus(),
      .limits = cgroup_limits(),
      .memory_bytes = meminfo(memory, "MemTotal:"),
      .available_bytes = meminfo(memory, "MemAvailable:"),
      .huge_pages = bracketed(read_or_empty("/sys/kernel/mm/transparent_hugepage/enabled")),
      .versions = {{"moxie", std::string(moxie_version())},
#ifdef __clang__
                   {"compiler", __VERSION__},
#else
                   {"compiler", "GCC " __VERSION__},
#endif
                   {"fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
                   {"simdjson", std::string(json::backend_version())},
                   {"glibc", gnu_get_libc_version()},
                   {"kernel", named ? fmt::format("{} {}", system.sysname, system.release) : ""}},
  };
}

}  // namespace moxie
