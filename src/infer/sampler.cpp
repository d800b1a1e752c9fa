#include "infer/sampler.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace moxie {
namespace {

void require(bool good, const char* field, double value, const char* expected) {
  if (!good) throw make_error(ErrorCode::usage, "{} {}: expected {}", field, value, expected);
}

}  // namespace

void refuse_nan(std::span<const float> logits) {
  for (size_t id = 0; id < logits.size(); ++id) {
    if (std::isnan(logits[id])) {
      throw make_error(ErrorCode::runtime,
                       "the model's logits are not numbers (first at token {}): the weights are damaged", id);
    }
  }
}

void SamplingParams::validate(int64_t vocab_size) const {
  require(std::isfinite(temperature) && temperature >= 0, "temperature", temperature, "0 or more");
  require(top_k >= 0, "top-k", static_cast<double>(top_k), "0 (off) or more");
  require(top_p > 0 && top_p <= 1, "top-p", top_p, "above 0, at most 1");
  require(min_p >= 0 && min_p <= 1, "min-p", min_p, "0 to 1");
  require(std::isfinite(repetition_penalty) && repetition_penalty > 0, "repeat-penalty", repetition_penalty,
          "above 0 (1: off)");
  require(std::isfinite(presence_penalty), "presence-penalty", presence_penalty, "a finite number");
  require(std::isfinite(frequency_penalty), "frequency-penalty", frequency_penalty, "a finite number");
  for (const auto& [id, bias] : logit_bias) {
    require(id >= 0 && id < vocab_size, "logit-bias: token", id, "an id of the vocabulary");
    require(!std::isnan(bias), "logit-bias", bias, "a number");
  }
}

Sampler::Sampler(SamplingParams params, int64_t vocab_size) : params_(std::move(params)), random_(params_.seed) {
  params_.validate(vocab_size);
  logits_.resize(static_cast<size_t>(vocab_size));
  counts_.resize(static_cast<size_t>(vocab_size));
  candidates_.reserve(static_cast<size_t>(vocab_size));
}

int32_t greedy_token(std::span<const float> logits) {
  refuse_nan(logits);
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

void Sampler::penalise(std::span<const int32_t> prompt, std::span<const int32_t> generated) {
  if (params_.repetition_penalty != 1) {
    const auto penalty = static_cast<float>(params_.repetition_penalty);
    for (const auto& part : {prompt, generated}) {
      for (const int32_t id : part) {
        if (counts_[static_cast<size_t>(id)]++ > 0) continue;  // once for each token
        float& logit = logits_[static_cast<size_t>(id)];
        logit = logit < 0 ? logit * penalty : logit / penalty;
      }
    }
    for (const auto& part : {prompt, generated}) {
      for (const int32_t id : part) counts_[static_cast<size_t>(id)] = 0;
    }
  }
  if (params_.presence_penalty != 0 || params_.frequency_penalty != 0) {
    for (const int32_t id : generated) {
      float& logit = logits_[static_cast<size_t>(id)];
      if (counts_[static_cast<size_t>(id)]++ == 0) logit -= static_cast<float>(params_.presence_penalty);
      logit -= static_cast<float>(params_.frequency_penalty);
    }
    for (const int32_t id : generated) counts_[static_cast<size_t>(id)] = 0;
  }
  for (const auto& [id, bias] : params_.logit_bias) logits_[static_cast<size_t>(id)] += static_cast<float>(bias);
}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> prompt,
                        std::span<const int32_t> generated) {
  std::copy(logits.begin(), logits.end(), logits_.begin());
  penalise(prompt, generated);
  if (params_.temperature == 0) return greedy_token(logits_);
  refuse_nan(logits_);

  candidates_.clear();
  for (size_t id = 0; id < logits_.size(); ++id) candidates_.push_back({logits_[id], static_cast<int32_t>(id), 0});
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  if (params_.top_k > 0 && params_.top_k < static_cast<int64_t>(candidates_.size())) {
    std::nth_element(candidates_.begin(), candidates_.begin() + params_.top_k - 1, candidates_.end(), better);
    candidates_.resize(static_cast<size_t>(params_.top_k));
  }
  if (params_.top_p < 1 || params_.top_k > 0) {
    std::sort(candidates_.begin(), candidates_.end(), better);
  }
  return draw();
}

int32_t Sampler::draw() {
  float max = -INFINITY;
  for (const Candidate& c : candidates_) max = std::max(max, c.logit);
  double total = 0;
  for (Candidate& c : candidates_) {
    // the maximum goes off before the division, so that no temperature, however small, overflows
    const double below = static_cast<double>(c.logit) - static_cast<double>(max);
    c.probability = c.logit == max ? 1 : std::exp(below / params_.temperature);
    total += c.probability;
  }
  if (params_.top_p < 1) {  // candidates stand in falling order: keep the shortest run that reaches top_p
    double sum = 0;
    size_t kept = 0;
    while (kept < candidates_.size() && sum < params_.top_p * total) sum += candidates_[kept++].probability;
    candidates_.resize(std::max<size_t>(kept, 1));
    total = sum;
  }
  if (params_.min_p > 0) {  // relative to the most likely, whose unnormalised probability is 1
    total = 0;
    for (Candidate& c : candidates_) {
      if (c.probability < params_.min_p) c.probability = 0;
      total += c.probability;
    }
  }
  const double uniform = static_cast<double>(random_() >> 11) * 0x1p-53;
  double left = uniform * total;
  int32_t last = candidates_[0].id;
  for (const Candidate& c : candidates_) {
    if (c.probability == 0) continue;
    last = c.id;
    left -= c.probability;
    if (left < 0) break;
  }
  return last;
}

}  // namespace moxie
