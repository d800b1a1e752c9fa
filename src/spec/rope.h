// Rotary position embedding: the table of frequencies that a RopeSpec stands for. It rotates nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "spec/model_spec.h"

namespace moxie {

/// Frequencies [dim / 2] in radians a position: pair i of a head turns by position * result[i]. Computed in f32 as
/// transformers does (linear scaling; llama3; YaRN, arXiv 2309.00071; LongRoPE, arXiv 2402.13753).
/// `sequence_length` matters to longrope alone: above original_max_position its long factors apply.
std::vector<float> rope_inverse_frequencies(const RopeSpec& rope, int64_t sequence_length);

/// What each frequency [dim / 2] is divided by: with llama3 scaling 1 for short waves, `factor` for long ones, a blend
/// between; else rope.slowdowns. A GGUF file holds them as a tensor.
std::vector<double> rope_slowdowns(const RopeSpec& rope);

/// What cos and sin are multiplied by at that length (1 unless yarn or longrope).
double rope_attention_factor(const RopeSpec& rope, int64_t sequence_length);

}  // namespace moxie
