// Times the products of each kernel set against the ceilings measured before and after each run of them:
//   bench_gemm [--threads 2] [--set NAME] [--repeats 7] [--small-pages] [M N K FORMAT]
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdlib>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "format/fp8.h"
#include "kernels/ceilings.h"
#include "kernels/kernels.h"

namespace {

using namespace moxie;

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Shape {
  int64_t m, n, k;
  FormatId format;
};

/// Decode and prefill of a Mixtral-like layer, and fine-grained experts.
const Shape kShapes[] = {
    {1, 14336, 4096, FormatId::bf16},    {1, 4096, 14336, FormatId::bf16},    {1, 768, 2048, FormatId::bf16},
    {1, 14336, 4096, FormatId::f32},     {1, 14336, 4096, FormatId::f16},     {1, 14336, 4096, FormatId::mxfp4},
    {4, 14336, 4096, FormatId::bf16},    {8, 14336, 4096, FormatId::bf16},    {16, 14336, 4096, FormatId::bf16},
    {32, 768, 2048, FormatId::bf16},     {64, 2048, 768, FormatId::bf16},     {64, 14336, 4096, FormatId::bf16},
    {128, 14336, 4096, FormatId::bf16},  {128, 4096, 14336, FormatId::bf16},  {512, 14336, 4096, FormatId::bf16},
    {64, 2048, 768, FormatId::f32},      {128, 14336, 4096, FormatId::f32},   {512, 14336, 4096, FormatId::f32},
    {128, 14336, 4096, FormatId::mxfp4}, {1, 14336, 4096, FormatId::f8_e4m3}, {128, 14336, 4096, FormatId::f8_e4m3},
};

struct Options {
  int threads = 2;
  int repeats = 7;
  std::string set;
  bool small_pages = false, packed = false, in_cache = false;
  std::vector<Shape> shapes{std::begin(kShapes), std::end(kShapes)};
};

/// One call of the whole product, split by blocks of columns over threads; matrix after matrix so that weights come
/// from memory when they are few rows' worth.
class Runner {
 public:
  Runner(const KernelSet& set, const Shape& shape, const ReadBuffer& weights, const Options& options)
      : set_(set), shape_(shape), weights_(weights), threads_(options.threads), packed_(options.packed) {
    row_bytes_ = row_bytes(shape.format, shape.k);
    if (shape.format == FormatId::mxfp4) scale_bytes_ = shape.k / 32;
    if (shape.format == FormatId::f8_e4m3) scale_bytes_ = (shape.k + kFp8Block - 1) / kFp8Block * 4;
    matrix_bytes_ = shape.n * row_bytes_ + (scale_row(shape.format, shape.n - 1) + 1) * scale_bytes_;
    if (!options.in_cache) num_matrices_ = std::max<int64_t>(1, static_cast<int64_t>(weights.bytes()) / matrix_bytes_);
    const FormatId to = set.activation_format(shape.format);
    x_row_bytes_ = row_bytes(to, shape.k);
    x_.resize(static_cast<size_t>(shape.m * x_row_bytes_));
    std::vector<float> row(static_cast<size_t>(shape.k));
    for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(i % 7) - 3;
    for (int64_t m = 0; m < shape.m; ++m) set.encode_row(to, row.data(), shape.k, x_.data() + m * x_row_bytes_);
    y_.resize(static_cast<size_t>(shape.m * shape.n));
    for (int t = 0; t < threads_; ++t) {
      scratch_.emplace_back(static_cast<size_t>(set.gemm_scratch_bytes(shape.m, shape.k)) + 64);
    }
  }

  int64_t matrix_bytes() const { return matrix_bytes_; }

  /// Seconds of `count` products on each of the threads, on average.
  double run(int64_t count) {
    const int64_t width = column_width(), blocks = (shape_.n + width - 1) / width;
    std::atomic<int64_t> next = 0;
    std::barrier start(threads_);
    std::vector<double> seconds(static_cast<size_t>(threads_));
    std::vector<std::jthread> workers;
    for (int t = 0; t < threads_; ++t) {
      workers.emplace_back([&, t] {
        start.arrive_and_wait();
        const double begin = wall_seconds();
        for (int64_t task = next++; task < blocks * count; task = next++) {
          block(t, (matrix_ + task / blocks) % num_matrices_, task % blocks * width);
        }
        seconds[static_cast<size_t>(t)] = wall_seconds() - begin;
      });
    }
    workers.clear();  // joins
    matrix_ = (matrix_ + count) % num_matrices_;
    return std::accumulate(seconds.begin(), seconds.end(), 0.0) / threads_;
  }

