// Times the three training products (forward, gradient of the input, gradient of the weight) against the ceilings of
// the same minute:   bench_matmul [--threads 2] [--repeats 7] [M N K]
#include "ops/matmul.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "kernels/ceilings.h"

namespace {

using namespace moxie;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<float> random_floats(int64_t n) {
  std::vector<float> data(static_cast<size_t>(n));
  const Rng rng(1, 1);
  for (int64_t i = 0; i < n; ++i) data[static_cast<size_t>(i)] = rng.uniform(static_cast<uint64_t>(i)) - 0.5f;
  return data;
}

struct Size {
  int64_t m, n, k;
};

// Tokens x columns of a small MoE's experts, projections and head; a larger layer; GPT-2's feed-forward at 256 tokens.
const Size kSizes[] = {{1024, 512, 384},   {4096, 384, 384}, {4096, 256, 384}, {512, 192, 192},
                       {1024, 1024, 1024}, {256, 3072, 768}, {64, 64, 256}};

double median_seconds(Exec& exec, Precision precision, const MatmulJob& job, int repeats) {
  std::vector<MatmulJob> jobs(8, job);  // of one region, as the experts of a layer
  std::vector<std::vector<float>> outputs;
  for (MatmulJob& each : jobs) {
    outputs.emplace_back(static_cast<size_t>(job.m * job.n));
    each.c = outputs.back().data();
  }
  std::vector<double> seconds;
  for (int i = 0; i <= repeats; ++i) {
    const double begin = now();
    matmul(exec, precision, jobs);
    if (i > 0) seconds.push_back((now() - begin) / static_cast<double>(jobs.size()));
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 2, repeats = 9;
  std::vector<Size> sizes(std::begin(kSizes), std::end(kSizes));
  std::vector<int64_t> numbers;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--threads" && i + 1 < argc) {
      threads = std::atoi(argv[++i]);
    } else if (arg == "--repeats" && i + 1 < argc) {
      repeats = std::atoi(argv[++i]);
    } else {
      numbers.push_back(std::atoll(argv[i]));
    }
  }
  if (numbers.size() == 3) sizes = {{numbers[0], numbers[1], numbers[2]}};
  const KernelSet& kernels = choose_kernel_set();
  ThreadPool pool(threads, true);
  Arena arena;
  Exec exec{kernels, pool, arena};
  fmt::print("{} threads, set {}\n{:<20}{:<6}{:>24}{:>24}{:>24}\n", threads, kernels.name, "M x N x K", "", "forward",
             "input gradient", "weight gradient");
  for (const Size& s : sizes) {
    const std::vector<float> x = random_floats(s.m * s.k), w = random_floats(s.n * s.k), dy = random_floats(s.m * s.n);
    std::vector<float> out(static_cast<size_t>(std::max({s.m * s.n, s.m * s.k, s.n * s.k})));
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
      const Ceilings ceilings = measure_arithmetic(threads, 0.05);
      const double peak = 1e9 * (precision == Precision::f32 ? ceilings.f32_gflops : ceilings.bf16_gflops);
      const View weight = dense_view(w.data(), FormatId::f32, {s.n, s.k});
      const MatmulJob jobs[] = {linear_forward(x.data(), s.m, s.k, w.data(), s.n, nullptr, out.data()),
                                linear_input_gradient(dy.data(), s.m, s.n, w.data(), s.k, out.data(), false),
                                linear_weight_gradient(dy.data(), s.m, x.data(), weight, {w.data(), out.data()})};
      fmt::print("{:<20}{:<6}", fmt::format("{} x {} x {}", s.m, s.n, s.k),
                 precision == Precision::f32 ? "f32" : "bf16");
      for (const MatmulJob& job : jobs) {
        const double flops = 2.0 * static_cast<double>(s.m * s.n * s.k);
        const double rate = flops / median_seconds(exec, precision, job, repeats);
        fmt::print("{:>24}", fmt::format("{:.0f} GFLOP/s ({:.0f}%)", rate / 1e9, 100 * rate / peak));
      }
      fmt::print("\n");
    }
  }
}
