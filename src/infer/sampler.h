// From logits to a token: penalties, temperature, the usual cuts, and the draw. Knows no model.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace moxie {

/// What each field does follows transformers' names and order: repetition penalty, presence and frequency penalties,
/// logit bias, temperature, top-k, top-p, min-p.
struct SamplingParams {
  double temperature = 1;         // 0: greedy, the cuts below do not matter
  int64_t top_k = 0;              // 0: off
  double top_p = 1;               // 1: off
  double min_p = 0;               // 0: off
  double repetition_penalty = 1;  // 1: off; over prompt and answer (Keskar et al., arXiv 1909.05858)
  double presence_penalty = 0;    // once for each token that has been generated
  double frequency_penalty = 0;   // times the number of occurrences generated
  std::vector<std::pair<int32_t, double>> logit_bias;
  uint64_t seed = 0;

  /// Throws Error{usage} naming the field that is out of range or not finite.
  void validate(int64_t vocab_size) const;
};

/// Draws tokens for one sequence. The same parameters, logits and history give the same tokens.
class Sampler {
 public:
  Sampler(SamplingParams params, int64_t vocab_size);

  /// The next token. `prompt` and `generated` are what the penalties look at. Ties go to the lower id.
  /// Throws Error{runtime} if a logit is NaN. Cost: O(V), and O(k log k) for the k
  /// candidates of top-k, or O(V log V) for top-p alone.
  /// Allocates nothing after construction.
  int32_t sample(std::span<const float> logits, std::span<const int32_t> prompt, std::span<const int32_t> generated);

 private:
  struct Candidate {
    float logit;
    int32_t id;
    double probability;
  };
  void penalise(std::span<const int32_t> prompt, std::span<const int32_t> generated);
  int32_t draw();

  SamplingParams params_;
  std::mt19937_64 random_;
  std::vector<float> logits_;
  std::vector<int32_t> counts_;  // of each id, while penalising
  std::vector<Candidate> candidates_;
};

/// Throws Error{runtime} if a logit is NaN: the weights, or the text, are damaged.
void refuse_nan(std::span<const float> logits);

/// The id of the highest logit, the lowest such id. Throws Error{runtime} if a logit is NaN.
int32_t greedy_token(std::span<const float> logits);

}  // namespace moxie
