// Models of random weights at real shapes, as GGUF files: for speed without a download. Their texts mean nothing.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "quantize/mix.h"
#include "quantize/work_progress.h"
#include "spec/model_spec.h"
#include "store/gguf.h"

namespace moxie {

struct RandomModelOptions {
  Mix mix;
  uint64_t seed = 1;
  std::string routing;  // as expert_loads takes it
  bool pack = false;    // rows packed where they can be: a file for moxie alone
};

struct RandomModel {
  GgufMetadata metadata;
  std::vector<MadeTensor> tensors;
  std::vector<std::string> notes;

  int64_t num_bytes() const;
};

/// The file of a model of that spec, in the formats of the mix; equal arguments give equal bytes, on any machine. Each
/// matrix is normal with sigma 1 / sqrt(columns), the embedding with 30 times that, so that tokens stay apart in the
/// residual stream and routing stays spread; norms are 1, biases and sinks 0, routers f32. Each row draws its blocks
/// from a pool of really encoded ones (BlockPool), by seed, tensor and row. Tokens are "<0>", "<1>", ...
///
/// With a routing target the embedding is N(64, 64) for every model: its mean is a direction that all tokens share and
/// that layers, whose outputs are small beside it, leave alone. Rows of a router sum to zero but for the offset of
/// their expert (offsets_for) along it. Exact for independent normal logits, chosen by the largest; what a model really
/// does differs as far as layers move the stream, and with groups: `bench` tells.
///
/// Throws Error{invalid} naming `source` as gguf_export does and for more tokens than readers of GGUF take,
/// Error{does_not_fit} for matrices beyond all machines, and what expert_loads throws.
RandomModel random_model(const ModelSpec& spec, const std::string& source, const RandomModelOptions& options);

/// Writes its file, which appears whole or not at all: "write". `threads`: 0 for those that the machine gives. Throws
/// Error{does_not_fit} before it writes if the disk has too little room, and what write_gguf throws.
void write_random_model(const RandomModel& model, const std::filesystem::path& path, int threads,
                        const WorkProgress& progress = {});

}  // namespace moxie
