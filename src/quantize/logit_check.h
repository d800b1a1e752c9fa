// Two models, the same tokens: how far are their predictions apart?
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/thread_pool.h"

namespace moxie {

struct LogitCheck {
  int64_t tokens = 0;
  bool identical = false;      // to the last bit
  double largest = 0;          // |difference| of two logits
  double mean_divergence = 0;  // KL(want || got) in nats a token
  int64_t same_best = 0;       // tokens with the same most likely successor
};

/// Runs both on one short text (ids spread over the vocabulary where `want` has no tokenizer). Throws Error{invalid} as
/// Model::load does, or if a logit of `got` is not finite where that of `want` is.
LogitCheck check_logits(const std::filesystem::path& want, const std::filesystem::path& got, ThreadPool& pool);

}  // namespace moxie
