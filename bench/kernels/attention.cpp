// Times the attention of one KV head on each kernel set, beside the ceilings measured before and after each run:
//   bench_attention [--threads 2] [--set NAME] [--repeats 5] [--kv FORMAT] [--only WORD]
// Decode reads a cache far larger than any processor cache: its limit is memory. Prefill is bound by multiplication.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/ceilings.h"
#include "kernels/kernels.h"

namespace {

using namespace moxie;

struct Shape {
  std::string name;
  int64_t num_queries, depth, group, k_dim, v_dim;
  bool latent = false;
  int64_t total() const { return num_queries + depth; }
};

const Shape kShapes[] = {
    {"decode", 1, 511, 1, 128, 128},           {"decode", 1, 511, 4, 128, 128},     {"decode", 1, 511, 8, 128, 128},
    {"decode", 1, 4095, 1, 128, 128},          {"decode", 1, 4095, 4, 128, 128},    {"decode", 1, 4095, 8, 128, 128},
    {"decode", 1, 32767, 1, 128, 128},         {"decode", 1, 32767, 4, 128, 128},   {"decode", 1, 32767, 8, 128, 128},
    {"latent", 1, 4095, 16, 576, 512, true},   {"prefill", 512, 0, 1, 128, 128},    {"prefill", 512, 0, 4, 128, 128},
    {"prefill", 512, 4096, 1, 128, 128},       {"prefill", 512, 4096, 4, 128, 128}, {"prefill", 512, 4096, 4, 64, 64},
    {"latent", 128, 1024, 16, 576, 512, true},
};

struct Options {
  int threads = 2, repeats = 5;
  std::string set, only;
  std::vector<FormatId> formats = {FormatId::f32, FormatId::f16, FormatId::bf16, FormatId::q8_0};
};

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// So many heads side by side that decode finds nothing in a cache.
class Heads {
 public:
  Heads(const Shape& shape, FormatId format, int64_t count) : shape_(shape), format_(format), count_(count) {
    const int64_t pages = (shape.total() + kKeyBlock - 1) / kKeyBlock;
    k_bytes_ = key_part_bytes(format, shape.k_dim);
    v_bytes_ = shape.latent ? 0 : value_part_bytes(format, shape.v_dim);
    memory_.emplace(static_cast<size_t>(count * pages * (k_bytes_ + v_bytes_)) + 64);
    auto* at = static_cast<char*>(const_cast<void*>(memory_->data()));
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> row(static_cast<size_t>(std::max(shape.k_dim, shape.v_dim)));
    for (int64_t p = 0; p < count * pages; ++p, at += k_bytes_ + v_bytes_) {
      v_pages_.push_back(at);
      k_pages_.push_back(at + v_bytes_);
      if (p > 0) {
        std::copy_n(static_cast<const char*>(v_pages_[0]), k_bytes_ + v_bytes_, at);
        continue;
      }
      for (int64_t slot = 0; slot < kKeyBlock; ++slot) {
        for (float& x : row) x = normal(random);
        store_key(*find_kernel_set("ref"), format, row.data(), shape.k_dim, slot, at + v_bytes_);
        if (!shape.latent) store_value(*find_kernel_set("ref"), format, row.data(), shape.v_dim, slot, at);
      }
    }
    q_.resize(static_cast<size_t>(shape.num_queries * shape.group * shape.k_dim));
    for (float& x : q_) x = normal(random);
    out_.resize(static_cast<size_t>(count * shape.num_queries * shape.group * shape.v_dim));
    for (int64_t i = 0; i < shape.num_queries; ++i) position_.push_back(static_cast<int32_t>(shape.depth + i));
  }

  double read_bytes() const {
    return static_cast<double>(count_ * shape_.total() * (k_bytes_ + v_bytes_)) / static_cast<double>(kKeyBlock);
  }
  double flops() const {
    const double seen = static_cast<double>(shape_.num_queries) *
                        (static_cast<double>(shape_.depth) + (1 + static_cast<double>(shape_.num_queries)) / 2);
    return 2 * static_cast<double>(count_ * shape_.group * (shape_.k_dim + shape_.v_dim)) * seen;
  }

