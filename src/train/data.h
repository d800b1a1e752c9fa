// Training text as token ids: domains mapped or tokenised once, and the order in which windows of them are read. What
// sample i holds depends on the configuration and i alone: a resumed run needs no state.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"
#include "train/config.h"

namespace moxie {

class TrainData {
 public:
  /// Opens every file; text is tokenised here (byte-level text and token files are mapped and used in place). Throws
  /// Error{invalid} naming file, record and offset; Error{invalid} for a domain shorter than one window.
  TrainData(const DataConfig& config, int64_t seq_len, uint64_t seed, int64_t vocab_size);
  ~TrainData();

  int64_t num_domains() const;
  const std::string& domain_name(int64_t domain) const;
  double domain_share(int64_t domain) const;  // of the training samples
  int64_t train_tokens(int64_t domain) const;
  int64_t valid_bytes(int64_t domain) const;  // of text, for nats per byte

  /// Training window `sample` (0, 1, ...): its domain is dealt by weight (SampleMix), then comes the next window of
  /// that domain: windows tile the text from a random phase, in an order permuted anew each epoch (a permutation by
  /// counter, no state). ids and targets [seq_len]. Returns the domain. Any thread. Throws Error{invalid} naming a file
  /// that has shrunk since it was mapped.
  int64_t train_window(int64_t sample, int32_t* ids, int32_t* targets) const;

  /// Number of validation windows of a domain (at most `limit`; 0: all), and window `index` of them: no overlap, from
  /// the start, evenly spread when limited. The last may be short: targets -1 after its end. `bytes`: of the text
  /// that its targets cover.
  int64_t num_valid_windows(int64_t domain, int64_t limit) const;
  void valid_window(int64_t domain, int64_t index, int64_t limit, int32_t* ids, int32_t* targets, int64_t* bytes) const;

  /// Size and checksum of every file, one line each: what a resumed run compares (a changed file is named).
  std::vector<std::string> fingerprint() const;

  /// Files for the exported model directory: tokenizer.json and tokenizer_config.json, as text. `max_position`: of the
  /// model, in tokens.
  struct ExportFile {
    std::string name, text;
  };
  std::vector<ExportFile> tokenizer_files(int64_t max_position) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace moxie
