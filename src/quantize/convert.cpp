#include "quantize/convert.h"

#include <unistd.h>

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

/// A file that goes away again unless it was kept.
class Draft {
 public:
  explicit Draft(fs::path path) : path_(std::move(path)) {}
  ~Draft() {
    std::error_code ignored;
    if (!kept_) fs::remove(path_, ignored);
  }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  const fs::path& path() const { return path_; }
  void become(const fs::path& path) {
    std::error_code error;
    fs::rename(path_, path, error);
    if (error) throw make_error(ErrorCode::runtime, "rename to {}: {}", path.string(), error.message());
    kept_ = true;
  }

 private:
  fs::path path_;
  bool kept_ = false;
};

}  // namespace

ConvertReport convert_to_gguf(const fs::path& model, const fs::path& out, const ConvertOptions& options,
                              const std::function<void(const ConvertProgress&)>& progress) {
  const auto start = std::chrono::steady_clock::now();
  std::error_code ignored;
  if (fs::is_directory(out, ignored)) throw make_error(ErrorCode::usage, "{} is a directory", out.string());
  if (!options.overwrite && fs::exists(out, ignored)) {
    throw make_error(ErrorCode::usage, "{} exists already; --force writes over it", out.string());
  }
  ThreadPool pool(options.threads > 0 ? options.threads : usable_threads());
  const GgufPlan plan = plan_gguf(model, options.plan);
  const int64_t all = plan.num_bytes();
  const auto tell = [&](std::string_view doing, std::string_view tensor, int64_t done) {
    if (progress) progress({doing, tensor, done, all});
  };

  // Checked under another name first: what the user finds has passed.
  Draft draft(fs::path(fmt::format("{}.unchecked.{}", out.string(), ::getpid())));
  int64_t before = 0;
  std::string_view current;
  int64_t current_bytes = 0;
  write_gguf(draft.path(), plan.metadata, to_write(plan.tensors), pool,
             [&](const MadeTensor& tensor, int64_t tensor_bytes) {
               if (tensor.name != current) before += current_bytes;
               current = tensor.name;
               current_bytes = tensor_bytes;
               tell("write", tensor.name, before + tensor_bytes);
             });
  ConvertReport report{.elems = plan.num_elems(), .tensors = static_cast<int64_t>(plan.tensors.size())};
  report.notes = plan.notes;
  add_errors(plan, check_gguf(draft.path(), plan, pool, [&](int64_t done) { tell("check", "", done); }), report);
  report.bytes = static_cast<int64_t>(fs::file_size(draft.path()));
  if (options.check_logits && fit_in_memory(plan, report.bytes)) {
    tell("logits", "", 0);
    report.logits = check_logits(model, draft.path(), pool);
  } else if (options.check_logits) {
    report.notes.emplace_back("logits were not compared: both models do not fit in memory");
  }
  tell("done", "", all);  // the last moment to be stopped
  draft.become(out);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace moxie
