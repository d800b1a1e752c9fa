// A model as a Hugging Face directory that transformers and moxie load: from a GGUF file, or a directory in another
// number format. Reads back what it has written.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "model/model_source.h"
#include "quantize/work_progress.h"

namespace moxie {

struct HfExportOptions {
  FormatId format = FormatId::bf16;        // of the weights: bf16, f16 or f32
  int64_t shard_bytes = int64_t{5} << 30;  // most bytes of one file of weights (a larger tensor has its own)
};

/// CRC-32C of one routed expert's values as f32, in the order of the checkpoint's tensors: those of the source, rounded
/// to the format of the weights, and those of the new files.
struct ExpertCheck {
  int64_t layer = 0, expert = 0;
  uint32_t source = 0, written = 0;
};

struct HfExportResult {
  std::string family;
  int64_t num_tensors = 0, num_parameters = 0;
  int64_t bytes = 0;                 // of all tensors
  int64_t files = 0;                 // of weights
  std::vector<ExpertCheck> experts;  // by layer and expert; none differs, or there is no directory
  std::vector<std::string> notices;  // what the directory does not hold
};

/// Writes `out`: config.json, weights under the names of the family, tokenizer, chat template and sampling defaults.
/// Block formats and MXFP4 become numbers; rounding is to nearest even, selection biases stay f32. `out` appears whole
/// or not at all, after every value was read back and compared. Memory: what bind_weights copies, one piece of a tensor
/// (of gpt-oss one expert). Cost: two passes over the source, "write" and "check". Throws Error{usage} if `out` exists
/// or the format is another, Error{invalid} as ModelSource and bind_weights do, for what a config.json cannot say, and
/// for values beyond f16's range; Error{does_not_fit} if the disk has too little room, Error{runtime} if it fails or
/// does not give back what was written.
HfExportResult export_hf(const ModelSource& source, const std::filesystem::path& out, const HfExportOptions& options,
                         const WorkProgress& progress = {});

}  // namespace moxie
