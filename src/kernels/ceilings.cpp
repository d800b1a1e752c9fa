// Runs the probes of the widest instruction set on several threads at once.
#include "kernels/ceilings.h"

#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "kernels/cpu/probes.h"
#include "kernels/cpu/sets.h"
#include "kernels/kernels.h"

namespace moxie {
namespace {

/// Wall time: what users wait for, and what a stolen core costs.
double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The plain probe for CPUs without a fast set: no vectors, so a low estimate.
const cpu::Probes kPlainProbes = {
    .f32_flops_a_turn = 16,
    .bf16_flops_a_turn = 0,
    .int8_ops_a_turn = 0,
    .f32 =
        [](int64_t turns) noexcept {
          float sum[8] = {}, factor = 0.5f;
          for (int64_t t = 0; t < turns; ++t) {
            for (float& s : sum) s = s * factor + 1;
          }
          return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
        },
    .bf16 = nullptr,
    .int8 = nullptr,
    .read =
        [](const void* data, int64_t bytes) noexcept {
          uint64_t sum = 0;
          for (int64_t i = 0; i < bytes / 8; ++i) sum ^= static_cast<const uint64_t*>(data)[i];
          return sum;
        },
};

const cpu::Probes& probes() {
  if (runs_here(cpu::kAvx512Bf16Set)) return cpu::kAvx512Bf16Probes;
  if (runs_here(cpu::kAvx512VnniSet)) return cpu::kAvx512VnniProbes;
  if (runs_here(cpu::kAvx512Set)) return cpu::kAvx512Probes;
  if (runs_here(cpu::kAvx2Set)) return cpu::kAvx2Probes;
  return kPlainProbes;
}

/// Seconds of the slowest of `threads` threads that do their work at the same time.
double time_together(int threads, const std::function<void(int)>& work) {
  std::barrier start(threads);
  std::vector<double> seconds(static_cast<size_t>(threads));
  std::vector<std::jthread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      start.arrive_and_wait();
      const double begin = wall_seconds();
      work(t);
      seconds[static_cast<size_t>(t)] = wall_seconds() - begin;
    });
  }
  workers.clear();  // joins
  return *std::max_element(seconds.begin(), seconds.end());
}

/// Operations a second, in 1e9, of `loop` on all threads for about `seconds`.
double rate(int threads, float (*loop)(int64_t) noexcept, double flops_a_turn, double seconds) {
  const auto run = [loop](int64_t turns) {
    volatile float sink = loop(turns);  // keeps the work from being optimised away
    (void)sink;
  };
  int64_t turns = 1000;  // find how many take a twentieth of the time, then run twenty times that
  for (double taken = 0; taken < seconds / 20; turns *= 2) {
    const double begin = wall_seconds();
    run(turns);
    taken = wall_seconds() - begin;
  }
  turns *= 10;
  const double taken = time_together(threads, [&](int) { run(turns); });
  return flops_a_turn * static_cast<double>(turns) * threads / taken / 1e9;
}

}  // namespace

Ceilings measure_arithmetic(int threads, double seconds) {
  const cpu::Probes& table = probes();
  Ceilings ceilings;
  ceilings.f32_gflops = rate(threads, table.f32, table.f32_flops_a_turn, seconds);
  if (table.bf16 != nullptr) ceilings.bf16_gflops = rate(threads, table.bf16, table.bf16_flops_a_turn, seconds);
  if (table.int8 != nullptr) ceilings.int8_gops = rate(threads, table.int8, table.int8_ops_a_turn, seconds);
  return ceilings;
}

double measure_read_gbps(int threads, const void* data, size_t bytes) {
  const size_t share = bytes / static_cast<size_t>(threads) / 4096 * 4096;
  const double taken = time_together(threads, [&](int t) {
    volatile uint64_t sink =
        probes().read(static_cast<const char*>(data) + share * static_cast<size_t>(t), static_cast<int64_t>(share));
    (void)sink;
  });
  return static_cast<double>(share) * threads / taken / 1e9;
}

ReadBuffer::ReadBuffer(size_t bytes, Pages pages) : bytes_(bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw make_error(ErrorCode::does_not_fit, "{} bytes of memory to measure reads", bytes);
  madvise(data, bytes, pages == Pages::huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);  // a wish: no error if refused
  data_ = std::shared_ptr<void>(data, [bytes](void* p) { munmap(p, bytes); });
  for (size_t i = 0; i < bytes; i += 4096) static_cast<volatile char*>(data)[i] = static_cast<char>(i >> 12);
}

Ceilings better_of(const Ceilings& a, const Ceilings& b) {
  return {.f32_gflops = std::max(a.f32_gflops, b.f32_gflops),
          .bf16_gflops = std::max(a.bf16_gflops, b.bf16_gflops),
          .int8_gops = std::max(a.int8_gops, b.int8_gops),
          .read_gbps = std::max(a.read_gbps, b.read_gbps)};
}

Ceilings measure_ceilings(int threads, int repeats) {
  const ReadBuffer buffer;
  Ceilings best;
  for (int i = 0; i < repeats; ++i) {
    Ceilings now = measure_arithmetic(threads);
    now.read_gbps = measure_read_gbps(threads, buffer.data(), buffer.bytes());
    best = better_of(best, now);
  }
  return best;
}

}  // namespace moxie
