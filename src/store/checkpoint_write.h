// A checkpoint directory's weights: one safetensors file, or several and their index. Not config or tokenizer.
#pragma once

#include <filesystem>
#include <functional>
#include <span>

#include "store/safetensors.h"

namespace moxie {

/// Writes model.safetensors, or model-0000n-of-0000m.safetensors of at most `shard_bytes` (a larger tensor has its own)
/// with model.safetensors.index.json, into a directory that exists. Tensors go to shards in the order given. `progress`
/// gets the share written, MiB by MiB. Returns the number of files of weights. Throws Error{runtime} if the disk
/// fails, and what make_rows throws.
int64_t write_checkpoint(const std::filesystem::path& directory, std::span<const MadeTensor> tensors,
                         int64_t shard_bytes, const std::function<void(double)>& progress);

}  // namespace moxie
