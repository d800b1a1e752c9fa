// The tokenizer of a training run: "bytes", or one that stands in files; and what a model exports of it. Not tokenizer
// training.
#pragma once

#include <string>
#include <vector>

#include "text/tokenizer.h"
#include "train/data.h"

namespace moxie {

/// True for "bytes": a byte is its own id, of 256.
bool is_byte_level(const std::string& tokenizer);

/// A tokenizer.json, or the tokenizer of a model directory. Throws as Tokenizer::load.
Tokenizer open_tokenizer(const std::string& tokenizer);

/// The files that carry it: none for "bytes".
std::vector<std::string> tokenizer_paths(const std::string& tokenizer);

/// What stands beside the exported weights of a model of so many positions. For "bytes" a byte-level BPE without
/// merges, whose ids are the bytes.
std::vector<TrainData::ExportFile> export_tokenizer(const std::string& tokenizer, int64_t max_position);

}  // namespace moxie
