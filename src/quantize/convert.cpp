#include "quantize/convert.h"

#include <algorithm>
#include <chrono>

#include "base/machine.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostWorst = 8;

void add_errors(const GgufPlan& plan, const std::vector<TensorError>& errors, ConvertReport& report) {
  for (const PlannedTensor& tensor : plan.tensors) {
    FormatUse& use = report.formats[tensor.format];
    ++use.tensors;
    use.elems += tensor.shape.num_elems();
    use.bytes += tensor.num_bytes();
  }
  for (const TensorError& each : errors) {
    const PlannedTensor& tensor = plan.tensors[each.tensor];
    FormatUse& use = report.formats[tensor.format];
    ++use.matrices;
    use.mean_error += each.error;
    use.worst_error = std::max(use.worst_error, each.error);
    if (each.error > 0) {
      report.worst.push_back({tensor.name, tensor.num_experts() > 1 ? each.expert : -1, tensor.format, each.error});
    }
  }
  for (auto& [format, use] : report.formats) {
    if (use.matrices > 0) use.mean_error /= static_cast<double>(use.matrices);
  }
  std::stable_sort(report.worst.begin(), report.worst.end(),
                   [](const WorstExpert& a, const WorstExpert& b) { return a.error > b.error; });
  if (report.worst.size() > kMostWorst) report.worst.resize(kMostWorst);
}

// Models that do not fit in memory side by side would be read from disk for minutes.
bool fit_in_memory(const GgufPlan& plan, int64_t written) {
  int64_t bytes = written;
  for (const PlannedTensor& tensor : plan.tensors) {
    bytes += row_bytes(tensor.rows.stored_format(), tensor.shape.num_elems());
  }
  const std::optional<int64_t> memory = usable_memory(probe_machine());
  return !memory || bytes < *memory;
}

}  // namespace

ConvertReport convert_to_gguf(const fs::path& model, const fs::path& out, const ConvertOptions& options,
                              const WorkProgress& progress) {
  const auto start = std::chrono::steady_clock::now();
  std::error_code ignored;
  if (fs::is_directory(out, ignored)) throw make_error(ErrorCode::usage, "{} is a directory", out.string());
  if (!options.overwrite && fs::exists(out, ignored)) {
    throw make_error(ErrorCode::usage, "{} exists already; --force writes over it", out.string());
  }
  ThreadPool pool(options.threads > 0 ? options.threads : usable_threads());
  const GgufPlan plan = plan_gguf(model, options.plan);
  const auto tell = [&](std::string_view doing, double share) {
    if (progress) progress(doing, share);
  };

  check_room(out, plan.num_bytes());
  AtomicFile file(out);
  write_gguf(file, plan.metadata, to_write(plan.tensors), pool, [&](double share) { tell("write", share); });
  ConvertReport report{.elems = plan.num_elems(), .tensors = static_cast<int64_t>(plan.tensors.size())};
  report.notes = plan.notes;
  // Checked before it has its name: what the user finds has passed.
  add_errors(plan, check_gguf(file.temporary(), plan, pool, [&](double share) { tell("check", share); }), report);
  report.bytes = static_cast<int64_t>(fs::file_size(file.temporary()));
  if (options.check_logits && fit_in_memory(plan, report.bytes)) {
    tell("logits", 0);
    report.logits = check_logits(model, file.temporary(), pool);
    tell("logits", 1);
  } else if (options.check_logits) {
    report.notes.emplace_back("logits were not compared: both models do not fit in memory");
  }
  file.commit();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace moxie
