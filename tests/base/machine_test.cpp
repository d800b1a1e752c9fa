// Tests of base/machine: CPU features need the operating system, control groups of both versions, threads from both.
#include "base/machine.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>

namespace moxie {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t bit(int index) {
  return 1u << index;
}

// A CPU with everything, on a system that saves `xcr0`.
CpuFeatures full_cpu(uint64_t xcr0) {
  return decode_features(
      {.leaf1_ecx = ~0u, .leaf7_ebx = ~0u, .leaf7_ecx = ~0u, .leaf7_edx = ~0u, .leaf7_1_eax = ~0u, .xcr0 = xcr0});
}

int count(const CpuFeatures& features) {
  int present = 0;
  for (const auto& [name, has] : features.list()) present += has;
  return present;
}

TEST(CpuFeatures, need_an_operating_system_that_saves_their_registers) {
  EXPECT_EQ(count(full_cpu(0)), 0);
  EXPECT_EQ(count(full_cpu(0x2)), 0);  // SSE only
  const CpuFeatures avx = full_cpu(0x6);
  EXPECT_TRUE(avx.avx2 && avx.fma && avx.f16c);
  EXPECT_EQ(count(avx), 3);
  EXPECT_EQ(count(full_cpu(0x26)), 3);  // opmask without the upper halves is no AVX-512
  EXPECT_EQ(count(full_cpu(0xe6)), 9);
  EXPECT_EQ(count(full_cpu(0x600e6)), 12);
}

TEST(CpuFeatures, are_read_from_their_own_bits) {
  const CpuidAnswer haswell = {.leaf1_ecx = bit(28) | bit(12) | bit(29), .leaf7_ebx = bit(5), .xcr0 = 0x6};
  const CpuFeatures old = decode_features(haswell);
  EXPECT_TRUE(old.avx2 && old.fma && old.f16c);
  EXPECT_EQ(count(old), 3);

  CpuidAnswer skylake = haswell;
  skylake.leaf7_ebx |= bit(16) | bit(17) | bit(30) | bit(31);
  skylake.xcr0 = 0xe6;
  const CpuFeatures server = decode_features(skylake);
  EXPECT_TRUE(server.avx512f && server.avx512dq && server.avx512bw && server.avx512vl);
  EXPECT_EQ(count(server), 7);

  skylake.leaf7_ecx = bit(11);
  EXPECT_TRUE(decode_features(skylake).avx512_vnni);
  skylake.leaf7_1_eax = bit(5);
  EXPECT_TRUE(decode_features(skylake).avx512_bf16);
  EXPECT_EQ(count(decode_features(skylake)), 9);
}

TEST(CpuFeatures, agree_with_the_compilers_own_test) {
  const CpuFeatures features = cpu_features();
  EXPECT_EQ(features.avx2, __builtin_cpu_supports("avx2") != 0);
  EXPECT_EQ(features.fma, __builtin_cpu_supports("fma") != 0);
  EXPECT_EQ(features.avx512f, __builtin_cpu_supports("avx512f") != 0);
  EXPECT_EQ(features.avx512bw, __builtin_cpu_supports("avx512bw") != 0);
  EXPECT_EQ(features.avx512_vnni, __builtin_cpu_supports("avx512vnni") != 0);
}

// A root with the files that the kernel would show.
class Cgroup : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("moxie_cgroup_" + std::to_string(getpid()));
    fs::remove_all(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const fs::path& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void v2(const std::string& group, const std::string& mount_root = "/") {
    write("proc/self/cgroup", "0::" + group + "\n");
    write("proc/self/mountinfo", "22 1 0:20 / / rw - ext4 /dev/vda rw\n30 22 0:26 " + mount_root +
                                     " /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  }
  CgroupLimits limits() const { return cgroup_limits(root_); }

  fs::path root_;
};

TEST_F(Cgroup, without_files_sets_no_limit) {
  EXPECT_FALSE(limits().cpus);
  EXPECT_FALSE(limits().memory_bytes);
  v2("/user.slice");  // the mount is named, but its files are not there
  EXPECT_FALSE(limits().cpus);
}

TEST_F(Cgroup, v2_quota_and_memory_are_read) {
  v2("/");
  write("sys/fs/cgroup/cpu.max", "150000 100000\n");
  write("sys/fs/cgroup/memory.max", "2147483648\n");
  EXPECT_DOUBLE_EQ(limits().cpus.value(), 1.5);
  EXPECT_EQ(limits().memory_bytes.value(), int64_t{2} << 30);
}

TEST_F(Cgroup, v2_max_means_no_limit) {
  v2("/");
  write("sys/fs/cgroup/cpu.max", "max 100000\n");
  write("sys/fs/cgroup/memory.max", "max\n");
  EXPECT_FALSE(limits().cpus);
  EXPECT_FALSE(limits().memory_bytes);
}

TEST_F(Cgroup, the_tightest_ancestor_wins) {
  v2("/a/b");
  write("sys/fs/cgroup/a/b/cpu.max", "800000 100000\n");
  write("sys/fs/cgroup/a/cpu.max", "200000 100000\n");
  write("sys/fs/cgroup/a/b/memory.max", "1000\n");
  write("sys/fs/cgroup/a/memory.max", "5000\n");
  EXPECT_DOUBLE_EQ(limits().cpus.value(), 2.0);
  EXPECT_EQ(limits().memory_bytes.value(), 1000);
}

TEST_F(Cgroup, a_mount_of_a_subtree_is_followed) {
  v2("/docker/7f/app", "/docker/7f");
  write("sys/fs/cgroup/app/cpu.max", "300000 100000\n");
  EXPECT_DOUBLE_EQ(limits().cpus.value(), 3.0);
}

TEST_F(Cgroup, a_group_outside_the_mount_does_not_leave_it) {
  v2("/../../etc");
  write("sys/fs/cgroup/cpu.max", "100000 100000\n");
  write("etc/cpu.max", "1 100000\n");
  EXPECT_DOUBLE_EQ(limits().cpus.value(), 1.0);
}

TEST_F(Cgroup, v1_and_v2_side_by_side_are_both_read) {
  write("proc/self/cgroup", "3:memory:/box\n2:cpuset:/\n1:cpu,cpuacct:/box\n0::/\n");
  write("proc/self/mountinfo",
        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
  write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "250000\n");
  write("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_DOUBLE_EQ(limits().cpus.value(), 2.5);
  EXPECT_FALSE(limits().memory_bytes);
  write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1048576\n");
  EXPECT_EQ(limits().memory_bytes.value(), 1048576);
}

TEST_F(Cgroup, malformed_files_set_no_limit) {
  const std::string texts[] = {"",     "x y\n", "100000\n", "-5 100000\n", "100000 0\n", "99999999999999999999 1\n",
                               ":::\n"};
  for (const std::string& text : texts) {
    v2("/");
    write("sys/fs/cgroup/cpu.max", text);
    write("sys/fs/cgroup/memory.max", text.empty() ? "12 cats\n" : text == "100000\n" ? "" : text);
    EXPECT_FALSE(limits().cpus) << text;
    EXPECT_FALSE(limits().memory_bytes) << text;
    write("proc/self/mountinfo", text);
    EXPECT_FALSE(limits().cpus) << text;
    write("proc/self/cgroup", text);
    EXPECT_FALSE(limits().cpus) << text;
  }
}

TEST(Threads, follow_affinity_and_quota_rounded_up) {
  EXPECT_EQ(usable_threads(8, {}), 8);
  EXPECT_EQ(usable_threads(64, {.cpus = 2.0}), 2);
  EXPECT_EQ(usable_threads(64, {.cpus = 2.1}), 3);
  EXPECT_EQ(usable_threads(64, {.cpus = 0.25}), 1);
  EXPECT_EQ(usable_threads(2, {.cpus = 1e12}), 2);
  EXPECT_EQ(usable_threads(0, {}), 1);
}

TEST(Machine, tells_what_every_linux_tells) {
  const Machine machine = probe_machine();
  EXPECT_GE(machine.affinity_cpus, 1);
  EXPECT_GE(machine.online_cpus, 1);
  ASSERT_TRUE(machine.memory_bytes);
  ASSERT_TRUE(machine.available_bytes);
  EXPECT_GT(*machine.memory_bytes, int64_t{64} << 20);
  EXPECT_LE(*machine.available_bytes, *machine.memory_bytes);
  for (const auto& [name, version] : machine.versions) EXPECT_FALSE(version.empty()) << name;
}

TEST(PeakMemory, knows_what_was_held_for_a_while) {
  if (!reset_peak_memory() || !peak_memory()) GTEST_SKIP() << "this system does not tell";
  const int64_t before = peak_memory().value();
  constexpr size_t kBytes = size_t{64} << 20;
  // straight from the system: an allocator may keep what it is given back
  void* held = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(held, MAP_FAILED);
  for (size_t i = 0; i < kBytes; i += 4096) static_cast<volatile char*>(held)[i] = 1;
  ::munmap(held, kBytes);
  EXPECT_GT(peak_memory().value(), before + (int64_t{60} << 20));
  EXPECT_TRUE(reset_peak_memory());
  EXPECT_LT(peak_memory().value(), before + (int64_t{60} << 20));
}

}  // namespace
}  // namespace moxie
