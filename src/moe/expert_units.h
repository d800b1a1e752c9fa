// The networks that a block in training runs, each with its rows: routed experts that got tokens, then the shared
// expert; for a dense block its one network. Private to train_layer; no arithmetic here.
#pragma once

#include <algorithm>
#include <span>

#include "moe/train_layer.h"

namespace moxie {

/// One network's part in a step. Forward fills gate, up, hidden and out; backward turns them into gradients.
struct ExpertUnit {
  const Expert* expert = nullptr;
  const int32_t* tokens = nullptr;  // [num_rows] token of each row; null: row r is token r
  int64_t num_rows = 0;
  int64_t width = 0;                     // F
  float *gate = nullptr, *up = nullptr;  // [num_rows, F] in MoeSaved
  float* hidden = nullptr;               // [num_rows, F] scratch
  float* out = nullptr;                  // [num_rows, H]: forward its output, backward the gradient of its input
  bool adds = false;                     // out is added to, not overwritten
  const float* weight = nullptr;         // [num_rows] backward: what the output was multiplied by; null: 1
  float* d_weight = nullptr;             // [num_rows] backward: gradient of it
  int64_t first_block = 0;               // of for_unit_rows

  int64_t token(int64_t row) const { return tokens != nullptr ? tokens[row] : row; }
  float row_weight(int64_t row) const { return weight != nullptr ? weight[row] : 1.0f; }
};

inline int64_t hidden_size(const MoeWeights& weights) {
  return weights.bank.experts[0].gate.shape[1];
}

/// Floats from one row of a weight to the next.
inline int64_t stride_of(const View& weight) {
  return weight.row_bytes / static_cast<int64_t>(sizeof(float));
}

inline constexpr int64_t kUnitRows = 16;  // rows of one work item: fewer would cost more to hand out than to run

/// The units of a block whose routing and saved buffers stand, experts without rows among them (their gradient is
/// zero, and someone has to write it); scratch pointers are null. In the arena.
std::span<ExpertUnit> expert_units(Arena& arena, const MoeSpec& spec, const MoeWeights& weights, const MoeSaved& saved,
                                   int64_t num_tokens);

/// Calls body(unit, row) for each row of each unit, on all threads.
template <typename Body>
void for_unit_rows(Exec& exec, std::span<const ExpertUnit> units, Body&& body) {
  if (units.empty()) return;
  const ExpertUnit& last = units.back();
  const int64_t num_blocks = last.first_block + (last.num_rows + kUnitRows - 1) / kUnitRows;
  exec.pool.run(num_blocks, [&](int64_t block, int) {
    const auto after = std::upper_bound(units.begin(), units.end(), block,
                                        [](int64_t b, const ExpertUnit& unit) { return b < unit.first_block; });
    const ExpertUnit& unit = *(after - 1);
    const int64_t begin = (block - unit.first_block) * kUnitRows;
    const int64_t end = std::min(begin + kUnitRows, unit.num_rows);
    for (int64_t row = begin; row < end; ++row) body(unit, row);
  });
}

/// What the noise of a layer's router draws from: element (t, i) of n a token uses number t * n + i.
inline float jitter_factor(const Rng& rng, float jitter, int64_t index) {
  return 1 + jitter * (2 * rng.uniform(static_cast<uint64_t>(index)) - 1);
}

/// The rule by which `choice` turns scores into weights: the router record, but for expert choice its plain softmax.
MoeSpec weighing_rule(const MoeSpec& spec, RouterChoice choice);

}  // namespace moxie
