// What the [model] table may leave out because data and loop say it. Not the defaults of a family: those are its own.
#pragma once

#include "train/config.h"

namespace moxie {

/// Adds to config.model the keys that are absent: vocab_size and token ids of the tokenizer, max_position_embeddings of
/// train.seq_len, architectures (what other programs look for); and sorts the keys, as TOML has no order. Opens the
/// tokenizer only if it must.
void add_model_defaults(TrainConfig& config);

}  // namespace moxie
