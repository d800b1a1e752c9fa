#include "cli/bandwidth.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>

#include "base/machine.h"
#include "base/thread_pool.h"

namespace moxie::cli {
namespace {

constexpr int64_t kChunkWords = int64_t{1} << 17;  // 1 MiB
constexpr auto kDuration = std::chrono::milliseconds(150);

// Four independent sums, so that the additions wait for the memory and not for each other.
uint64_t sum(const uint64_t* words) {
  std::array<uint64_t, 4> sums = {};
  for (int64_t i = 0; i < kChunkWords; i += 4) {
    for (size_t lane = 0; lane < 4; ++lane) sums[lane] += words[i + static_cast<int64_t>(lane)];
  }
  return sums[0] + sums[1] + sums[2] + sums[3];
}

}  // namespace

MeasuredBandwidth measure_bandwidth() {
  using Clock = std::chrono::steady_clock;
  ThreadPool pool(usable_threads());
  const int64_t available = probe_machine().available_bytes.value_or(int64_t{1} << 30);
  const int64_t chunks = std::clamp<int64_t>(available / 4 >> 20, 16, 256);
  const auto buffer = std::make_unique_for_overwrite<uint64_t[]>(static_cast<size_t>(chunks * kChunkWords));
  std::atomic<uint64_t> total{0};  // keeps the reads from being optimised away
  pool.run(chunks, [&](int64_t chunk, int) { std::memset(&buffer[chunk * kChunkWords], 1, kChunkWords * 8); });
  double best = 0;
  for (const Clock::time_point start = Clock::now(); Clock::now() - start < kDuration;) {
    const Clock::time_point pass = Clock::now();
    pool.run(chunks, [&](int64_t chunk, int) { total += sum(&buffer[chunk * kChunkWords]); });
    const double seconds = std::chrono::duration<double>(Clock::now() - pass).count();
    best = std::max(best, static_cast<double>(chunks * kChunkWords * 8) / seconds);
  }
  return {best, pool.size()};
}

}  // namespace moxie::cli
