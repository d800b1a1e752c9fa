// Text generation: prefill, then token by token through a sampler, streamed, until something says stop.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "infer/engine.h"
#include "infer/sampler.h"
#include "text/tokenizer.h"

namespace moxie {

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  std::vector<int32_t> stop_ids;          // end of text; not part of the answer
  std::vector<std::string> stop_strings;  // the answer ends before the first of them
  const std::atomic<bool>* cancel = nullptr;
};

enum class FinishReason { length, stop_id, stop_string, context, cancelled };
std::string_view finish_name(FinishReason reason);

struct Generation {
  std::vector<int32_t> ids;  // without a stop id
  std::string text;
  FinishReason reason = FinishReason::length;
  int64_t prompt_tokens = 0;   // that had to be run
  double prefill_seconds = 0;  // to the first token
  double decode_seconds = 0;   // for the rest
  /// Tokens a second after the first; 0 if there was no second.
  double decode_rate() const;
};

/// Holds text back while it may be the beginning of a stop string. The stop string that is complete first ends the
/// text, of two that end together the longer one.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops);
  /// Text that is safe to emit. After found() became true nothing more is.
  std::string push(std::string_view text);
  std::string finish();
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

/// Answers a sequence whose pending tokens are the prompt. `on_text` receives each piece of valid UTF-8 as it comes.
/// The generated tokens are left in the sequence, the last one pending; with FinishReason::context it found no room.
/// Throws Error{usage} if nothing is pending.
Generation generate(Engine& engine, const Tokenizer& tokenizer, Sequence& sequence, Sampler& sampler,
                    const GenerateOptions& options, const std::function<void(std::string_view)>& on_text);

}  // namespace moxie
