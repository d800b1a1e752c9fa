// Times one feed-forward block in training, beside the dense block of equal active compute:
//   bench_moe_training [--threads 2] [--repeats 9] [--tokens 4096] [--hidden 384] [--width 512] [--experts 8] [--top-k
//   2]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "moe/train_layer.h"

namespace {

using namespace moxie;

struct Sizes {
  int64_t threads = 2, repeats = 9, tokens = 4096, hidden = 384, width = 512, experts = 8, top_k = 2;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Weights of a block in one float block, gradients beside it.
struct Block {
  Block(const MoeSpec& of, int64_t hidden) : spec(of) {
    const int64_t width = spec.moe_intermediate_size;
    values.reserve(static_cast<size_t>(spec.num_experts * (3 * width + 1) * hidden));  // views keep their addresses
    if (spec.routed) weights.router = matrix(spec.num_experts, hidden);
    for (int64_t e = 0; e < spec.num_experts; ++e) {
      weights.bank.experts.push_back({matrix(width, hidden), matrix(width, hidden), matrix(hidden, width)});
    }
    gradients.assign(values.size(), 0);
  }
  View matrix(int64_t rows, int64_t columns) {
    const size_t begin = values.size();
    const Rng rng(1, begin);
    for (int64_t i = 0; i < rows * columns; ++i)
      values.push_back(0.1f * (rng.uniform(static_cast<uint64_t>(i)) - 0.5f));
    return dense_view(values.data() + begin, FormatId::f32, {rows, columns});
  }
  MoeSpec spec;
  std::vector<float> values, gradients;
  MoeWeights weights;
};

struct Seconds {
  double forward, backward;
};

Seconds time_block(Exec& exec, Block& block, const Sizes& sizes, Precision precision) {
  const auto floats = static_cast<size_t>(sizes.tokens * sizes.hidden);
  std::vector<float> x(floats), y(floats), dy(floats), dx(floats, 0);
  const Rng rng(2, 3);
  for (size_t i = 0; i < floats; ++i) x[i] = rng.uniform(i) - 0.5f, dy[i] = rng.uniform(i + floats) - 0.5f;
  TrainContext context{
      .exec = exec, .precision = precision, .num_tokens = sizes.tokens, .sequence_length = sizes.tokens};
  std::vector<double> forward, backward;
  for (int64_t i = 0; i <= sizes.repeats; ++i) {
    exec.arena.reset();
    std::vector<float> d_logits(static_cast<size_t>(sizes.tokens * block.spec.num_experts), 0);
    const double begin = now();
    const MoeSaved saved = moe_forward(context, block.spec, block.weights, 0, x.data(), y.data());
    const double middle = now();
    moe_backward(context, block.spec, block.weights, 0, saved, x.data(), dy.data(), d_logits.data(),
                 {block.values.data(), block.gradients.data()}, dx.data());
    if (i == 0) continue;  // the arena grows, pages are touched
    forward.push_back(middle - begin);
    backward.push_back(now() - middle);
  }
  std::sort(forward.begin(), forward.end());
  std::sort(backward.begin(), backward.end());
  return {forward[forward.size() / 2], backward[backward.size() / 2]};
}

}  // namespace

int main(int argc, char** argv) {
  Sizes sizes;
  const std::pair<std::string_view, int64_t*> flags[] = {{"--threads", &sizes.threads}, {"--repeats", &sizes.repeats},
                                                         {"--tokens", &sizes.tokens},   {"--hidden", &sizes.hidden},
                                                         {"--width", &sizes.width},     {"--experts", &sizes.experts},
                                                         {"--top-k", &sizes.top_k}};
  for (int i = 1; i + 1 < argc; i += 2) {
    for (const auto& [name, value] : flags) {
      if (argv[i] == name) *value = std::atoll(argv[i + 1]);
    }
  }
  ThreadPool pool(static_cast<int>(sizes.threads), true);
  Arena arena;
  Exec exec{choose_kernel_set(), pool, arena};
  MoeSpec moe{.routed = true,
              .num_experts = sizes.experts,
              .top_k = sizes.top_k,
              .moe_intermediate_size = sizes.width,
              .norm_topk_prob = true};
  Block sparse(moe, sizes.hidden), dense({.moe_intermediate_size = sizes.width * sizes.top_k}, sizes.hidden);
  const double flops = 6e-9 * static_cast<double>(sizes.tokens * sizes.top_k * sizes.hidden * sizes.width);
  fmt::print("{} threads, {}, T {} H {} F {} E {} K {}\n", sizes.threads, exec.kernels.name, sizes.tokens, sizes.hidden,
             sizes.width, sizes.experts, sizes.top_k);
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    const Seconds a = time_block(exec, sparse, sizes, precision), b = time_block(exec, dense, sizes, precision);
    const auto line = [&](std::string_view name, const Seconds& s) {
      fmt::print("{} {:5}: forward {:6.1f} ms ({:.0f} GFLOP/s), backward {:6.1f} ms ({:.0f} GFLOP/s)\n",
                 precision == Precision::f32 ? "f32 " : "bf16", name, 1e3 * s.forward, flops / s.forward,
                 1e3 * s.backward, 2 * flops / s.backward);
    };
    line("moe", a);
    line("dense", b);
    fmt::print("     moe / dense: {:.3f}\n", (a.forward + a.backward) / (b.forward + b.backward));
  }
}
