// Times training steps (forward, backward, AdamW) of a few shapes on random tokens, with the share of the machine's
// arithmetic peak and the peak memory:
//   bench_train_step [moe|dense|gpt2] [f32|bf16] [--threads 2] [--steps 7]
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/ceilings.h"
#include "model/train_model.h"
#include "plan/accounting.h"
#include "spec/config.h"
#include "train/optimizer.h"

namespace {

using namespace moxie;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Workload {
  std::string config;
  int64_t batch, length;
};

// moe and dense: 6 layers of 384, 8 experts top-2 of 512 and the twin of equal active parameters. gpt2: the 124M shape
// in Llama's form, its feed-forward gated and of equal parameters.
Workload workload(const std::string& name) {
  const std::string common =
      R"("hidden_size":384,"num_hidden_layers":6,"num_attention_heads":6,"num_key_value_heads":6,"vocab_size":256,
      "max_position_embeddings":256,"rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":false)";
  if (name == "moe") {
    return {R"({"model_type":"mixtral","intermediate_size":512,"num_local_experts":8,"num_experts_per_tok":2,)" +
                common + "}",
            16, 256};
  }
  if (name == "dense") return {R"({"model_type":"llama","intermediate_size":1024,)" + common + "}", 16, 256};
  return {R"({"model_type":"llama","hidden_size":768,"num_hidden_layers":12,"num_attention_heads":12,
      "num_key_value_heads":12,"intermediate_size":2048,"vocab_size":50257,"max_position_embeddings":1024,
      "rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":true})",
          4, 64};
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 2, steps = 7;
  std::string name = "moe", format = "f32";
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--threads" && i + 1 < argc) {
      threads = std::atoi(argv[++i]);
    } else if (arg == "--steps" && i + 1 < argc) {
      steps = std::atoi(argv[++i]);
    } else if (arg == "f32" || arg == "bf16") {
      format = arg;
    } else {
      name = arg;
    }
  }
  const Workload work = workload(name);
  Parameters parameters(parse_config(work.config, "bench"));
  initialise(parameters, 1);
  ThreadPool pool(threads, true);
  const KernelSet& kernels = choose_kernel_set();
  TrainModel model(parameters, kernels, pool);
  Optimizer optimizer(parameters);
  std::shared_ptr<float> gradients = parameters.new_block();
  const int64_t tokens = work.batch * work.length;
  std::vector<int32_t> ids(static_cast<size_t>(tokens)), targets(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<int32_t>(Rng(1, 1).below(i, static_cast<uint64_t>(parameters.spec().vocab_size)));
    targets[i > 0 ? i - 1 : ids.size() - 1] = ids[i];
  }
  TrainOptions options;
  options.precision = format == "bf16" ? Precision::bf16 : Precision::f32;
  options.aux.coef = name == "moe" ? 0.01f : 0.0f;
  std::vector<double> whole, update;
  double loss = 0;
  const Ceilings before = measure_arithmetic(threads, 0.1);
  for (int step = 1; step <= steps + 2; ++step) {
    std::vector<MoeStats> stats(static_cast<size_t>(parameters.spec().num_layers));
    for (MoeStats& each : stats) each.reset(8);
    const double begin = now();
    const TrainResult result =
        model.forward_backward({work.batch, work.length, ids, targets}, options, gradients.get(), stats);
    const double middle = now();
    const double norm = optimizer.gradient_norm(pool, gradients.get());
    optimizer.step(kernels, pool,
                   {.lr = 1e-3, .weight_decay = 0.1, .grad_scale = clip_scale(norm, 1.0), .update = step},
                   gradients.get());
    if (step <= 2) continue;
    whole.push_back(now() - begin);
    update.push_back(now() - middle);
    loss = result.loss_sum / static_cast<double>(result.num_targets);
  }
  const Ceilings after = measure_arithmetic(threads, 0.1);
  std::sort(whole.begin(), whole.end());
  std::sort(update.begin(), update.end());
  const double seconds = whole[whole.size() / 2];
  const double flops =
      3 * forward_flops(parameters.spec(), (work.length + 1) / 2).total() * static_cast<double>(tokens);
  const double peak = 1e9 * (options.precision == Precision::f32 ? (before.f32_gflops + after.f32_gflops) / 2
                                                                 : (before.bf16_gflops + after.bf16_gflops) / 2);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  fmt::print(
      "{} {} threads={} set={} params={:.2f}M step={:.0f} ms [{:.0f}-{:.0f}] opt={:.0f} ms  {:.0f} tok/s  "
      "{:.1f} GFLOP/s ({:.0f}% of {:.0f})  loss={:.3f} rss={} MiB\n",
      name, format, threads, kernels.name, static_cast<double>(parameters.num_parameters()) / 1e6, seconds * 1e3,
      whole.front() * 1e3, whole.back() * 1e3, update[update.size() / 2] * 1e3, static_cast<double>(tokens) / seconds,
      flops / seconds / 1e9, 100 * flops / seconds / peak, peak / 1e9, loss, usage.ru_maxrss / 1024);
}
