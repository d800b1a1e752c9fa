// Is what was written what was meant? Reads a GGUF file back and compares every tensor, expert by expert, with the
// source. Runs no model.
#pragma once

#include <functional>

#include "base/thread_pool.h"
#include "quantize/gguf_plan.h"

namespace moxie {

/// How far one expert's matrix, or one other tensor, is from its source.
struct TensorError {
  size_t tensor = 0;   // in the plan
  int64_t expert = 0;  // 0 for tensors without experts
  double error = 0;    // root of the summed squared differences over the summed squares
};

/// Errors of every expert and tensor, in the order of the plan, equal on any number of threads. `progress` gets the
/// share checked. Throws Error{invalid} naming tensor and expert: the file holds another tensor than planned, numbers
/// that differ where they must not, a source or result that is not finite, or an error beyond what the format explains
/// (2.5 times that of normally distributed numbers).
std::vector<TensorError> check_gguf(const std::filesystem::path& file, const GgufPlan& plan, ThreadPool& pool,
                                    const std::function<void(double share)>& progress = {});

/// The relative error of normally distributed numbers in a format, as measured on some of them.
double usual_error(FormatId format);

}  // namespace moxie
