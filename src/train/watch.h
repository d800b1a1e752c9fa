// What a run watches for: losses that jump, and routers that collapse. Judges numbers; changes nothing but its memory
// in the TrainState.
#pragma once

#include <optional>
#include <string>

#include "train/config.h"
#include "train/train_state.h"

namespace moxie {

/// Something worth a line: `kind` is resume, checkpoint, collapse, spike, bad_step or stop.
struct RunEvent {
  std::string kind, text;
};

inline constexpr size_t kSpikeWindow = 50;     // losses that a new one is compared with
inline constexpr int64_t kCollapseSteps = 50;  // in a row before it is told

/// How a loss stands out from the last kSpikeWindow: above their mean by more than 6 standard deviations and by more
/// than 0.5 nats. Empty if it does not, or there are not as many yet.
std::optional<std::string> loss_spike(const TrainState& state, double loss);

/// Adds a loss to those that the next ones are compared with.
void remember_loss(TrainState& state, double loss);

/// Whether one step's load of a layer looks collapsed: its K busiest experts are far from sharing. The busiest expert's
/// share s of the tokens lies above K / E + 0.6 (1 - K / E), or more than half of the E - K experts that a token does
/// not need got nothing. Layers with E = K or with fewer than 4 assignments an expert are never judged.
bool looks_collapsed(const MoeStats& stats, int64_t top_k);

/// Counts steps in a row that look collapsed, layer by layer, and tells each layer's collapse once, at kCollapseSteps.
std::vector<RunEvent> watch_collapse(TrainState& state, const TrainConfig& config, const std::vector<MoeStats>& stats);

}  // namespace moxie