 private:
  int64_t column_width() const {
    const int64_t tile = gemm_column_tile(shape_.format);
    return gemm_column_block(shape_.m, shape_.format) / tile * tile;
  }
  void block(int thread, int64_t matrix, int64_t n) {
    const char* data = static_cast<const char*>(weights_.data()) + matrix * matrix_bytes_;
    auto& scratch = scratch_[static_cast<size_t>(thread)];
    const auto address = reinterpret_cast<uintptr_t>(scratch.data());
    set_.gemm({.x = x_.data(),
               .x_format = set_.activation_format(shape_.format),
               .x_row_bytes = x_row_bytes_,
               .num_rows = shape_.m,
               .w = {.data = data,
                     .row_bytes = row_bytes_,
                     .format = shape_.format,
                     .scales = data + shape_.n * row_bytes_,
                     .scale_row_bytes = scale_bytes_,
                     .packed = packed_},
               .n_begin = n,
               .n_end = std::min(n + column_width(), shape_.n),
               .k = shape_.k,
               .y = y_.data() + n,
               .y_stride = shape_.n,
               .scratch = scratch.data() + ((address + 63) / 64 * 64 - address)});
  }

  const KernelSet& set_;
  Shape shape_;
  const ReadBuffer& weights_;
  int threads_;
  bool packed_;
  int64_t row_bytes_, scale_bytes_ = 0, matrix_bytes_, num_matrices_ = 1, x_row_bytes_, matrix_ = 0;
  std::vector<char> x_;
  std::vector<float> y_;
  std::vector<std::vector<char>> scratch_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void measure(const KernelSet& set, const Shape& shape, const ReadBuffer& weights, const Options& options) {
  Runner runner(set, shape, weights, options);
  const double flops = 2.0 * static_cast<double>(shape.m * shape.n * shape.k);
  const double once = runner.run(1);
  const int64_t count = std::max<int64_t>(1, static_cast<int64_t>(0.04 / once));
  const bool dot = set.activation_format(shape.format) == FormatId::bf16;
  const auto probe = [&] {
    Ceilings c = measure_arithmetic(options.threads, 0.01);
    c.read_gbps = measure_read_gbps(options.threads, weights.data(), weights.bytes() / 4);
    return c;
  };
  std::vector<double> seconds, peak_share, read_share;
  Ceilings before = probe();
  for (int i = 0; i < options.repeats; ++i) {
    const double taken = runner.run(count) / static_cast<double>(count);
    const Ceilings after = probe();
    const double peak = dot ? (before.bf16_gflops + after.bf16_gflops) / 2 : (before.f32_gflops + after.f32_gflops) / 2;
    seconds.push_back(taken);
    peak_share.push_back(flops / taken / 1e9 / peak);
    const double read = (before.read_gbps + after.read_gbps) / 2;
    read_share.push_back(static_cast<double>(runner.matrix_bytes()) / taken / 1e9 / read);
    before = after;
  }
  const double typical = median(seconds);
  fmt::print("{:>4} {:>6} {:>6} {:>6} {:>11} {:>9.3f} {:>8.1f} {:>5.0f}% [{:>3.0f}%] {:>7.1f} {:>5.0f}% [{:>3.0f}%]\n",
             shape.m, shape.n, shape.k, format_name(shape.format), set.name, typical * 1e3, flops / typical / 1e9,
             100 * median(peak_share), 100 * *std::max_element(peak_share.begin(), peak_share.end()),
             static_cast<double>(runner.matrix_bytes()) / typical / 1e9, 100 * median(read_share),
             100 * *std::max_element(read_share.begin(), read_share.end()));
  std::fflush(stdout);
}

Options parse(int argc, char** argv) {
  Options options;
  std::vector<std::string> rest;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--threads" && i + 1 < argc) {
      options.threads = std::max(1, std::atoi(argv[++i]));
    } else if (arg == "--repeats" && i + 1 < argc) {
      options.repeats = std::max(1, std::atoi(argv[++i]));
    } else if (arg == "--set" && i + 1 < argc) {
      options.set = argv[++i];
    } else if (arg == "--small-pages") {
      options.small_pages = true;
    } else if (arg == "--packed") {
      options.packed = true;
    } else if (arg == "--in-cache") {
      options.in_cache = true;
    } else {
      rest.push_back(arg);
    }
  }
  if (rest.size() == 4) {
    for (int id = 0; id <= static_cast<int>(FormatId::nvfp4); ++id) {
      const auto format = static_cast<FormatId>(id);
      if (format_name(format) == rest[3]) {
        options.shapes = {
            {std::atoll(rest[0].c_str()), std::atoll(rest[1].c_str()), std::atoll(rest[2].c_str()), format}};
      }
    }
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  const ReadBuffer weights(size_t{1} << 30, options.small_pages ? ReadBuffer::Pages::small : ReadBuffer::Pages::huge);
  fmt::print("{} threads; median [best] shares of the ceilings probed beside each of {} runs\n", options.threads,
             options.repeats);
  fmt::print("{:>4} {:>6} {:>6} {:>6} {:>11} {:>9} {:>8} {:>13} {:>7} {:>13}\n", "M", "N", "K", "w", "set", "ms",
             "GFLOP/s", "of peak", "GB/s", "of read");
  for (const Shape& shape : options.shapes) {
    for (const KernelSet* set : all_kernel_sets()) {
      const bool wanted = options.set.empty() ? set->name != "ref" : set->name == options.set;
      if (wanted && runs_here(*set)) measure(*set, shape, weights, options);
    }
  }
}
