// A model in training with the least around it: for tests of loss and gradients.
#pragma once

#include <cmath>
#include <map>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "kernels/support.h"
#include "model/copies.h"
#include "model/train_model.h"
#include "spec/config.h"

namespace moxie::test {

inline json::Value parse_json(const std::filesystem::path& path) {
  return json::parse(read_file(path, 1 << 24), {});
}

/// ref and the best set of this CPU.
inline std::vector<const KernelSet*> two_sets() {
  return {&ref(), &choose_kernel_set()};
}

/// Rows of bytes, and for each byte the next one of its row as target.
struct Batch {
  Batch(std::vector<int32_t> all, int64_t num_rows) : tokens(std::move(all)), rows(num_rows) {
    const auto length = static_cast<size_t>(static_cast<int64_t>(tokens.size()) / rows);
    for (size_t i = 0; i < tokens.size(); ++i) targets.push_back((i + 1) % length == 0 ? -1 : tokens[i + 1]);
  }
  TrainBatch view() const {
    return {.batch = rows, .length = static_cast<int64_t>(tokens.size()) / rows, .tokens = tokens, .targets = targets};
  }
  std::vector<int32_t> tokens, targets;
  int64_t rows;
};

/// The input_ids of a golden.
inline Batch golden_batch(const std::filesystem::path& dir) {
  const Checkpoint golden = Checkpoint::open(dir / "golden.safetensors");
  const View& ids = golden.find("input_ids")->view;
  const auto* data = static_cast<const int64_t*>(ids.data);
  return {{data, data + ids.shape.num_elems()}, ids.shape[0]};
}

class Trainer {
 public:
  explicit Trainer(const ModelSpec& spec, const KernelSet& kernels = choose_kernel_set(), int threads = 2,
                   bool router_noise = false)
      : parameters(spec, router_noise),
        gradients(parameters.new_block()),
        pool(threads),
        model(parameters, kernels, pool),
        stats(spec.layers.size()),
        kernels_(kernels) {}

  /// Gradients of one batch (earlier ones are forgotten).
  TrainResult run(const Batch& batch, const TrainOptions& options) {
    for (const Parameter& parameter : parameters.list()) {  // nothing of what stood there may show
      std::fill_n(gradients.get() + parameter.offset, parameter.shape.num_elems(), std::nanf(""));
    }
    reset_stats();
    return model.forward_backward(batch.view(), options, gradients.get(), stats);
  }
  TrainResult evaluate(const Batch& batch, const TrainOptions& options) {
    reset_stats();
    return model.evaluate(batch.view(), options, stats);
  }
  void reset_stats() {
    for (size_t i = 0; i < stats.size(); ++i) {
      const MoeSpec& ffn = parameters.spec().layers[i].ffn;
      stats[i].reset(ffn.is_dense() ? 0 : ffn.num_experts);
    }
  }

  /// Mean cross-entropy, and aux with its coefficient.
  static double loss(const TrainResult& result, const TrainOptions& options) {
    return result.loss_sum / static_cast<double>(result.num_targets) +
           static_cast<double>(options.aux.coef) * result.aux + static_cast<double>(options.aux.z_coef) * result.z;
  }

  double gradient_norm() const {
    double squares = 0;
    for (int64_t i = 0; i < parameters.size(); ++i) squares += std::pow(static_cast<double>(gradients.get()[i]), 2);
    return std::sqrt(squares);
  }

  std::vector<float> gradient_copy() const { return {gradients.get(), gradients.get() + parameters.size()}; }

  Parameters parameters;
  std::shared_ptr<float> gradients;
  ThreadPool pool;
  TrainModel model;
  std::vector<MoeStats> stats;

 private:
  const KernelSet& kernels_;
};

}  // namespace moxie::test
