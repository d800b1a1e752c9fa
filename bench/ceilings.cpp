// Prints what this machine can do at most now: bench_ceilings [threads ...]
#include "kernels/ceilings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace {

double read_best(int threads, const moxie::ReadBuffer& buffer) {
  double best = 0;
  for (int i = 0; i < 5; ++i) best = std::max(best, moxie::measure_read_gbps(threads, buffer.data(), buffer.bytes()));
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<int> threads;
  for (int i = 1; i < argc; ++i) threads.push_back(std::max(1, std::atoi(argv[i])));
  if (threads.empty()) threads = {1, 2};
  for (int t : threads) {
    const moxie::Ceilings best = moxie::measure_ceilings(t);
    const double small = read_best(t, moxie::ReadBuffer(size_t{1} << 30, moxie::ReadBuffer::Pages::small));
    fmt::print(
        "{} threads: f32 {:.0f} GFLOP/s, bf16 dot {:.0f} GFLOP/s, int8 dot {:.0f} GOP/s, read {:.1f} GB/s "
        "(4 KiB pages {:.1f})\n",
        t, best.f32_gflops, best.bf16_gflops, best.int8_gops, best.read_gbps, small);
  }
}
