#include "infer/generate.h"

#include <algorithm>
#include <chrono>

namespace moxie {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::string_view finish_name(FinishReason reason) {
  constexpr std::string_view names[] = {"length", "stop", "stop_string", "context", "cancelled"};
  return names[static_cast<int>(reason)];
}

double Generation::decode_rate() const {
  return ids.size() < 2 || decode_seconds <= 0 ? 0 : static_cast<double>(ids.size() - 1) / decode_seconds;
}

StopFilter::StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, "");
}

std::string StopFilter::push(std::string_view text) {
  if (found_) return "";
  if (stops_.empty()) return std::string(text);
  held_ += text;
  // the first to be complete counts, so that it does not matter how the text was cut into pieces
  size_t begin = 0, end = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    if (at + stop.size() < end || (at + stop.size() == end && at < begin)) {
      begin = at;
      end = at + stop.size();
    }
  }
  if (end != std::string::npos) {
    found_ = true;
    return held_.substr(0, begin);
  }
  // the longest end of the text that begins a stop string waits
  size_t keep = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) keep = n;
    }
  }
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return out;
}

std::string StopFilter::finish() {
  return found_ ? "" : std::exchange(held_, "");
}

Generation generate(Engine& engine, const Tokenizer& tokenizer, Sequence& sequence, Sampler& sampler,
                    const GenerateOptions& options, const std::function<void(std::string_view)>& on_text) {
  if (sequence.num_pending() == 0) {
    throw make_error(ErrorCode::usage, "the prompt is empty, or has no tokens that the model's vocabulary knows");
  }
  Generation result;
  result.prompt_tokens = sequence.num_pending();
  const int64_t prompt_length = sequence.num_tokens();
  const int64_t room = engine.model().max_context() - prompt_length + 1;
  result.ids.reserve(static_cast<size_t>(std::min(options.max_new_tokens, room)));
  StreamDecoder decoder(tokenizer);
  StopFilter filter(options.stop_strings);
  const auto emit = [&](const std::string& text) {
    if (text.empty()) return;
    result.text += text;
    on_text(text);
  };

  const auto start = std::chrono::steady_clock::now();
  std::span<const float> logits = engine.prefill(sequence);
  auto first_token = start;
  while (static_cast<int64_t>(result.ids.size()) < options.max_new_tokens) {
    if (options.cancel != nullptr && options.cancel->load(std::memory_order_relaxed)) {
      result.reason = FinishReason::cancelled;
      break;
    }
    const auto prompt = sequence.tokens().first(static_cast<size_t>(prompt_length));
    const int32_t id = sampler.sample(logits, prompt, result.ids);
    if (result.ids.empty()) {
      result.prefill_seconds = seconds_since(start);
      first_token = std::chrono::steady_clock::now();
    }
    if (std::find(options.stop_ids.begin(), options.stop_ids.end(), id) != options.stop_ids.end()) {
      result.reason = FinishReason::stop_id;
      break;
    }
    result.ids.push_back(id);
    const bool full = sequence.num_tokens() == engine.model().max_context();
    if (!full) sequence.append(id);
    emit(filter.push(decoder.push(id)));
    if (filter.found()) break;
    if (static_cast<int64_t>(result.ids.size()) == options.max_new_tokens) break;
    if (full) {
      result.reason = FinishReason::context;
      break;
    }
    logits = engine.prefill(sequence);
  }
  result.decode_seconds = seconds_since(first_token);
  emit(filter.push(decoder.finish()));
  if (filter.found()) result.reason = FinishReason::stop_string;
  emit(filter.finish());
  return result;
}

}  // namespace moxie
