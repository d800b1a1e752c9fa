// The engine: a model, threads, scratch and a KV cache, running steps over sequences. No sampling, no text.
#pragma once

#include <span>
#include <vector>

#include "model/model.h"

namespace moxie {

class Engine;

/// Tokens of one conversation and the KV pages that hold the first `num_cached` of them. Gives its pages back when it
/// goes; the engine must outlive it.
class Sequence {
 public:
  Sequence(Engine& engine, std::vector<int32_t> tokens);
  ~Sequence();
  Sequence(Sequence&& other) noexcept;
  Sequence& operator=(Sequence&&) = delete;

  std::span<const int32_t> tokens() const { return tokens_; }
  int64_t num_tokens() const { return static_cast<int64_t>(tokens_.size()); }
  int64_t num_cached() const { return num_cached_; }
  int64_t num_pending() const { return num_tokens() - num_cached_; }

  /// Throws Error{invalid} for an id outside the vocabulary, Error{does_not_fit} beyond the context.
  void append(int32_t token);
  void append(std::span<const int32_t> tokens);

  /// Forgets all tokens from `length` on, cached or not.
  void truncate(int64_t length);

 private:
  friend class Engine;
  void check(int32_t token) const;
  Engine* engine_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> pages_;
  int64_t num_cached_ = 0;
};

/// Part of a step: the next `num_tokens` pending tokens of a sequence, logits for the last `num_logits` of them.
struct StepPart {
  Sequence* sequence;
  int64_t num_tokens;
  int64_t num_logits;
};

struct EngineOptions {
  int threads = 0;                        // 0: as many as this process may use (affinity and cgroup quota)
  int64_t cache_tokens = 0;               // KV room over all sequences; 0: one sequence of the full context
  int64_t step_tokens = 512;              // most tokens of one step: prefill is cut in such chunks
  const KernelSet* kernels = nullptr;     // null: the best that runs here, or what MOXIE_KERNELS forces
  bool pin = false;                       // bind threads to CPUs
  FormatId kv_format = kDefaultKvFormat;  // of cached keys and values
};

class Engine {
 public:
  /// The model must outlive the engine.
  Engine(const Model& model, const EngineOptions& options);

  const Model& model() const { return model_; }
  const ModelSpec& spec() const { return model_.spec(); }
  const KernelSet& kernels() const { return *kernels_; }
  int num_threads() const { return pool_.size(); }
  FormatId kv_format() const { return cache_.format(); }
  int64_t step_tokens() const { return step_tokens_; }
  /// Sequences of `length` tokens that still fit into the cache.
  int64_t room_for(int64_t length) const { return cache_.free_pages() / ((length + kKeyBlock - 1) / kKeyBlock); }

  /// Where the activations and the routing of all steps that follow go; null: nowhere.
  void set_tap(Tap* tap) { sinks_.tap = tap; }
  void set_routing_sink(RoutingSink* sink) { sinks_.routing = sink; }
  /// Whether rows without logits are routed in the last layer too, as a trace of a text wants them.
  void route_every_row(bool on) { sinks_.every_row = on; }
  /// Who times the parts of all steps that follow; null: nobody.
  void set_profile(StepProfile* profile) { profile_ = profile; }

  /// Runs one step, prefill and decode parts mixed. Returns logits [sum of num_logits, V], valid until the next step.
  /// Throws Error{does_not_fit} if the cache has no pages left; then nothing has changed.
  std::span<const float> step(std::span<const StepPart> parts);

  /// Runs all pending tokens of a sequence, in chunks, and returns the logits of the last one.
  std::span<const float> prefill(Sequence& sequence);

  /// Routing statistics of each layer, summed over all steps since the last call of reset_stats(). The last layer
  /// counts only rows that gave logits, unless every row is routed.
  const std::vector<MoeStats>& stats() const { return stats_; }
  void reset_stats();

 private:
  friend class Sequence;
  void take_pages(std::span<const StepPart> parts);

  const Model& model_;
  const KernelSet* kernels_;
  ThreadPool pool_;
  Arena arena_;
  KvCache cache_;
  int64_t step_tokens_;
  StepSinks sinks_;
  StepProfile* profile_ = nullptr;
  std::vector<MoeStats> stats_;
  std::vector<StepSequence> step_sequences_;
};

}  // namespace moxie
