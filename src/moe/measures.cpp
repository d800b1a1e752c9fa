#include "moe/measures.h"

#include <algorithm>

namespace moxie {
namespace {

double ratio(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

void RouterSaturation::add(const Routing& earlier, const Routing& later) {
  MOXIE_CHECK(earlier.num_tokens == later.num_tokens && earlier.top_k == later.top_k);
  const int64_t top_k = earlier.top_k;
  for (int64_t t = 0; t < earlier.num_tokens; ++t) {
    const int32_t *a = earlier.topk_ids + t * top_k, *b = later.topk_ids + t * top_k;
    const auto kept =
        std::count_if(a, a + top_k, [&](int32_t id) { return id >= 0 && std::find(b, b + top_k, id) != b + top_k; });
    sum += ratio(kept, top_k);
  }
  num_tokens += earlier.num_tokens;
}

void CoActivationCounts::reset(int64_t experts) {
  num_experts = experts;
  together.assign(static_cast<size_t>(experts * experts), 0);
}

void CoActivationCounts::add(const Routing& routing) {
  MOXIE_CHECK(routing.num_experts == num_experts);
  for (int64_t t = 0; t < routing.num_tokens; ++t) {
    const int32_t* ids = routing.topk_ids + t * routing.top_k;
    for (int64_t j = 0; j < routing.top_k; ++j) {
      for (int64_t k = 0; k < routing.top_k; ++k) {
        if (ids[j] >= 0 && ids[k] >= 0) ++together[static_cast<size_t>(ids[j] * num_experts + ids[k])];
      }
    }
  }
}

double CoActivationCounts::share(int64_t i, int64_t j) const {
  return ratio(together[static_cast<size_t>(i * num_experts + j)], together[static_cast<size_t>(i * num_experts + i)]);
}

void Specialisation::reset(int64_t classes, int64_t experts) {
  num_classes = classes;
  num_experts = experts;
  tokens.assign(static_cast<size_t>(classes), 0);
  visits.assign(static_cast<size_t>(classes * experts), 0);
}

void Specialisation::add(const Routing& routing, const int32_t* classes) {
  MOXIE_CHECK(routing.num_experts == num_experts);
  for (int64_t t = 0; t < routing.num_tokens; ++t) {
    if (classes[t] < 0) continue;
    MOXIE_CHECK(classes[t] < num_classes);
    ++tokens[static_cast<size_t>(classes[t])];
    for (int64_t i = t * routing.top_k; i < (t + 1) * routing.top_k; ++i) {
      if (routing.topk_ids[i] >= 0) ++visits[static_cast<size_t>(classes[t] * num_experts + routing.topk_ids[i])];
    }
  }
}

double Specialisation::share(int64_t of_class, int64_t expert) const {
  return ratio(visits[static_cast<size_t>(of_class * num_experts + expert)], tokens[static_cast<size_t>(of_class)]);
}

}  // namespace moxie
