#include "infer/evaluate.h"

#include <algorithm>
#include <cmath>

#include "infer/sampler.h"

namespace moxie {
namespace {

constexpr int64_t kLogitBytes = int64_t{64} << 20;  // of one step, at most

// Rows of logits that a step may ask for.
int64_t rows_per_step(const Engine& engine) {
  const int64_t row = engine.spec().vocab_size * static_cast<int64_t>(sizeof(float));
  return std::clamp<int64_t>(kLogitBytes / row, 1, engine.step_tokens());
}

// Runs all pending tokens of the sequences side by side and hands each row of logits over:
// visit(sequence, position of the token the row belongs to, logits).
template <typename Visit>
void run_all(Engine& engine, std::span<Sequence> sequences, Visit visit) {
  const int64_t rows = rows_per_step(engine);
  const auto vocab_size = static_cast<size_t>(engine.spec().vocab_size);
  for (;;) {
    std::vector<StepPart> parts;
    std::vector<int64_t> starts;
    int64_t left = rows;
    for (Sequence& sequence : sequences) {
      const int64_t n = std::min(left, sequence.num_pending());
      if (n == 0) continue;
      parts.push_back({&sequence, n, n});
      starts.push_back(sequence.num_cached());
      left -= n;
    }
    if (parts.empty()) return;
    const std::span<const float> logits = engine.step(parts);
    size_t row = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      for (int64_t j = 0; j < parts[i].num_tokens; ++j, ++row) {
        visit(parts[i].sequence - sequences.data(), starts[i] + j, logits.subspan(row * vocab_size, vocab_size));
      }
    }
  }
}

}  // namespace

double negative_log_likelihood(std::span<const float> logits, int32_t id) {
  refuse_nan(logits);
  const double max = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float logit : logits) total += std::exp(logit - max);
  return std::log(total) + (max - logits[static_cast<size_t>(id)]);
}

EvalResult evaluate(Engine& engine, std::span<const int32_t> ids, const EvalOptions& options,
                    const std::function<void(double)>& progress) {
  const int64_t n = options.context, stride = options.stride;
  const auto num_ids = static_cast<int64_t>(ids.size());
  if (n < 1 || n > engine.model().max_context()) {
    throw make_error(ErrorCode::usage, "--ctx {}: expected 1 to {} (the model's context)", n,
                     engine.model().max_context());
  }
  if (stride < 1 || stride > n) {
    throw make_error(ErrorCode::usage, "--stride {}: expected 1 to {} (the window)", stride, n);
  }
  if (num_ids < n + 1) {
    throw invalid({.where = "the text",
                   .expected = fmt::format("at least {} tokens for one window of {} predictions", n + 1, n),
                   .got = fmt::format("{} tokens", num_ids),
                   .hint = "Choose a smaller --ctx or a longer text."});
  }
  const int64_t num_windows = (num_ids - 1 - n) / stride + 1;
  const int64_t side_by_side = std::max<int64_t>(1, std::min(rows_per_step(engine) / n, engine.room_for(n)));
  EvalResult result;
  result.predicted.resize(ids.size());
  for (int64_t first = 0; first < num_windows; first += side_by_side) {
    std::vector<Sequence> sequences;
    for (int64_t w = first; w < std::min(first + side_by_side, num_windows); ++w) {
      const auto window = ids.subspan(static_cast<size_t>(w * stride), static_cast<size_t>(n));
      sequences.emplace_back(engine, std::vector<int32_t>(window.begin(), window.end()));
    }
    run_all(engine, sequences, [&](int64_t sequence, int64_t position, std::span<const float> logits) {
      const int64_t window = first + sequence;
      if (window > 0 && position < n - stride) return;  // counted in the window before
      const auto target = static_cast<size_t>(window * stride + position + 1);
      result.nats += negative_log_likelihood(logits, ids[target]);
      result.predicted[target] = true;
      ++result.tokens;
    });
    progress(static_cast<double>(std::min(first + side_by_side, num_windows)) / static_cast<double>(num_windows));
  }
  return result;
}

void all_logits(Engine& engine, std::span<const int32_t> ids, float* out) {
  std::vector<Sequence> sequences;
  sequences.emplace_back(engine, std::vector<int32_t>(ids.begin(), ids.end()));
  const int64_t vocab_size = engine.spec().vocab_size;
  run_all(engine, sequences, [&](int64_t, int64_t position, std::span<const float> logits) {
    std::copy(logits.begin(), logits.end(), out + position * vocab_size);
  });
}

}  // namespace moxie
