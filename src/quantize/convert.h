// A model becomes a GGUF file: planned, written, read back and compared. What it found is a report; nothing is printed.
#pragma once

#include <map>

#include "quantize/gguf_check.h"
#include "quantize/logit_check.h"
#include "quantize/work_progress.h"

namespace moxie {

struct ConvertOptions {
  GgufPlanOptions plan;
  bool overwrite = false;
  bool check_logits = true;  // where both models fit in memory
  int threads = 0;           // 0: those that the machine gives
};

struct FormatUse {
  int64_t tensors = 0, elems = 0, bytes = 0;
  int64_t matrices = 0;                    // experts counted one by one
  double mean_error = 0, worst_error = 0;  // over those
};

struct WorstExpert {
  std::string tensor;
  int64_t expert = -1;  // -1: the tensor has none
  FormatId format = FormatId::f32;
  double error = 0;
};

struct ConvertReport {
  int64_t bytes = 0;  // of the file
  int64_t elems = 0;  // of all tensors
  int64_t tensors = 0;
  std::map<FormatId, FormatUse> formats;
  std::vector<WorstExpert> worst;  // the furthest from their source, with an error above 0; at most eight
  std::optional<LogitCheck> logits;
  std::vector<std::string> notes;
  double seconds = 0;
};

/// Writes `out` (which must not exist, unless `overwrite`) and checks it: "write", "check", "logits". Throws as
/// plan_gguf, write_gguf, check_gguf and check_logits do, Error{usage} if `out` exists, Error{does_not_fit} before it
/// writes if the disk has too little room; the file is there whole or not at all, and one that fails the check is
/// removed. Memory: some MiB a thread beside the mapped source.
ConvertReport convert_to_gguf(const std::filesystem::path& model, const std::filesystem::path& out,
                              const ConvertOptions& options, const WorkProgress& progress = {});

}  // namespace moxie
