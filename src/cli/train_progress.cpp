#include "cli/train_progress.h"

#include <unistd.h>

#include <cstdio>

namespace moxie::cli {
namespace {

using Clock = std::chrono::steady_clock;

// Resident memory of this process in bytes; 0 if the system does not tell.
int64_t resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  long size = 0, resident = 0;
  const int read = std::fscanf(file, "%ld %ld", &size, &resident);
  std::fclose(file);
  return read == 2 ? int64_t{resident} * ::sysconf(_SC_PAGESIZE) : 0;
}

std::string memory_text(int64_t bytes) {
  const double mib = static_cast<double>(bytes) / (1 << 20);
  return mib < 10240 ? fmt::format("{:.0f}M", mib) : fmt::format("{:.1f}G", mib / 1024);
}

std::string line_of(const StepReport& report, double eta) {
  const StepResult& result = report.result;
  std::string line = fmt::format("step {}/{} loss {:.3f} gnorm {:.2f} lr {:.2e} tok/s {:.0f}", report.step,
                                 report.steps, result.loss, result.grad_norm, result.lr, report.tokens_per_second);
  if (report.mfu > 0) line += fmt::format(" mfu {:.0f}%", 100 * report.mfu);
  line += " mem " + memory_text(resident_bytes());
  if (result.assignments > 0) {
    line += fmt::format(" aux {:.3f} max/mean {:.2f} drop {:.1f}%", result.aux, report.load.max_over_mean,
                        100 * static_cast<double>(result.dropped) / static_cast<double>(result.assignments));
  }
  return line + " eta " + duration_text(eta);
}

}  // namespace

TrainProgress::TrainProgress(bool quiet) : quiet_(quiet), on_terminal_(stderr_is_terminal()) {}

TrainProgress::~TrainProgress() {
  clear();
}

void TrainProgress::clear() {
  if (shown_) fmt::print(stderr, "\r\x1b[K");
  shown_ = false;
}

void TrainProgress::on_step(const StepReport& report) {
  if (quiet_) return;
  if (first_step_ == 0) first_step_ = report.step;
  const Clock::time_point now = Clock::now();
  const double pause = on_terminal_ ? 0.2 : 5;
  const bool edge = report.step == first_step_ || report.step == report.steps;
  if (!edge && std::chrono::duration<double>(now - last_).count() < pause) return;
  last_ = now;
  const double each = std::chrono::duration<double>(now - start_).count() /
                      static_cast<double>(report.step - first_step_ + 1);  // with evaluation and checkpoints
  const std::string line = line_of(report, each * static_cast<double>(report.steps - report.step));
  if (!on_terminal_) {
    fmt::print(stderr, "{}\n", line);
    return;
  }
  constexpr int64_t kWidth = 20;
  const auto filled = static_cast<size_t>(kWidth * report.step / report.steps);
  fmt::print(stderr, "\r\x1b[K[{}{}] {}", std::string(filled, '#'), std::string(kWidth - filled, '.'), line);
  std::fflush(stderr);
  shown_ = true;
}

void TrainProgress::on_eval(int64_t step, const EvalReport& report) {
  if (quiet_) return;
  std::string line = fmt::format("eval step {} loss {:.4f} nats/byte {:.4f}", step, report.loss, report.nats_per_byte);
  if (!report.layers.empty()) line += fmt::format(" max_vio {:.3f}", report.max_vio);
  say(line);
}

void TrainProgress::say(const std::string& line) {
  clear();
  fmt::print(stderr, "{}\n", line);
}

}  // namespace moxie::cli
