#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/error.h"

namespace moxie::text {
namespace {

// A sound pattern needs at most a few steps for each byte of the text to find a match. These bounds stop runaway ones.
constexpr size_t kStepsBase = 1'000'000;
constexpr size_t kStepsPerByte = 16;
constexpr size_t kJitStackBytes = size_t{16} << 20;
constexpr double kSecondsBase = 2;         // per encode call and pattern
constexpr double kSecondsPerByte = 20e-6;  // passed: 50 kB/s, hundreds of times slower than any known pattern
constexpr int kMatchesPerClockRead = 16;

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  if (pcre2_get_error_message(code, buffer, sizeof buffer) < 0) return fmt::format("PCRE2 error {}", code);
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct Regex::Compiled {
  pcre2_code* code = nullptr;
  bool jit = false;
  std::string where;
  std::string given;
  std::string pattern;  // for messages
  ~Compiled() { pcre2_code_free(code); }
};

Regex::Regex(std::string_view pattern, const std::string& where) {
  const std::string translated = translate_pattern(pattern, where);
  auto compiled = std::make_shared<Compiled>();
  compiled->where = where;
  compiled->given = pattern;
  compiled->pattern = printable(pattern);
  int code = 0;
  PCRE2_SIZE offset = 0;
  // MULTILINE: in Oniguruma's Ruby syntax, which Hugging Face tokenizers use, ^ and $ match at every line.
  compiled->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &offset, nullptr);
  if (compiled->code == nullptr) {
    throw invalid({.where = where,
                   .expected = "a regular expression",
                   .got = fmt::format("\"{}\" ({} at byte {})", printable(pattern), pcre2_message(code), offset)});
  }
  compiled->jit = pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE) == 0;
  compiled_ = std::move(compiled);
}

const std::string& Regex::pattern() const {
  return compiled_->given;
}

struct Regex::Matcher::State {
  std::shared_ptr<const Compiled> compiled;
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;
  size_t limited_for = SIZE_MAX;  // the subject size that the step limit was set for
  size_t matches = 0;
  size_t passed = 0;  // bytes, over all texts
  std::chrono::steady_clock::time_point start;
  ~State() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

Regex::Matcher::Matcher(const Regex& regex) : state_(std::make_unique<State>()) {
  state_->compiled = regex.compiled_;
  state_->data = pcre2_match_data_create(1, nullptr);
  state_->context = pcre2_match_context_create(nullptr);
  if (state_->data == nullptr || state_->context == nullptr) throw std::bad_alloc();
  state_->start = std::chrono::steady_clock::now();
}

Regex::Matcher::~Matcher() = default;
Regex::Matcher::Matcher(Matcher&&) noexcept = default;

bool Regex::Matcher::find(std::string_view subject, size_t from, size_t& begin, size_t& end) {
  State& state = *state_;
  if (subject.size() != state.limited_for) {
    const size_t steps = std::min<size_t>(kStepsBase + subject.size() * kStepsPerByte, UINT32_MAX);
    pcre2_set_match_limit(state.context, static_cast<uint32_t>(steps));
    state.limited_for = subject.size();
  }
  const auto match = [&] {
    const auto* text = reinterpret_cast<PCRE2_SPTR>(subject.data());
    return state.compiled->jit
               ? pcre2_jit_match(state.compiled->code, text, subject.size(), from, 0, state.data, state.context)
               : pcre2_match(state.compiled->code, text, subject.size(), from, PCRE2_NO_UTF_CHECK, state.data,
                             state.context);
  };
  int code = match();
  if (code == PCRE2_ERROR_JIT_STACKLIMIT && state.stack == nullptr) {  // the 32 KiB of the machine stack do not suffice
    state.stack = pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr);
    if (state.stack == nullptr) throw std::bad_alloc();
    pcre2_jit_stack_assign(state.context, nullptr, state.stack);
    code = match();
  }
  const auto fail = [&](std::string_view why) {
    throw invalid({.where = fmt::format("{}: pattern \"{}\"", state.compiled->where, state.compiled->pattern),
                   .expected = "a pattern that runs in linear time",
                   .got = fmt::format("{} at byte {} of the text", why, from)});
  };
  if (code < 0 && code != PCRE2_ERROR_NOMATCH) fail(pcre2_message(code));
  const PCRE2_SIZE* span = pcre2_get_ovector_pointer(state.data);
  state.passed += (code < 0 ? subject.size() : span[1]) - from;
  if (++state.matches % kMatchesPerClockRead == 0) {
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - state.start;
    if (spent.count() > kSecondsBase + kSecondsPerByte * static_cast<double>(state.passed)) fail("no end in sight");
  }
  if (code < 0) return false;
  begin = span[0];
  end = span[1];
  return true;
}

}  // namespace moxie::text
