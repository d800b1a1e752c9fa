// What the kernel tests share: the sets that run here, deterministic numbers, and buffers that end where memory ends.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "format/codec.h"
#include "kernels/kernels.h"

namespace moxie::test {

/// Every set but ref that this CPU can run.
inline std::vector<const KernelSet*> fast_sets() {
  std::vector<const KernelSet*> sets;
  for (const KernelSet* set : all_kernel_sets()) {
    if (set->name != "ref" && runs_here(*set)) sets.push_back(set);
  }
  return sets;
}

inline const KernelSet& ref() {
  return *find_kernel_set("ref");
}

/// Every set that this CPU can run.
inline std::vector<const KernelSet*> sets_here() {
  std::vector<const KernelSet*> sets = fast_sets();
  sets.push_back(&ref());
  return sets;
}

/// Allowed error of a product, as a share of sum |x w|, for rows of up to 1000 k. The inputs are rounded to the format
/// before both sides, so that only the sum differs: f32 everywhere.
inline double tolerance(FormatId weight) {
  switch (weight) {
    case FormatId::f32:
    case FormatId::bf16:
    case FormatId::f16:
    case FormatId::mxfp4:
    case FormatId::f8_e4m3:
      return 1e-6;
    default:
      return 4e-6;  // block formats: what scales and what mins give is rounded apart
  }
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2 + 1) {}
  uint32_t bits() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33);
  }
  int64_t below(int64_t n) { return bits() % n; }
  /// Roughly normal, variance 1.
  float normal() {
    float sum = 0;
    for (int i = 0; i < 12; ++i) sum += static_cast<float>(bits() & 0xffff) / 65536.0f;
    return sum - 6;
  }

 private:
  uint64_t state_;
};

/// Bytes that end right before a page that may not be touched, `offset` bytes late in their alignment if asked.
class GuardedBytes {
 public:
  explicit GuardedBytes(size_t size) : size_(size) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    mapped_ = (size + page - 1) / page * page + page;
    base_ = static_cast<char*>(mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED || mprotect(base_ + mapped_ - page, page, PROT_NONE) != 0) abort();
    data_ = base_ + mapped_ - page - size;
  }
  ~GuardedBytes() { munmap(base_, mapped_); }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;
  char* data() const { return data_; }
  float* floats() const { return reinterpret_cast<float*>(data_); }
  size_t size() const { return size_; }

 private:
  size_t size_, mapped_ = 0;
  char* base_ = nullptr;
  char* data_ = nullptr;
};

inline std::vector<float> normals(int64_t n, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = random.normal();
  return values;
}

/// 64-byte aligned scratch.
class Scratch {
 public:
  explicit Scratch(int64_t bytes) : bytes_(static_cast<size_t>(bytes) + 64) {}
  void* get() {
    const auto address = reinterpret_cast<uintptr_t>(bytes_.data());
    return bytes_.data() + ((address + 63) / 64 * 64 - address);
  }

 private:
  std::vector<char> bytes_;
};

inline std::string hex(float v) {
  char text[64];
  std::snprintf(text, sizeof text, "%a (%08x)", static_cast<double>(v), std::bit_cast<uint32_t>(v));
  return text;
}

}  // namespace moxie::test
