#include "infer/engine.h"

#include <algorithm>

#include "base/machine.h"

namespace moxie {
namespace {

int64_t pages_for(int64_t tokens) {
  return (tokens + kKeyBlock - 1) / kKeyBlock;
}

}  // namespace

Sequence::Sequence(Engine& engine, std::vector<int32_t> tokens) : engine_(&engine) {
  // decode appends and takes pages without allocating
  tokens_.reserve(static_cast<size_t>(engine.model().max_context()));
  pages_.reserve(static_cast<size_t>(pages_for(engine.model().max_context())));
  append(tokens);
}

Sequence::~Sequence() {
  truncate(0);
}

Sequence::Sequence(Sequence&& other) noexcept
    : engine_(other.engine_),
      tokens_(std::move(other.tokens_)),
      pages_(std::move(other.pages_)),
      num_cached_(std::exchange(other.num_cached_, 0)) {
  other.tokens_.clear();
  other.pages_.clear();
}

void Sequence::check(int32_t token) const {
  const int64_t vocab_size = engine_->spec().vocab_size;
  if (token >= 0 && token < vocab_size) return;
  throw invalid({.where = fmt::format("token {}", token),
                 .expected = fmt::format("an id from 0 to {}", vocab_size - 1),
                 .hint = "Does the tokenizer belong to this model?"});
}

void Sequence::append(int32_t token) {
  append(std::span<const int32_t>(&token, 1));
}

void Sequence::append(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) check(token);
  const int64_t wanted = num_tokens() + static_cast<int64_t>(tokens.size());
  if (wanted > engine_->model().max_context()) {
    throw make_error(ErrorCode::does_not_fit,
                     "the text has {} tokens, but the context is {}: shorten it, ask for fewer tokens (-n), or raise "
                     "--ctx (this model: at most {})",
                     wanted, engine_->model().max_context(), engine_->spec().max_position);
  }
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
}

void Sequence::truncate(int64_t length) {
  tokens_.resize(static_cast<size_t>(std::min(length, num_tokens())));
  num_cached_ = std::min(num_cached_, length);
  while (static_cast<int64_t>(pages_.size()) > pages_for(num_cached_)) {
    engine_->cache_.give_page(pages_.back());
    pages_.pop_back();
  }
}

Engine::Engine(const Model& model, const EngineOptions& options)
    : model_(model),
      kernels_(options.kernels != nullptr ? options.kernels : &choose_kernel_set()),
      pool_(options.threads > 0 ? options.threads : usable_threads(), options.pin),
      cache_(model.spec(), pages_for(options.cache_tokens > 0 ? options.cache_tokens : model.max_context()),
             options.kv_format),
      step_tokens_(options.step_tokens) {
  stats_.resize(static_cast<size_t>(spec().num_layers));
  sinks_.stats = &stats_;
  reset_stats();
}

void Engine::reset_stats() {
  for (size_t layer = 0; layer < stats_.size(); ++layer) {
    const MoeSpec& ffn = spec().layers[layer].ffn;
    stats_[layer].reset(ffn.is_dense() ? 0 : ffn.num_experts);
  }
}

void Engine::take_pages(std::span<const StepPart> parts) {
  int64_t wanted = 0;
  for (const StepPart& part : parts) {
    wanted +=
        pages_for(part.sequence->num_cached_ + part.num_tokens) - static_cast<int64_t>(part.sequence->pages_.size());
  }
  if (wanted > cache_.free_pages()) {
    throw make_error(ErrorCode::does_not_fit, "the KV cache is full: {} pages of {} positions wanted, {} of {} free",
                     wanted, kKeyBlock, cache_.free_pages(), cache_.num_pages());
  }
  for (const StepPart& part : parts) {
    Sequence& sequence = *part.sequence;
    while (static_cast<int64_t>(sequence.pages_.size()) < pages_for(sequence.num_cached_ + part.num_tokens)) {
      sequence.pages_.push_back(cache_.take_page());
    }
  }
}

std::span<const float> Engine::step(std::span<const StepPart> parts) {
  if (profile_ != nullptr) profile_->begin();
  step_sequences_.clear();
  int64_t num_logits = 0;
  for (const StepPart& part : parts) {
    MOXIE_CHECK(part.num_tokens > 0 && part.num_tokens <= part.sequence->num_pending());
  }
  take_pages(parts);
  for (const StepPart& part : parts) {
    const Sequence& sequence = *part.sequence;
    step_sequences_.push_back(
        {.tokens =
             sequence.tokens().subspan(static_cast<size_t>(sequence.num_cached_), static_cast<size_t>(part.num_tokens)),
         .start = sequence.num_cached_,
         .pages = std::span<const int32_t>(sequence.pages_)
                      .first(static_cast<size_t>(pages_for(sequence.num_cached_ + part.num_tokens))),
         .num_logits = part.num_logits});
    num_logits += part.num_logits;
  }
  arena_.reset();
  Exec exec{*kernels_, pool_, arena_, profile_};
  const float* logits = model_.forward(exec, cache_, step_sequences_, sinks_);
  if (sinks_.tap != nullptr) sinks_.tap->next_step();
  for (const StepPart& part : parts) part.sequence->num_cached_ += part.num_tokens;
  lap(exec, StepWork::rest);
  return {logits, static_cast<size_t>(num_logits * spec().vocab_size)};
}

std::span<const float> Engine::prefill(Sequence& sequence) {
  MOXIE_CHECK(sequence.num_pending() > 0);
  for (;;) {
    const int64_t num_tokens = std::min(step_tokens_, sequence.num_pending());
    const bool last = num_tokens == sequence.num_pending();
    const StepPart part{&sequence, num_tokens, last ? 1 : 0};
    const std::span<const float> logits = step({&part, 1});
    if (last) return logits;
  }
}

}  // namespace moxie
