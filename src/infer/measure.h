// How fast an engine is here and now: prefill, decode of several sequences, one request. Measures; explains nothing.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "infer/engine.h"

namespace moxie {

/// Uniformly random tokens: with trained routers they visit more experts than text does, so no test is flattered.
std::vector<int32_t> random_tokens(const ModelSpec& spec, int64_t n, std::mt19937_64& random);

/// Seconds of one prefill of n tokens, with the logits of the last. Throws Error{does_not_fit} beyond the context.
double time_prefill(Engine& engine, int64_t n, std::mt19937_64& random);

/// Seconds of each of n decode steps of `batch` sequences, each with one token in the cache. One more step before is
/// not timed: it sizes the scratch.
std::vector<double> time_decode(Engine& engine, int64_t n, int64_t batch, std::mt19937_64& random);

/// The middle of at least one value; of an even number the mean of the two.
double median(std::vector<double> values);

}  // namespace moxie
