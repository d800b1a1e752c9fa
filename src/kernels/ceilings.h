// What this machine can do at most, measured now: multiply-adds from registers, and reads from memory. Kernels and
// whole runs are judged by their share of it, in wall time both. Hosts are shared and drift: probe right before and
// after what is judged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace moxie {

struct Ceilings {
  double f32_gflops = 0;   // fused multiply-adds of f32, two operations each
  double bf16_gflops = 0;  // bf16 dot products, two operations a product; 0 if the CPU has none
  double int8_gops = 0;    // products of int8 by dot products, or by chains of pairs, likewise
  double read_gbps = 0;    // reads of memory far beyond the caches, 1e9 bytes a second
};

/// Arithmetic peaks of `threads` threads together, over about `seconds` each. read_gbps is left 0.
Ceilings measure_arithmetic(int threads, double seconds = 0.02);

/// Rate at which `threads` threads together read `bytes` at `data` once, each its own contiguous share.
double measure_read_gbps(int threads, const void* data, size_t bytes);

/// A buffer to read from: anonymous memory, in huge pages where asked and the system grants them.
class ReadBuffer {
 public:
  enum class Pages { huge, small };
  explicit ReadBuffer(size_t bytes = size_t{1} << 30, Pages pages = Pages::huge);
  const void* data() const { return data_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_;
  std::shared_ptr<void> data_;
};

/// Of each limit the larger one: other work on the machine only lowers what a probe sees.
Ceilings better_of(const Ceilings& a, const Ceilings& b);

/// All of them, best of `repeats`. Cost: about 1 s and 1 GiB of memory.
Ceilings measure_ceilings(int threads, int repeats = 5);

}  // namespace moxie
