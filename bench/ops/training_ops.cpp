// Times the training ops that are not products of weights (attention, norm, cross-entropy) and the element-wise
// training kernels on the shapes of a small model:   bench_training_ops [--threads 2] [--repeats 9]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "ops/cross_entropy.h"
#include "ops/norm.h"
#include "ops/train_attention.h"

namespace {

using namespace moxie;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<float> random_floats(int64_t n, uint64_t seed) {
  std::vector<float> data(static_cast<size_t>(n));
  const Rng rng(seed, 1);
  for (int64_t i = 0; i < n; ++i) data[static_cast<size_t>(i)] = rng.uniform(static_cast<uint64_t>(i)) - 0.5f;
  return data;
}

double median_seconds(int repeats, const std::function<void()>& body) {
  std::vector<double> seconds;
  for (int i = 0; i <= repeats; ++i) {
    const double begin = now();
    body();
    if (i > 0) seconds.push_back(now() - begin);
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

void time_attention(Exec& exec, TrainAttention args, int repeats) {
  const int64_t rows = args.batch * args.length;
  const std::vector<float> q = random_floats(rows * args.num_heads * args.k_dim, 1);
  const std::vector<float> k = random_floats(rows * args.num_kv_heads * args.k_dim, 2);
  const std::vector<float> v = random_floats(rows * args.num_kv_heads * args.v_dim, 3);
  std::vector<float> out(static_cast<size_t>(rows * args.num_heads * args.v_dim)), dq = q, dk = k, dv = v;
  double visible = 0;  // pairs of a query and a key
  for (int64_t s = 0; s < args.length; ++s) {
    visible += static_cast<double>(args.window > 0 ? std::min(s + 1, args.window) : s + 1);
  }
  visible *= static_cast<double>(args.batch * args.num_heads);
  const auto k_dim = static_cast<double>(args.k_dim), v_dim = static_cast<double>(args.v_dim);
  for (Precision precision : {Precision::f32, Precision::bf16}) {
    args.precision = precision;
    const double forward =
        median_seconds(repeats, [&] { attention_forward(exec, args, q.data(), k.data(), v.data(), out.data()); });
    const double backward = median_seconds(repeats, [&] {
      attention_backward(exec, args, q.data(), k.data(), v.data(), out.data(), dq.data(), dk.data(), dv.data(),
                         nullptr);
    });
    fmt::print(
        "attention B {} S {} heads {}/{} dim {} window {} {}: forward {:.2f} ms ({:.0f} GFLOP/s), backward "
        "{:.2f} ms ({:.0f} GFLOP/s)\n",
        args.batch, args.length, args.num_heads, args.num_kv_heads, args.k_dim, args.window,
        precision == Precision::f32 ? "f32" : "bf16", 1e3 * forward, 2e-9 * visible * (k_dim + v_dim) / forward,
        1e3 * backward, 2e-9 * visible * (3 * k_dim + 2 * v_dim) / backward);
  }
}

void time_rows(Exec& exec, int64_t rows, int64_t n, int repeats) {
  const std::vector<float> x = random_floats(rows * n, 1), w = random_floats(n, 2), dy = random_floats(rows * n, 3);
  std::vector<float> dx(x.size()), d_weight(w.size()), h(x.size()), losses(static_cast<size_t>(rows));
  const std::vector<int32_t> targets(static_cast<size_t>(rows), 3);
  const auto report = [&](std::string_view name, const std::function<void()>& body) {
    const double seconds = median_seconds(repeats, body);
    fmt::print("{} [{}, {}]: {:.2f} ms, {:.2f} ns an element\n", name, rows, n, 1e3 * seconds,
               1e9 * seconds / static_cast<double>(rows * n));
  };
  const NormParams norm{.weight = w.data()};
  report("norm forward", [&] { norm_forward(exec, norm, x.data(), n, rows, n, h.data(), n); });
  report("norm backward", [&] {
    norm_backward(exec, norm, x.data(), n, dy.data(), n, rows, n, dx.data(), n, d_weight.data(), nullptr);
  });
  report("cross-entropy", [&] {
    std::copy(x.begin(), x.end(), dx.begin());
    cross_entropy(exec, dx.data(), rows, n, targets.data(), 1.0f, losses.data());
  });
  report("glu backward, one thread", [&] {
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t at = i * n;
      exec.kernels.glu_backward({}, &x[static_cast<size_t>(at)], &dy[static_cast<size_t>(at)],
                                &x[static_cast<size_t>(at)], 1.0f, n, &dx[static_cast<size_t>(at)],
                                &h[static_cast<size_t>(at)], &h[static_cast<size_t>(at)]);
    }
  });
  std::vector<float> m(x.size()), v(x.size());
  report("adamw, one thread", [&] {
    exec.kernels.adamw({.weight = dx.data(),
                        .grad = dy.data(),
                        .m = m.data(),
                        .v = v.data(),
                        .n = rows * n,
                        .lr = 1e-3f,
                        .bias1 = 0.1f,
                        .bias2 = 0.05f});
  });
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 2, repeats = 9;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view arg = argv[i];
    if (arg == "--threads") threads = std::atoi(argv[i + 1]);
    if (arg == "--repeats") repeats = std::atoi(argv[i + 1]);
  }
  const KernelSet& kernels = choose_kernel_set();
  ThreadPool pool(threads, true);
  Arena arena;
  Exec exec{kernels, pool, arena};
  fmt::print("{} threads, set {}\n", threads, kernels.name);
  const TrainAttention base{.batch = 16, .length = 256, .num_heads = 6, .num_kv_heads = 6, .k_dim = 64, .v_dim = 64};
  TrainAttention grouped = base, windowed = base;
  grouped.num_kv_heads = 2;
  windowed.batch = 4;
  windowed.length = 1024;
  windowed.window = 128;
  for (TrainAttention args : {base, grouped, windowed}) {
    args.scale = 0.125f;
    time_attention(exec, args, repeats);
  }
  time_rows(exec, 4096, 384, repeats);
}
