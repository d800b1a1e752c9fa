// What this machine gives the process: CPU features, cores and their quota, memory, huge pages. It reads; it sets
// nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moxie {

/// The instruction sets that kernels ask for. One is true if the CPU has it AND the operating system saves its
/// registers.
struct CpuFeatures {
  bool avx2 = false, fma = false, f16c = false;
  bool avx512f = false, avx512bw = false, avx512vl = false, avx512dq = false;
  bool avx512_bf16 = false, avx512_vnni = false;
  bool amx_tile = false, amx_bf16 = false, amx_int8 = false;

  /// Every feature with its name as /proc/cpuinfo writes it, in the order above.
  std::vector<std::pair<std::string_view, bool>> list() const;
};

/// The registers that cpuid and xgetbv answer with; all zero where the CPU does not know the leaf.
struct CpuidAnswer {
  uint32_t leaf1_ecx = 0;
  uint32_t leaf7_ebx = 0, leaf7_ecx = 0, leaf7_edx = 0;
  uint32_t leaf7_1_eax = 0;
  uint64_t xcr0 = 0;  // which registers the operating system saves
};
CpuFeatures decode_features(const CpuidAnswer& answer);

/// The features of the CPU we run on. Cost: a few cpuid calls; ask once.
CpuFeatures cpu_features();

/// Brand as the CPU tells it: "AMD EPYC 9R14"; empty if it tells none.
std::string cpu_brand();

/// What the control groups (v1 or v2) of this process allow: the tightest limit from its own group up to the root.
struct CgroupLimits {
  std::optional<double> cpus;  // CPU time per wall time, in cores; may be a fraction
  std::optional<int64_t> memory_bytes;
};

/// Reads root/proc/self/{cgroup,mountinfo} and the limit files they lead to. A file that is missing, unreadable or
/// malformed sets no limit. `root` is "/" but in tests.
CgroupLimits cgroup_limits(const std::filesystem::path& root = "/");

/// Threads worth starting: min(cpus in the affinity mask, quota rounded up), at least 1. Without arguments it asks for
/// the calling thread.
int usable_threads(int affinity_cpus, const CgroupLimits& limits);
int usable_threads();

struct Machine {
  std::string cpu_brand;
  CpuFeatures features;
  int online_cpus = 1;    // of the machine
  int affinity_cpus = 1;  // that this process may run on (taskset, cpuset)
  CgroupLimits limits;
  std::optional<int64_t> memory_bytes;     // physical
  std::optional<int64_t> available_bytes;  // the kernel's estimate of what can be had without swapping
  std::string huge_pages;                  // transparent huge pages: "always", "madvise", "never", or empty: unknown
  std::vector<std::pair<std::string_view, std::string>> versions;  // moxie, compiler, libraries of base, kernel
};

/// Bytes that this process can have at most: what the machine has, or its tightest limit. Empty: unknown.
std::optional<int64_t> usable_memory(const Machine& machine);

/// Most memory that this process held at once, files it mapped included, since reset_peak_memory() (or its start,
/// where that returned false: not every system lets a process ask). Empty: unknown.
std::optional<int64_t> peak_memory();
bool reset_peak_memory();

/// The version of moxie: "0.1.0".
std::string_view moxie_version();
/// The commit it was built from, twelve digits; empty if it was built outside a repository.
std::string_view moxie_commit();

/// Everything above, for `doctor`. Never throws for what a machine does not tell.
Machine probe_machine();

}  // namespace moxie