  /// Seconds of all heads; queries in pieces of 32, as a model cuts them.
  double run(const KernelSet& set, ThreadPool& pool) {
    const int64_t pieces = (shape_.num_queries + 31) / 32;
    const int64_t pages = static_cast<int64_t>(k_pages_.size()) / count_;
    const int64_t scratch_bytes = (set.attention_scratch_bytes(shape_.k_dim, shape_.v_dim) + 127) / 64 * 64;
    scratch_.resize(static_cast<size_t>(scratch_bytes * pool.size()) + 64);
    char* scratch = scratch_.data() + (64 - reinterpret_cast<uintptr_t>(scratch_.data()) % 64);
    const double start = wall_seconds();
    pool.run(count_ * pieces, [&](int64_t item, int worker) {
      const int64_t head = item / pieces, first = item % pieces * 32, row = shape_.group * shape_.k_dim;
      set.attention({.q = q_.data() + first * row,
                     .q_stride = row,
                     .q_head_stride = shape_.k_dim,
                     .position = position_.data() + first,
                     .num_queries = std::min<int64_t>(32, shape_.num_queries - first),
                     .group = shape_.group,
                     .k_dim = shape_.k_dim,
                     .v_dim = shape_.v_dim,
                     .format = format_,
                     .k_pages = k_pages_.data() + head * pages,
                     .v_pages = shape_.latent ? nullptr : v_pages_.data() + head * pages,
                     .scale = 0.0625f,
                     .out = out_.data() + (head * shape_.num_queries + first) * shape_.group * shape_.v_dim,
                     .out_stride = shape_.group * shape_.v_dim,
                     .out_head_stride = shape_.v_dim,
                     .scratch = scratch + worker * scratch_bytes});
    });
    return wall_seconds() - start;
  }

 private:
  Shape shape_;
  FormatId format_;
  int64_t count_, k_bytes_, v_bytes_;
  std::optional<ReadBuffer> memory_;  // huge pages, as the cache has
  std::vector<char> scratch_;
  std::vector<const void*> k_pages_, v_pages_;
  std::vector<float> q_, out_;
  std::vector<int32_t> position_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::string shares(const std::vector<double>& all) {
  return fmt::format("{:.0f}% [{:.0f}%]", 100 * median(all), 100 * *std::max_element(all.begin(), all.end()));
}

void measure(const KernelSet& set, const Shape& shape, FormatId format, const Options& options,
             const ReadBuffer& buffer, ThreadPool& pool) {
  // 256 MiB where memory is the limit; a head for each thread where multiplication is
  const int64_t head_bytes = shape.total() * (shape.k_dim + (shape.latent ? 0 : shape.v_dim)) *
                             key_part_bytes(format, shape.k_dim) / (shape.k_dim * kKeyBlock);
  const int64_t count =
      shape.num_queries > 1 ? options.threads : std::max<int64_t>(options.threads, (int64_t{256} << 20) / head_bytes);
  Heads heads(shape, format, count);
  heads.run(set, pool);  // warm-up
  const bool pairs = set.activation_format(FormatId::bf16) == FormatId::bf16 && format == FormatId::bf16;
  std::vector<double> seconds, of_peak, of_read;
  for (int i = 0; i < options.repeats; ++i) {
    const Ceilings ceilings = measure_arithmetic(options.threads);
    const double read = measure_read_gbps(options.threads, buffer.data(), buffer.bytes());
    seconds.push_back(heads.run(set, pool));
    const double peak = pairs ? ceilings.bf16_gflops : ceilings.f32_gflops;
    of_peak.push_back(heads.flops() / seconds.back() / 1e9 / peak);
    of_read.push_back(heads.read_bytes() / seconds.back() / 1e9 / read);
  }
  const double typical = median(seconds);
  fmt::print("{:>8} {:>4} {:>6} {:>6} {:>7} {:>5} {:>11} {:>9.3f} {:>8.1f} {:>13} {:>7.1f} {:>13}\n", shape.name,
             shape.num_queries, shape.depth, shape.group,
             fmt::format("{}+{}", shape.k_dim, shape.latent ? 0 : shape.v_dim), format_name(format), set.name,
             typical * 1e3, heads.flops() / typical / 1e9, shares(of_peak), heads.read_bytes() / typical / 1e9,
             shares(of_read));
  std::fflush(stdout);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i], value = argv[i + 1];
    if (flag == "--threads") options.threads = std::max(1, std::atoi(value.c_str()));
    if (flag == "--repeats") options.repeats = std::max(1, std::atoi(value.c_str()));
    if (flag == "--set") options.set = value;
    if (flag == "--only") options.only = value;
    if (flag == "--kv") std::erase_if(options.formats, [&](FormatId id) { return format_name(id) != value; });
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  const ReadBuffer buffer(size_t{256} << 20);
  ThreadPool pool(options.threads, true);
  fmt::print("{} threads; medians [best] of {} runs, shares of the ceilings probed beside each\n", options.threads,
             options.repeats);
  fmt::print("{:>8} {:>4} {:>6} {:>6} {:>7} {:>5} {:>11} {:>9} {:>8} {:>13} {:>7} {:>13}\n", "", "M", "depth", "group",
             "dims", "kv", "set", "ms", "GFLOP/s", "of peak", "GB/s", "of read");
  for (const Shape& shape : kShapes) {
    if (!options.only.empty() && shape.name != options.only) continue;
    for (const FormatId format : options.formats) {
      for (const KernelSet* set : all_kernel_sets()) {
        const bool wanted = options.set.empty() ? set->name != "ref" : set->name == options.set;
        if (wanted && runs_here(*set)) measure(*set, shape, format, options, buffer, pool);
      }
    }
  }
}
